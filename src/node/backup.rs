//! Copies the database while it is in use; the copy opens as a database.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use actors::identity::Identity;
use actors::node::store::OpenEngine;
use actors::node::{Contents, NodeHandle};

use super::{DATABASE_FOLDER, IDENTITY_FILE, Node};
use crate::error::BackupError;

/// The contents of a backup that [`Node::backup`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Backup {
    /// Number of groups in it, also of those that were left; the personal group is not counted.
    pub groups: usize,
    /// Number of rows in these groups, removed ones included.
    pub rows: u64,
    /// Stored bytes of all that; the files are larger.
    pub bytes: u64,
    /// Number of damaged entries, in the database and so in the backup: peers that have them restore both.
    pub damaged: u64,
}

impl Node {
    /// Copies the database into a new or empty folder while the node goes on working; also a database in
    /// memory.
    ///
    /// Opening the folder restores the backup. It holds this device's secret keys (`identity.key`, readable
    /// by its owner alone) and is the same device: use one of the two at a time. Each group is copied as of
    /// one moment; rows written later come back from the other members. Writes to a group wait while it is
    /// copied, about as long as reading it takes, which is noticeable from tens of thousands of rows on.
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
    /// [`BackupError`]; then the folder is as it was.
    pub async fn backup(&self, folder: impl AsRef<Path>) -> Result<Backup, BackupError> {
        let folder = folder.as_ref().to_owned();
        let (node, identity, engine) = (self.handle.clone(), self.identity.clone(), self.engine.clone());
        let draft = format!("{:016x}", self.clock.random_u64());
        self.clock.offload(move || back_up(&node, &identity, &*engine, &folder, &draft)).await
    }
}

/// Makes the backup beside the folder, and renames it to the folder once it is complete and durable.
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

/// An unfinished backup, deleted on drop unless it was renamed.
struct Draft {
    path: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After success this path no longer exists. A rest that cannot be removed has a hidden name.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Checks early, before the long copy.
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
    // Not every system renames onto an empty folder; one that was filled meanwhile is not removed.
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(draft, folder)
}

/// Makes the names in a folder durable. Only Unix opens folders as files.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
