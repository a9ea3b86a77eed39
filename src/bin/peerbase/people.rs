//! `init`, `whoami` and `group`: who this is, which groups there are, who is in them.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use peerbase::control::{Reply, Request};
use peerbase::error::MnemonicError;
use peerbase::node::Mnemonic;
use peerbase::{GroupId, OpId, Role, UserId};

use super::data::Data;
use super::door::{self, Need};
use super::output::Output;
use super::rows::InGroup;
use super::trouble::Trouble;
use super::words::{place, role, span, standard_input};

/// What is longer is no recovery key, bytes.
const WORDS_BYTES_MAX: u64 = 4 << 10;

/// How often a bar is drawn while nothing is heard.
const TICK: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub(crate) struct Init {
    /// What people call this device
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where `serve` takes links; may be repeated
    #[arg(long, value_name = "HOST:PORT", value_parser = place)]
    listen: Vec<String>,
    /// Makes a device of the user whose recovery words stand on standard input; in a new folder
    #[arg(long)]
    restore: bool,
}

#[derive(clap::Args)]
pub(crate) struct User {
    /// Their id, its first digits, or what a device of theirs is called
    pub(crate) user: String,
}

#[derive(clap::Subcommand)]
pub(crate) enum Group {
    /// Founds a group
    Create { name: String },
    /// Shows every group, also those that are pending or offered: id, state, role, name
    List,
    /// Shows the members: user, role, since when, devices, whether the op that gave it may be contested
    Members { group: Option<String> },
    /// Prints a ticket: whoever holds it gets in, so pass it on in private
    Invite {
        group: Option<String>,
        /// reader or writer
        #[arg(long, value_parser = role, default_value = "writer")]
        role: Role,
        /// How many people may use it
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), default_value_t = 1)]
        uses: u16,
        /// How long it is good for
        #[arg(long, value_name = "TIME", value_parser = span, default_value = "7d")]
        expires: Duration,
    },
    /// Admits a user by id: `peerbase group add [GROUP] USER`
    Add {
        /// The group, unless there is one only; then the user's id
        #[arg(required = true, num_args = 1..=2, value_names = ["GROUP", "USER"])]
        who: Vec<String>,
        /// reader, writer, admin or owner
        #[arg(long, value_parser = role, default_value = "writer")]
        role: Role,
    },
    /// Changes a member's role
    Role {
        /// Their id, its first digits, or what a device of theirs is called
        user: String,
        /// reader, writer, admin or owner
        #[arg(value_parser = role)]
        role: Role,
        #[command(flatten)]
        within: InGroup,
        #[command(flatten)]
        as_of: AsOf,
        #[command(flatten)]
        anyway: Anyway,
    },
    /// Removes a member
    Remove {
        /// Their id, its first digits, or what a device of theirs is called
        user: String,
        #[command(flatten)]
        within: InGroup,
        #[command(flatten)]
        as_of: AsOf,
        #[command(flatten)]
        anyway: Anyway,
    },
    /// Hands the group over to a member; this user stays as an admin
    Transfer {
        /// Their id, its first digits, or what a device of theirs is called
        user: String,
        #[command(flatten)]
        within: InGroup,
    },
    /// Ends the contest over a removal or a lowered role, so that it holds
    Confirm {
        /// The op, or the user whom it lowers
        #[arg(value_name = "USER|OP")]
        what: String,
        #[command(flatten)]
        within: InGroup,
    },
    /// Shows everything that was said about members and what came of it: op, standing, author, user, role
    Log { group: Option<String> },
    /// Shows what was said about members and came to nothing, because of something stronger that was said meanwhile
    Voided { group: Option<String> },
    /// Says again what came to nothing
    Redo {
        op: OpId,
        #[command(flatten)]
        within: InGroup,
    },
    /// Shows every invitation: id, state, role, uses, when it expires, who made it
    Invites { group: Option<String> },
    /// Closes an invitation: its ticket lets nobody in any more
    Close {
        invite: OpId,
        #[command(flatten)]
        within: InGroup,
    },
    /// Asks for a group by id, or accepts one that is offered; it is pending until a member admits this user and is met
    Request { id: GroupId },
    /// Leaves a group, on all devices of this user
    Leave { group: String },
}

#[derive(clap::Args)]
pub(crate) struct AsOf {
    /// As if these ops, and what builds on them, were not there: undoes what somebody weaker did; `group log` shows them
    #[arg(long, value_name = "OP", num_args = 1..)]
    as_of: Vec<OpId>,
}

#[derive(clap::Args)]
pub(crate) struct Anyway {
    /// Also where rows of theirs are damaged on this disk: what they wrote to those is lost to everybody
    #[arg(long)]
    anyway: bool,
}

/// Makes a database and its configuration. Where there is a database it stays, and what is said here is changed.
pub(crate) async fn init(data: &Data, options: Init, output: &mut Output) -> Result<(), Trouble> {
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
        .map_err(|cause| Trouble::io(format!("could not make {}", data.folder().display()), &cause))?;
    if is_new || config != before {
        config.write(data.folder())?;
    }
    if let Some(words) = words {
        data.restore(&config, &words).await?;
    }
    let folder = data.folder().display();
    output.note(&match (is_new, config != before) {
        (true, _) => format!("a new database in {folder}"),
        (false, true) => format!("there is a database in {folder} already; its configuration was changed"),
        (false, false) => format!("there is a database in {folder} already; it stays as it is"),
    });
    door::ask(data, Need::Any, Request::Whoami, output).await
}

