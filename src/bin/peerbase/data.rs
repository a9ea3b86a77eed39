//! The data folder: where it is, whether there is a database in it, how it is opened.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actors::clock::Clock;
use peerbase::control::FailureKind;
use peerbase::node::Mnemonic;
use peerbase::{Node, NodeBuilder, OpenError};

use super::config::Config;
use super::trouble::Trouble;

/// The data folder of a command.
pub(crate) struct Data {
    folder: PathBuf,
}

impl Data {
    /// The folder that the command names; else `$PEERBASE_DATA`; else where programs of this user keep data.
    pub(crate) fn find(named: Option<PathBuf>) -> Result<Self, Trouble> {
        let of = |variable| std::env::var_os(variable).filter(|value: &OsString| !value.is_empty());
        let folder = named
            .or_else(|| of("PEERBASE_DATA").map(PathBuf::from))
            .or_else(|| of("XDG_DATA_HOME").map(|home| Path::new(&home).join("peerbase")))
            .or_else(|| of("HOME").map(|home| Path::new(&home).join(".local/share/peerbase")))
            .ok_or_else(|| {
                Trouble::Usage("`--data DIR` says where the database is: there is no $HOME".into())
            })?;
        let folder = std::path::absolute(&folder)
            .map_err(|cause| Trouble::io(format!("{folder:?} is no folder"), &cause))?;
        Ok(Self { folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn config(&self) -> Result<Config, Trouble> {
        Ok(Config::read(&self.folder)?)
    }

    /// Whether there is a database.
    pub(crate) fn has_database(&self) -> bool {
        self.folder.join("identity.key").exists() || self.folder.join("db").exists()
    }

    /// What to say where a database is missing.
    pub(crate) fn missing(&self) -> Trouble {
        let folder = self.folder.display();
        Trouble::new(FailureKind::NotFound, format!("no database in {folder}; `peerbase init` makes one"))
    }

    /// Opens the database, and makes it where there is none. None: another process has it.
    pub(crate) async fn open(&self, config: &Config) -> Result<Option<Node>, Trouble> {
        match self.builder(config).open().await {
            Ok(node) => Ok(Some(node)),
            Err(OpenError::Store(actors::node::store::OpenError::Locked { .. })) => Ok(None),
            Err(error) => Err(peerbase::control::Failure::from(error).into()),
        }
    }

    fn builder(&self, config: &Config) -> NodeBuilder {
        let builder = Node::builder(&self.folder).name(&config.name);
        config.advertise.iter().fold(builder, NodeBuilder::advertise)
    }

    /// Makes the database one of the user whose words these are.
    pub(crate) async fn restore(&self, config: &Config, words: &Mnemonic) -> Result<(), Trouble> {
        let node = self.builder(config).restore_user(words).open().await;
        node.map_err(peerbase::control::Failure::from)?.close().await;
        Ok(())
    }

    /// What to say where a user is to be restored and there is another.
    pub(crate) fn taken(&self) -> Trouble {
        let folder = self.folder.display();
        let message = format!("there is a database in {folder} already; a user is restored in a new folder");
        Trouble::new(FailureKind::Invalid, message)
    }

    /// What to say when it stays locked.
    pub(crate) fn locked(&self) -> Trouble {
        let folder = self.folder.display();
        let message =
            format!("the database in {folder} is in use by another command; wait for it, or stop it");
        Trouble::new(FailureKind::Busy, message)
    }
}

/// Dials what the configuration names, each by itself; a node dials again by itself what it did not reach.
pub(crate) fn dial(node: &Node, addresses: &[String]) {
    for address in addresses {
        let (node, address) = (node.clone(), address.clone());
        Clock::real().spawn(async move {
            if let Err(error) = node.connect(&address).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(address, error, "not reached; dialled again later");
            }
        });
    }
}

/// Tries until something comes of it, for as long as another command may take.
pub(crate) struct Patience {
    clock: Clock,
    until: Duration,
}

impl Patience {
    /// How long to wait for another command: most take well under a second.
    const WAIT: Duration = Duration::from_secs(5);
    const PAUSE: Duration = Duration::from_millis(50);

    pub(crate) fn new() -> Self {
        let clock = Clock::real();
        let until = clock.instant() + Self::WAIT;
        Self { clock, until }
    }

    /// Waits a little; false when the time is over.
    pub(crate) async fn wait(&self) -> bool {
        self.clock.sleep(Self::PAUSE).await;
        self.clock.instant() < self.until
    }
}
