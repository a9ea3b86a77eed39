//! `serve`: keeps the database connected, and every other command served, until it is told to stop.

use std::net::{Ipv4Addr, SocketAddr};

use peerbase::control::client::Client;
use peerbase::control::server::Server;
use peerbase::control::{self, Failure, FailureKind, Reply, Request};
use peerbase::{Event, Node, Role};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::data::{Data, Patience, dial};
use super::output::Output;
use super::people::tell_invitation;
use super::trouble::Trouble;
use super::words::{address, place};

/// Where a node listens unless it is told: on every address of the machine.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7654);
/// What a shell expects of a program that an interrupt ended.
const INTERRUPTED: i32 = 130;
/// How long a ticket of `--invite` is good for, seconds.
const VALID_FOR_S: u64 = 7 * 24 * 60 * 60;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to take links, beside the configuration; may be repeated [default: 0.0.0.0:7654]
    #[arg(long, value_name = "HOST:PORT", value_parser = place)]
    listen: Vec<String>,
    /// Whom to dial, beside the configuration; may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    connect: Vec<String>,
    /// Prints a ticket for this group, good for one writer and seven days
    #[arg(long, value_name = "GROUP")]
    invite: Option<String>,
    /// What to log to standard error: error, warn, info, debug, trace, or TARGET=LEVEL,…
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = targets)]
    log: Targets,
    /// How to log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// A word alone is a level: taken for a target, a misspelt one would silence everything.
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

pub(crate) async fn run(data: &Data, options: Options, output: &mut Output) -> Result<(), Trouble> {
    let mut stop = Stop::new()?;
    let mut config = data.config()?;
    add(&mut config.listen, options.listen);
    add(&mut config.connect, options.connect);
    if config.listen.is_empty() {
        config.listen.push(LISTEN.to_string());
    }
    log(options.log, options.log_format);
    let node = alone(data, &config).await?;
    let served = match Server::open(&node, data.folder()) {
        Ok(server) => {
            let served = serve(&node, &config, options.invite, &mut stop, output).await;
            tracing::info!("stopping");
            tokio::select! {
                () = server.close() => {}
                () = stop.wait() => std::process::exit(INTERRUPTED),
            }
            served
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

/// Opens the database, which one process at a time can do.
async fn alone(data: &Data, config: &super::config::Config) -> Result<Node, Trouble> {
    let patience = Patience::new();
    loop {
        if let Some(node) = data.open(config).await? {
            return Ok(node);
        }
        if Client::connect(data.folder()).await.is_ok() {
            let folder = data.folder().display();
            return Err(Trouble::new(FailureKind::Busy, format!("a node serves in {folder} already")));
        }
        if !patience.wait().await {
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
) -> Result<(), Trouble> {
    let mut events = node.events();
    for place in &config.listen {
        let address = node.listen(place).await.map_err(|error| {
            Failure::from(error).advise(&format!(
                "{place} may belong to another program or to no address of this machine: `--listen HOST:PORT` or \
                 config.toml names another"
            ))
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
        let (group, role) = (Some(group), Role::Writer);
        let request = Request::Invite { group, role, uses: 1, valid_for_s: VALID_FOR_S };
        let (made, reply): (_, Option<Reply>) =
            tokio::join!(control::execute(node, request, sender), replies.recv());
        made?;
        if let Some(reply) = reply {
            tell_invitation(&reply, output)?;
        }
    }
    loop {
        tokio::select! {
            () = stop.wait() => return Ok(()),
            event = events.recv() => match event {
                Ok(event) => tell(&event),
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "events were missed"),
                Err(RecvError::Closed) => {
                    return Err(Trouble::new(FailureKind::Failed, "the node ended by itself; see the log"));
                }
            },
        }
    }
}

fn tell(event: &Event) {
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
        Event::GroupFailed { group, reason } => {
            tracing::error!(group = group.short(), reason, "group failed")
        }
        Event::Rejudged { group, rejudged } => {
            let (documents, changed) = (rejudged.documents, rejudged.changed);
            tracing::info!(
                group = group.short(),
                documents,
                changed,
                "documents were judged by the members of now"
            );
        }
        Event::Contestable { group, op, author, user, role } => {
            let (op, author, user) = (op.short(), author.short(), user.short());
            tracing::info!(
                group = group.short(),
                op,
                author,
                user,
                ?role,
                "a member was lowered by an equal, and may contest it"
            );
        }
        Event::Voided { group, op } => {
            tracing::info!(
                group = group.short(),
                op = op.short(),
                "something said about members came to nothing"
            );
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
    fn new() -> Result<Self, Trouble> {
        let listen = |kind| signal(kind).map_err(|cause| Trouble::io("no signals to listen for", &cause));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
