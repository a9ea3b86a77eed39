//! The folder of the demo's databases: temporary, or kept.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// An empty folder.
pub(crate) enum Folder {
    /// Removed at the end.
    Temporary(TempDir),
    /// Kept at the end.
    Kept(PathBuf),
}

/// An error of a folder that cannot be used; it is unchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// It has files, which the demo does not touch.
    #[error("folder {} is not empty; name one that is empty or does not exist", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The folder cannot be made or read.
    #[error("folder {} is not usable", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// There is no temporary folder.
    #[error("no temporary folder; set TMPDIR to a folder with room")]
    Temporary(#[source] io::Error),
}

impl Folder {
    /// Uses the folder `keep`, made if it is absent; without one, a temporary folder.
    pub(crate) fn new(keep: Option<&Path>) -> Result<Self, FolderError> {
        let Some(path) = keep else {
            let folder = tempfile::Builder::new().prefix("peerbase-demo-").tempdir();
            return folder.map(Self::Temporary).map_err(FolderError::Temporary);
        };
        let unusable = |cause| FolderError::Folder { path: path.to_owned(), cause };
        std::fs::create_dir_all(path).map_err(unusable)?;
        match std::fs::read_dir(path).map_err(unusable)?.next() {
            None => Ok(Self::Kept(path.to_owned())),
            Some(_) => Err(FolderError::NotEmpty { path: path.to_owned() }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    /// Returns commands for the kept databases: each a device's name and arguments.
    pub(crate) fn commands(&self, commands: &[(&str, &str)]) -> Vec<String> {
        let Self::Kept(path) = self else { return Vec::new() };
        // By the name with which this program was started, which also works after `cargo run`.
        let program = std::env::args_os().next().unwrap_or_else(|| "peerbase".into());
        let program = program.to_string_lossy();
        let line = |(who, command): &(&str, &str)| {
            let folder = path.join(who).display().to_string();
            format!("{} --data {} {command}", quoted(&program), quoted(&folder))
        };
        commands.iter().map(line).collect()
    }
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_kept_when_it_is_absent_or_empty_and_refused_when_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("a").join("b");
        for _ in 0..2 {
            assert!(matches!(Folder::new(Some(&kept)), Ok(Folder::Kept(path)) if path == kept));
        }
        std::fs::write(kept.join("letter"), "dear ben").unwrap();
        let refused = Folder::new(Some(&kept)).err().unwrap();
        assert!(matches!(&refused, FolderError::NotEmpty { path } if *path == kept), "{refused}");
        let refused = Folder::new(Some(&kept.join("letter"))).err().unwrap();
        assert!(
            matches!(&refused, FolderError::Folder { path, .. } if *path == kept.join("letter")),
            "{refused}"
        );
        assert_eq!(std::fs::read_to_string(kept.join("letter")).unwrap(), "dear ben");
    }

    #[test]
    fn a_temporary_folder_is_removed_and_has_no_commands() {
        let folder = Folder::new(None).unwrap();
        let path = folder.path().to_owned();
        assert!(path.is_dir());
        assert_eq!(folder.commands(&[("ada", "list tasks")]), [""; 0]);
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_word_with_special_characters_is_quoted() {
        let words = ["/tmp/club", "my club", "ada's", "", "a;b"].map(quoted);
        assert_eq!(words, ["/tmp/club", "'my club'", r"'ada'\''s'", "''", "'a;b'"]);
    }
}
