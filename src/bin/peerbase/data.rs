//! The data folder: finding it, and opening the database in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actors::clock::Clock;
use peerbase::control::FailureKind;
use peerbase::node::Mnemonic;
use peerbase::{Node, NodeBuilder, OpenError};

use super::config::Config;
use super::error::CommandError;

/// The data folder of a command.
pub(crate) struct Data {
    folder: PathBuf,
}

impl Data {
    /// Finds the folder: the one that the command names, else `$PEERBASE_DATA`, else one in this user's data
    /// folder.
    pub(crate) fn find(named: Option<PathBuf>) -> Result<Self, CommandError> {
        let of = |variable| std::env::var_os(variable).filter(|value: &OsString| !value.is_empty());
        let folder = named
            .or_else(|| of("PEERBASE_DATA").map(PathBuf::from))
            .or_else(|| of("XDG_DATA_HOME").map(|home| Path::new(&home).join("peerbase")))
            .or_else(|| of("HOME").map(|home| Path::new(&home).join(".local/share/peerbase")))
            .ok_or_else(|| {
                CommandError::Usage("there is no $HOME; `--data DIR` names the database's folder".into())
            })?;
        let folder = std::path::absolute(&folder)
            .map_err(|cause| CommandError::io(format!("{folder:?} cannot be a folder"), &cause))?;
        Ok(Self { folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn config(&self) -> Result<Config, CommandError> {
        Ok(Config::read(&self.folder)?)
    }

    /// Returns true if the folder has a database.
    pub(crate) fn has_database(&self) -> bool {
        self.folder.join("identity.key").exists() || self.folder.join("db").exists()
    }

    /// The error when the folder has no database.
    pub(crate) fn missing(&self) -> CommandError {
        let folder = self.folder.display();
        CommandError::new(
            FailureKind::NotFound,
            format!("no database in {folder}; `peerbase init` makes one"),
        )
    }

    /// Opens the database; makes a missing one. None when another process has it open.
    pub(crate) async fn open(&self, config: &Config) -> Result<Option<Node>, CommandError> {
        match self.builder(config).open().await {
            Ok(node) => Ok(Some(node)),
            Err(OpenError::Store(actors::node::store::OpenError::Locked { .. })) => Ok(None),
            Err(error) => Err(peerbase::control::Failure::from(error).into()),
        }
    }

    fn builder(&self, config: &Config) -> NodeBuilder {
        let mut builder = Node::builder(&self.folder).name(&config.name);
        if let Some(mib) = config.document_mib {
            builder = builder.document_bytes(mib.get().saturating_mul(1 << 20));
        }
        config.advertise.iter().fold(builder, NodeBuilder::advertise)
    }

    /// Makes a database for a new device of the user with these recovery words.
    pub(crate) async fn restore(&self, config: &Config, words: &Mnemonic) -> Result<(), CommandError> {
        let node = self.builder(config).restore_user(words).open().await;
        node.map_err(peerbase::control::Failure::from)?.close().await;
        Ok(())
    }

    /// The error when a user is to be restored into a folder that has a database.
    pub(crate) fn not_new(&self) -> CommandError {
        let folder = self.folder.display();
        let message = format!("{folder} has a database already; restore a user in a new folder");
        CommandError::new(FailureKind::Invalid, message)
    }

    /// The error when another process keeps the database open.
    pub(crate) fn locked(&self) -> CommandError {
        let folder = self.folder.display();
        let message =
            format!("the database in {folder} is in use by another command; wait until it ends, or stop it");
        CommandError::new(FailureKind::Busy, message)
    }
}

/// Dials addresses of the configuration, each in a task of its own; the node dials again those that it did
/// not reach.
pub(crate) fn dial(node: &Node, addresses: &[String]) {
    for address in addresses {
        let (node, address) = (node.clone(), address.clone());
        Clock::real().spawn(async move {
            if let Err(error) = node.connect(&address).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(address, error, "not reached; it is dialled again later");
            }
        });
    }
}

/// A bounded series of retries while another command has the database open.
pub(crate) struct Retry {
    clock: Clock,
    until: Duration,
}

impl Retry {
    /// The longest wait for another command; most take well under a second.
    const WAIT: Duration = Duration::from_secs(5);
    const PAUSE: Duration = Duration::from_millis(50);

    pub(crate) fn new() -> Self {
        let clock = Clock::real();
        let until = clock.instant() + Self::WAIT;
        Self { clock, until }
    }

    /// Waits a little; returns false when the time is over.
    pub(crate) async fn wait(&self) -> bool {
        self.clock.sleep(Self::PAUSE).await;
        self.clock.instant() < self.until
    }
}
