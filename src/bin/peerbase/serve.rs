//! `serve`: keeps the database connected and serves other commands until a signal stops it.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;

use peerbase::control::advice::Advice;
use peerbase::control::client::Client;
use peerbase::control::request::GroupRequest;
use peerbase::control::server::Server;
use peerbase::control::{self, Failure, FailureKind, Request};
use peerbase::group::Unmaterialised;
use peerbase::{Event, InviteOptions, Node, NodeEnd, Remedy, Role};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::address::{listen_address, peer_address};
use super::data::{Data, Retry, dial};
use super::error::CommandError;
use super::output::Output;
use super::text;

/// The default listen address: every address of the machine.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7654);
/// The exit status of an interrupted program, by convention of shells.
const INTERRUPTED: i32 = 130;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// An address on which to accept links, besides the configuration; may be repeated [default:
    /// 0.0.0.0:7654]
    #[arg(long, value_name = "HOST:PORT", value_parser = listen_address)]
    listen: Vec<String>,
    /// A peer to dial, besides the configuration; may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = peer_address)]
    connect: Vec<String>,
    /// Memory that one row may take, MiB, instead of the configuration's; dearer rows stay as they were last
    /// read and cannot be written here [default: 512]
    #[arg(long, value_name = "MIB")]
    document_mib: Option<NonZeroU64>,
    /// Prints a ticket for this group; it admits one writer and is valid for seven days
    #[arg(long, value_name = "GROUP")]
    invite: Option<String>,
    /// The level of the log on standard error: error, warn, info, debug, trace, or TARGET=LEVEL,…
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = targets)]
    log: Targets,
    /// The format of the log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// Parses log levels. A word alone is a level: read as a target, a misspelt level would silence the log.
fn targets(text: &str) -> Result<Targets, String> {
    let wrong = || "a log level is error, warn, info, debug, trace, or TARGET=LEVEL,…".to_owned();
    let is_level = |word: &str| word.contains('=') || word.parse::<LevelFilter>().is_ok();
    if !text.split(',').all(is_level) {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

pub(crate) async fn run(data: &Data, options: Options, output: &mut Output) -> Result<(), CommandError> {
    let mut stop = Stop::new()?;
    let mut config = data.config()?;
    add(&mut config.listen, options.listen);
    add(&mut config.connect, options.connect);
    config.document_mib = options.document_mib.or(config.document_mib);
    if config.listen.is_empty() {
        config.listen.push(LISTEN.to_string());
    }
    log(options.log, options.log_format);
    let node = open(data, &config).await?;
    let served = match Server::open(&node, data.folder()) {
        Ok(server) => {
            let served = serve(&node, &config, options.invite, &mut stop, output).await;
            tracing::info!("stopping");
            tokio::select! {
                () = server.close() => {}
                () = stop.wait() => std::process::exit(INTERRUPTED),
            }
            // A node that failed on its own, or while it closed, did not keep what it was asked to.
            served.and(ended(&node).await)
        }
        Err(error) => {
            node.close().await;
            Err(error.into())
        }
    };
    tracing::info!("stopped");
    served
}

fn add(known: &mut Vec<String>, more: Vec<String>) {
    for one in more {
        if !known.contains(&one) {
            known.push(one);
        }
    }
}

fn log(targets: Targets, format: LogFormat) {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(targets);
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(false)).init(),
        LogFormat::Json => registry.with(layer.json()).init(),
    }
}

/// Opens the database, which only one process at a time can do.
async fn open(data: &Data, config: &super::config::Config) -> Result<Node, CommandError> {
    let retry = Retry::new();
    loop {
        if let Some(node) = data.open(config).await? {
            return Ok(node);
        }
        if Client::connect(data.folder()).await.is_ok() {
            let folder = data.folder().display();
            return Err(CommandError::new(
                FailureKind::Busy,
                format!("a node serves in {folder} already; commands use that one"),
            ));
        }
        if !retry.wait().await {
            return Err(data.locked());
        }
    }
}