/// The words on standard input, where nobody else on this machine reads them. Nothing is made before they are right.
fn words(data: &Data, output: &Output) -> Result<Mnemonic, Trouble> {
    if data.has_database() {
        return Err(data.taken());
    }
    if std::io::stdin().is_terminal() {
        output.note("type the 24 words, then Enter and Ctrl-D");
    }
    standard_input(WORDS_BYTES_MAX)?.parse().map_err(|error: MnemonicError| Trouble::invalid(&error))
}

pub(crate) async fn whoami(data: &Data, output: &mut Output) -> Result<(), Trouble> {
    door::ask(data, Need::Existing, Request::Whoami, output).await
}

pub(crate) async fn block(data: &Data, user: String, output: &mut Output) -> Result<(), Trouble> {
    door::ask(data, Need::Existing, Request::Block { user }, output).await
}

pub(crate) async fn unblock(data: &Data, user: String, output: &mut Output) -> Result<(), Trouble> {
    door::ask(data, Need::Existing, Request::Unblock { user }, output).await
}

pub(crate) async fn group(data: &Data, command: Group, output: &mut Output) -> Result<(), Trouble> {
    let request = match command {
        Group::Create { name } => {
            return door::ask(data, Need::Any, Request::CreateGroup { name }, output).await;
        }
        Group::Request { id } => {
            return door::ask(data, Need::Any, Request::RequestGroup { id }, output).await;
        }
        Group::Invite { group, role, uses, expires } => {
            let request = Request::Invite { group, role, uses, valid_for_s: expires.as_secs() };
            return invite(data, request, output).await;
        }
        Group::List => Request::Groups,
        Group::Members { group } => Request::Members { group },
        Group::Add { mut who, role } => {
            let user = who.pop().unwrap_or_default();
            let user: UserId =
                user.parse().map_err(|error: schema::id::ParseIdError| Trouble::Usage(error.to_string()))?;
            Request::AddMember { group: who.pop(), user, role }
        }
        Group::Role { user, role, within, as_of, anyway } => {
            return set_role(data, set_role_request(within, (user, role), as_of, anyway), output).await;
        }
        Group::Remove { user, within, as_of, anyway } => {
            return set_role(data, set_role_request(within, (user, Role::None), as_of, anyway), output).await;
        }
        Group::Transfer { user, within } => Request::Transfer { group: within.group, to: user },
        Group::Confirm { what, within } => Request::Confirm { group: within.group, what },
        Group::Log { group } => Request::Log { group },
        Group::Voided { group } => Request::Voided { group },
        Group::Redo { op, within } => Request::Redo { group: within.group, op },
        Group::Invites { group } => Request::Invites { group },
        Group::Close { invite, within } => Request::CloseInvite { group: within.group, invite },
        Group::Leave { group } => Request::Leave { group: Some(group) },
    };
    door::ask(data, Need::Existing, request, output).await
}

fn set_role_request(
    within: InGroup,
    (user, role): (String, Role),
    AsOf { as_of }: AsOf,
    Anyway { anyway }: Anyway,
) -> Request {
    Request::SetRole { group: within.group, user, role, as_of, anyway }
}

/// Ending that somebody writes takes as long as going through what they wrote: whoever watches sees how far it is.
async fn set_role(data: &Data, request: Request, output: &mut Output) -> Result<(), Trouble> {
    let bar = ProgressBar::no_length();
    if !output.is_watched() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{spinner} {human_pos} documents gone through, {elapsed}");
    bar.set_style(style.expect("the template is ours"));
    let mut replies = Vec::new();
    let asked = door::ask_with(data, Need::Existing, request, |reply| {
        match reply {
            Reply::GoneThrough(documents) => {
                bar.enable_steady_tick(TICK);
                bar.set_position(documents);
            }
            reply => replies.push(reply),
        }
        Ok(())
    });
    let asked = asked.await;
    bar.finish_and_clear();
    replies.iter().try_for_each(|reply| output.reply(reply))?;
    asked
}

/// Prints the ticket alone on standard output, so that it can be piped; what is in it goes beside.
pub(crate) async fn invite(data: &Data, request: Request, output: &mut Output) -> Result<(), Trouble> {
    let mut invitations = Vec::new();
    door::ask_with(data, Need::Existing, request, |reply| {
        invitations.push(reply);
        Ok(())
    })
    .await?;
    for invitation in invitations {
        tell_invitation(&invitation, output)?;
    }
    Ok(())
}

/// A ticket, its addresses, and a warning when nobody elsewhere can dial them.
pub(crate) fn tell_invitation(reply: &Reply, output: &mut Output) -> Result<(), Trouble> {
    let Reply::Invitation(invitation) = reply else { return output.reply(reply) };
    for address in &invitation.addresses {
        output.note(&format!("the ticket says: {address}"));
    }
    if !invitation.reachable {
        output.note(if invitation.addresses.is_empty() {
            "warning: the ticket names no address, since no node listens here; run `peerbase serve` first"
        } else {
            "warning: nobody on another machine can dial these; listen on another address, or set `advertise` in \
             config.toml"
        });
    }
    output.reply(reply)
}
