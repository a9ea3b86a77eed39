//! `init`: makes a database and its configuration.

use std::io::IsTerminal;

use peerbase::control::Request;
use peerbase::error::MnemonicError;
use peerbase::node::Mnemonic;

use super::address::listen_address;
use super::connection::{self, Database};
use super::data::Data;
use super::error::CommandError;
use super::output::Output;
use super::stdin;

/// The longest recovery key on standard input, bytes; a real one is far shorter.
const WORDS_BYTES_MAX: u64 = 4 << 10;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// A label for this device, shown to other members
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// An address on which `serve` accepts links; may be repeated
    #[arg(long, value_name = "HOST:PORT", value_parser = listen_address)]
    listen: Vec<String>,
    /// Makes a device of the recovery user whose words are on standard input; needs a new folder
    #[arg(long)]
    restore: bool,
}

/// Makes a database and its configuration. An existing database stays as it is; its configuration is updated.
pub(crate) async fn run(data: &Data, options: Options, output: &mut Output) -> Result<(), CommandError> {
    let mut config = data.config()?;
    let words = if options.restore { Some(words(data, output)?) } else { None };
    let is_new = !data.has_database();
    let before = config.clone();
    if let Some(name) = options.name {
        config.name = name;
    }
    for address in options.listen {
        if !config.listen.contains(&address) {
            config.listen.push(address);
        }
    }
    std::fs::create_dir_all(data.folder())
        .map_err(|cause| CommandError::io(format!("could not make {}", data.folder().display()), &cause))?;
    if is_new || config != before {
        config.write(data.folder())?;
    }
    if let Some(words) = words {
        data.restore(&config, &words).await?;
    }
    let folder = data.folder().display();
    output.note(&match (is_new, config != before) {
        (true, _) => format!("made a new database in {folder}"),
        (false, true) => format!("{folder} has a database already; its configuration was updated"),
        (false, false) => format!("{folder} has a database already; nothing was changed"),
    });
    connection::ask(data, Database::Any, Request::Whoami, output).await
}

/// Reads recovery words from standard input. Wrong words make no database.
fn words(data: &Data, output: &Output) -> Result<Mnemonic, CommandError> {
    if data.has_database() {
        return Err(data.not_new());
    }
    if std::io::stdin().is_terminal() {
        output.note("type the 24 words, then Enter and Ctrl-D");
    }
    stdin::read(WORDS_BYTES_MAX)?.parse().map_err(|error: MnemonicError| CommandError::of(&error))
}