async fn serve(
    node: &Node,
    config: &super::config::Config,
    invite: Option<String>,
    stop: &mut Stop,
    output: &mut Output,
) -> Result<(), CommandError> {
    let mut events = node.events();
    for listen in &config.listen {
        let address = node.listen(listen).await.map_err(|error| {
            Failure::from(error).advise(Advice::ListenElsewhere { address: listen.clone() })
        })?;
        tracing::info!(address, "listening");
        if output.is_json() {
            output.json(&serde_json::json!({ "listening": address }))?;
        } else {
            output.line(&format!("listening on {address}"))?;
        }
    }
    dial(node, &config.connect);
    if let Some(group) = invite {
        let (sender, mut replies) = mpsc::channel(1);
        let invite = GroupRequest::Invite {
            group: Some(group),
            role: Role::Writer,
            uses: 1,
            expires: InviteOptions::VALID_FOR,
        };
        let executing = control::execute(node, Request::Group(invite), sender);
        let (executed, reply) = tokio::join!(executing, replies.recv());
        executed?;
        if let Some(reply) = reply {
            output.reply(&reply)?;
        }
    }
    loop {
        tokio::select! {
            () = stop.wait() => return Ok(()),
            event = events.recv() => match event {
                Ok(event) => log_event(node, &event),
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "events were missed"),
                Err(RecvError::Closed) => return Ok(()),
            },
        }
    }
}

/// The end of a node that was closed, as the outcome of the command.
async fn ended(node: &Node) -> Result<(), CommandError> {
    let end = tokio::select! {
        biased;
        end = node.closed() => end,
        () = std::future::ready(()) => return Ok(()),
    };
    match end {
        NodeEnd::Failed { branch, cause, remedy } => {
            let advice = match remedy {
                Remedy::FreeSpace => Advice::FreeSpace,
                Remedy::RestoreFolder => Advice::RestoreFolder,
                _ => Advice::StartAgain,
            };
            // One line: the remedy is the last that a person reads.
            let part = branch.replace('_', " ");
            let message = format!("the node ended, because its {part} failed: {cause}");
            Err(Failure::new(FailureKind::Failed, message).advise(advice).into())
        }
        _ => Ok(()),
    }
}

fn log_event(node: &Node, event: &Event) {
    match event {
        Event::PeerUp { user, device } => {
            tracing::info!(user = user.short(), device = device.short(), "connected")
        }
        Event::PeerDown { device, reason } => tracing::info!(device = device.short(), reason, "disconnected"),
        Event::SessionLost { group, device } => {
            tracing::info!(group = group.short(), device = device.short(), "session lost")
        }
        Event::Joined { group, role } => tracing::info!(group = group.short(), ?role, "joined"),
        Event::RoleChanged { group, user, role } => {
            tracing::info!(group = group.short(), user = user.short(), ?role, "role changed");
        }
        Event::Offered { group, role, by } => {
            tracing::info!(group = group.short(), ?role, by = by.short(), "offered");
        }
        Event::Unmaterialised { group, unmaterialised } => {
            let Unmaterialised { table, key, why, user, device } = unmaterialised;
            let role = node.group(*group).map_or(Role::None, |group| group.info().role);
            let remedy = user.map(|user| text::remedy_of_unmaterialised(user, *group, role));
            let (user, device) = (user.map(|user| user.to_string()), device.map(|device| device.short()));
            let group = group.short();
            tracing::warn!(group, table, key, %why, user, device, remedy, "row is not materialised here");
        }
        Event::GroupFailed { group, reason } => {
            tracing::error!(group = group.short(), reason, "group failed")
        }
        Event::Rejudged { group, rejudged } => {
            let (documents, changed) = (rejudged.documents, rejudged.changed);
            tracing::info!(group = group.short(), documents, changed, "documents were re-judged");
        }
        Event::Contestable { group, op, author, user, role } => {
            let (op, author, user) = (op.short(), author.short(), user.short());
            tracing::info!(
                group = group.short(),
                op,
                author,
                user,
                ?role,
                "an equal lowered a member, who may contest it"
            );
        }
        Event::Voided { group, op } => {
            tracing::info!(group = group.short(), op = op.short(), "an op about a member is void");
        }
        Event::Flood { group, user, records } => {
            let (group, user) = (group.short(), user.to_string());
            let remedy = format!("peerbase group remove {user} --group {group}");
            tracing::warn!(group, user, records, remedy, "a user floods the ledger");
        }
        other => tracing::info!(event = ?other, "event"),
    }
}

/// The signals that ask a program to stop.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> Result<Self, CommandError> {
        let listen =
            |kind| signal(kind).map_err(|cause| CommandError::io("signals cannot be received", &cause));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
