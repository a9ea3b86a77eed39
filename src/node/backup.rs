//! A copy of the database, made while it is in use, that opens as a database.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use actors::identity::Identity;
use actors::node::store::OpenEngine;
use actors::node::{Contents, NodeHandle};

use super::{DATABASE_FOLDER, IDENTITY_FILE, Node};
use crate::error::BackupError;

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Backup {
    /// The groups in it, those that were left too; the personal group comes on top.
    pub groups: usize,
    /// Their rows, removed ones included.
    pub rows: u64,
    /// What is stored of all that, bytes; the files are larger.
    pub bytes: u64,
    /// Entries that are damaged in the database, and so in the backup: peers that have them hand them back to both.
    pub damaged: u64,
}

impl Node {
    /// Copies the database into a folder, made when absent, while it goes on working; also one that lives in memory.
    ///
    /// The folder opens as a database: that is a restore. It holds this device's secrets (`identity.key`, readable by
    /// its owner alone), and it *is* this device: use one of the two at a time. Each group is copied as of one moment;
    /// what was written later to the groups comes back from their members. Writes wait while a group is copied, about
    /// as long as reading it takes: for tens of thousands of rows that is felt.
    ///
    /// ```
    /// # use peerbase::Node;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let node = Node::builder(folder.path().join("garden")).open().await?;
    /// let garden = node.create_group("Garden club").await?;
    ///
    /// node.backup(folder.path().join("monday")).await?;
    /// node.close().await;
    ///
    /// let restored = Node::builder(folder.path().join("monday")).open().await?;
    /// assert_eq!(restored.group(garden.id())?.info().name, "Garden club");
    /// # restored.close().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BackupError`]; then there is no backup, nor anything that looks like one.
    pub async fn backup(&self, folder: impl AsRef<Path>) -> Result<Backup, BackupError> {
        let folder = folder.as_ref().to_owned();
        let (node, identity, engine) = (self.handle.clone(), self.identity.clone(), self.engine.clone());
        let draft = format!("{:016x}", self.clock.random_u64());
        self.clock.offload(move || back_up(&node, &identity, &*engine, &folder, &draft)).await
    }
}

/// Makes the backup beside its folder, and gives it the folder's name once it is whole and durable.
fn back_up(
    node: &NodeHandle,
    identity: &Identity,
    engine: &dyn OpenEngine,
    folder: &Path,
    draft: &str,
) -> Result<Backup, BackupError> {
    let unusable = |cause| BackupError::Folder { path: folder.to_owned(), cause };
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = folder.file_name().ok_or_else(|| unusable(ErrorKind::InvalidInput.into()))?;
    check_free(folder)?;
    fs::create_dir_all(parent).map_err(unusable)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{draft}"));
    let draft = Draft { path: parent.join(hidden) };
    fs::create_dir(&draft.path).map_err(unusable)?;

    let Contents { copied, groups, rows } = node.copy_to(&draft.path.join(DATABASE_FOLDER), engine)?;
    identity.save(&draft.path.join(IDENTITY_FILE))?;
    publish(&draft.path, folder).map_err(|cause| match cause.kind() {
        ErrorKind::DirectoryNotEmpty => BackupError::NotEmpty { path: folder.to_owned() },
        _ => unusable(cause),
    })?;
    sync_folder(parent).map_err(unusable)?;
    Ok(Backup { groups, rows, bytes: copied.bytes, damaged: copied.damaged })
}

/// An unfinished backup: gone with everything in it unless it was given its name.
struct Draft {
    path: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After success it is not there any more; what cannot be removed does not look like a backup.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Early, so that nobody waits for a copy that has no place.
fn check_free(folder: &Path) -> Result<(), BackupError> {
    let not_empty = || BackupError::NotEmpty { path: folder.to_owned() };
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().map_or(Ok(()), |_| Err(not_empty())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(BackupError::Folder { path: folder.to_owned(), cause }),
    }
}

fn publish(draft: &Path, folder: &Path) -> io::Result<()> {
    sync_folder(draft)?;
    // An empty folder gives way, on every system; one that was filled meanwhile does not.
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(draft, folder)
}

/// Elsewhere folders cannot be opened, and names are durable by themselves.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
