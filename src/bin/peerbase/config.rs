//! `config.toml` in the data folder: this device's label, where it listens, the peers that it dials.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::address::{listen_address, peer_address};

/// The file's name in the data folder.
const FILE: &str = "config.toml";
/// The largest file that is read, bytes; one of ours is far smaller.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The comment at the top of the file.
const HEAD: &str = "\
# The settings of `peerbase serve` for this folder; its flags add to them.
#   name       this device's label, shown to other members
#   listen     where it accepts links: [\"0.0.0.0:7654\"]
#   connect    the peers that it dials: [\"ws://HOST:PORT\"]
#   advertise  where peers reach it, for tickets, when a router forwards a port: [\"ws://HOST:PORT\"]
#   document_mib  memory that one row may take, MiB: 512 unless set
# `peerbase init` and `peerbase connect` rewrite this file and drop comments.

";

/// The settings. A key that is left out is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) listen: Vec<String>,
    pub(crate) connect: Vec<String>,
    pub(crate) advertise: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) document_mib: Option<NonZeroU64>,
}

/// An error of reading or writing the file, which is unchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// Correct the line.
    #[error("{} line {line}: {what}", .path.display())]
    Damaged { path: PathBuf, line: usize, what: String },
    /// Correct the address.
    #[error("{}: {key}: {what}", .path.display())]
    Address { path: PathBuf, key: &'static str, what: String },
    /// Move it away.
    #[error("{} is no file, or larger than 1 MiB; move it away, and `peerbase init` writes a new \
        one", .path.display())]
    TooLarge { path: PathBuf },
    /// The system refused.
    #[error("could not read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// The system refused.
    #[error("could not write {}", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl Config {
    /// Reads the file; a missing one has empty settings.
    pub(crate) fn read(folder: &Path) -> Result<Self, ConfigError> {
        let path = folder.join(FILE);
        let refused = |cause| ConfigError::Read { path: path.clone(), cause };
        match std::fs::metadata(&path) {
            Ok(about) if !about.is_file() || about.len() > FILE_BYTES_MAX => {
                return Err(ConfigError::TooLarge { path });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(refused(error)),
        }
        let bytes = std::fs::read(&path).map_err(refused)?;
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => {
                let line = line_of(&bytes, error.valid_up_to());
                return Err(ConfigError::Damaged { path, line, what: "not UTF-8".to_owned() });
            }
        };
        let config: Self = toml::from_str(text).map_err(|error| {
            let line = line_of(&bytes, error.span().map_or(0, |span| span.start));
            ConfigError::Damaged { path: path.clone(), line, what: error.message().replace('\n', " ") }
        })?;
        config.check().map_err(|(key, what)| ConfigError::Address { path, key, what })?;
        Ok(config)
    }

    /// Refuses malformed addresses now, instead of dialling them again and again.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let dialled = |key: &'static str, addresses: &[String]| {
            addresses.iter().try_for_each(|text| peer_address(text).map(drop).map_err(|what| (key, what)))
        };
        self.listen
            .iter()
            .try_for_each(|text| listen_address(text).map(drop).map_err(|what| ("listen", what)))?;
        dialled("connect", &self.connect)?;
        dialled("advertise", &self.advertise)
    }

    /// Writes the file, whole or not at all.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), ConfigError> {
        let path = folder.join(FILE);
        let text = toml::to_string(self).expect("text and lists of text can be written");
        let write = || {
            let mut new = tempfile::NamedTempFile::new_in(folder)?;
            new.write_all(HEAD.as_bytes())?;
            new.write_all(text.as_bytes())?;
            new.as_file().sync_all()?;
            new.persist(&path).map_err(|error| error.error)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|cause| ConfigError::Write { path: path.clone(), cause })
    }
}

/// Returns the line of a byte, from 1.
fn line_of(bytes: &[u8], at: usize) -> usize {
    1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
    use super::*;

    fn with(text: &[u8]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), text).unwrap();
        Config::read(folder.path())
    }

    #[test]
    fn a_written_configuration_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Config::read(folder.path()).unwrap(), Config::default());
        let config = Config {
            name: "Ada's \"laptop\"\n".into(),
            listen: vec!["0.0.0.0:7654".into(), "[::]:1".into()],
            connect: vec!["ws://ben.example:7654".into()],
            advertise: vec![],
            document_mib: NonZeroU64::new(64),
        };
        config.write(folder.path()).unwrap();
        assert_eq!(Config::read(folder.path()).unwrap(), config);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no other file is left");
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_the_line() {
        for (text, line, says) in [
            (&b"name = \"ada\"\n\ncolour = \"red\"\n"[..], 3, "colour"),
            (b"name = \"ada\"\nlisten = [\"a\", 7]\n", 2, "string"),
            (b"document_mib = 0\n", 1, "nonzero"),
            (b"name = \"ada\n", 1, ""),
            (b"name = \"ada\"\nname = \"ben\"", 2, "duplicate"),
            (b"# fine\nname = \"\xff\"", 2, "UTF-8"),
        ] {
            let error = with(text).unwrap_err();
            let ConfigError::Damaged { line: found, .. } = &error else { panic!("{error:?}") };
            assert_eq!(*found, line, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
