//! Where the demo's databases lie: in a folder that goes away with it, or in one that is kept.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder with nothing in it yet.
pub(super) enum Place {
    /// Removed at the end.
    Temporary(TempDir),
    /// Left as it is.
    Kept(PathBuf),
}

/// Why there is no such folder. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// There is something in it, which is not ours to touch.
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
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// There is no temporary folder.
    #[error("no temporary folder; set TMPDIR to a folder with room")]
    Temporary(#[source] io::Error),
}

impl Place {
    /// The folder to be kept, made if it is absent; a temporary one unless one is named.
    pub(super) fn new(keep: Option<&Path>) -> Result<Self, PlaceError> {
        let Some(path) = keep else {
            let folder = tempfile::Builder::new().prefix("peerbase-demo-").tempdir();
            return folder.map(Self::Temporary).map_err(PlaceError::Temporary);
        };
        let unusable = |cause| PlaceError::Folder { path: path.to_owned(), cause };
        std::fs::create_dir_all(path).map_err(unusable)?;
        match std::fs::read_dir(path).map_err(unusable)?.next() {
            None => Ok(Self::Kept(path.to_owned())),
            Some(_) => Err(PlaceError::NotEmpty { path: path.to_owned() }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    /// Commands for the databases that are kept: each says whose database, and what to do with it.
    pub(super) fn commands(&self, commands: &[(&str, &str)]) -> Vec<String> {
        let Self::Kept(path) = self else { return Vec::new() };
        // As it was called: what worked once works again, also behind `cargo run`.
        let program = std::env::args_os().next().unwrap_or_else(|| "peerbase".into());
        let program = program.to_string_lossy();
        let line = |(who, command): &(&str, &str)| {
            let folder = path.join(who).display().to_string();
            format!("{} --data {} {command}", quoted(&program), quoted(&folder))
        };
        commands.iter().map(line).collect()
    }
}

/// One word for a shell.
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
            assert!(matches!(Place::new(Some(&kept)), Ok(Place::Kept(path)) if path == kept));
        }
        std::fs::write(kept.join("letter"), "dear ben").unwrap();
        let refused = Place::new(Some(&kept)).err().unwrap();
        assert!(matches!(&refused, PlaceError::NotEmpty { path } if *path == kept), "{refused}");
        let refused = Place::new(Some(&kept.join("letter"))).err().unwrap();
        assert!(
            matches!(&refused, PlaceError::Folder { path, .. } if *path == kept.join("letter")),
            "{refused}"
        );
        assert_eq!(std::fs::read_to_string(kept.join("letter")).unwrap(), "dear ben");
    }

    #[test]
    fn what_is_not_kept_goes_away_and_is_not_talked_about() {
        let place = Place::new(None).unwrap();
        let path = place.path().to_owned();
        assert!(path.is_dir());
        assert_eq!(place.commands(&[("ada", "list tasks")]), [""; 0]);
        drop(place);
        assert!(!path.exists());
    }

    #[test]
    fn a_word_is_quoted_where_a_shell_would_read_it_otherwise() {
        let words = ["/tmp/club", "my club", "ada's", "", "a;b"].map(quoted);
        assert_eq!(words, ["/tmp/club", "'my club'", r"'ada'\''s'", "''", "'a;b'"]);
    }
}
