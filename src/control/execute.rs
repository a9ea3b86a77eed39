//! Carries a request out on a node; the only way in which commands are carried out.

mod devices;
mod members;
mod network;
mod people;
mod rows;
mod who;

use tokio::sync::mpsc;

use super::reply::{Done, Reply};
use super::{Failure, FailureKind, Request};
use crate::{Group, GroupId, GroupInfo, GroupState, Node};

/// Where replies go. Sending waits while the other side is slow.
#[derive(Clone)]
struct Replies(mpsc::Sender<Reply>);

impl Replies {
    async fn send(&self, reply: Reply) -> Result<(), Failure> {
        self.0.send(reply).await.map_err(|_| Failure::hung_up())
    }

    /// From a thread that reads rows.
    fn send_blocking(&self, reply: Reply) -> Result<(), Failure> {
        self.0.blocking_send(reply).map_err(|_| Failure::hung_up())
    }

    async fn progress(&self, what: impl Into<String>) -> Result<(), Failure> {
        self.send(Reply::Progress(what.into())).await
    }

    /// Says how many documents are gone through, unless the other side is slow: the next number is worth more.
    fn gone_through(&self, documents: u64) {
        let _ = self.0.try_send(Reply::GoneThrough(documents));
    }

    async fn done(&self, what: impl Into<String>) -> Result<(), Failure> {
        self.send(Reply::Done(Done { done: what.into() })).await
    }
}

/// Carries a request out. Replies go to `replies` as they come; when nobody receives them any more it stops.
///
/// # Errors
/// [`Failure`]; what was replied before is true all the same.
pub async fn execute(node: &Node, request: Request, replies: mpsc::Sender<Reply>) -> Result<(), Failure> {
    let replies = Replies(replies);
    match request {
        Request::Whoami => people::whoami(node, &replies).await,
        Request::Groups => people::groups(node, &replies).await,
        Request::CreateGroup { name } => people::create(node, &name, &replies).await,
        Request::Members { group } => members::list(node, &find(node, group)?, &replies).await,
        Request::AddMember { group, user, role } => {
            people::add(&find(node, group)?, user, role, &replies).await
        }
        Request::SetRole { group, user, role, as_of, anyway } => {
            members::set_role(&find(node, group)?, (&user, role), &as_of, anyway, &replies).await
        }
        Request::Transfer { group, to } => members::transfer(&find(node, group)?, &to, &replies).await,
        Request::Confirm { group, what } => members::confirm(&find(node, group)?, &what, &replies).await,
        Request::Redo { group, op } => members::redo(&find(node, group)?, op, &replies).await,
        Request::Log { group } => members::log(&find(node, group)?, &replies).await,
        Request::Voided { group } => members::voided(&find(node, group)?, &replies).await,
        Request::Invites { group } => members::invites(node, &find(node, group)?, &replies).await,
        Request::CloseInvite { group, invite } => members::close(&find(node, group)?, invite, &replies).await,
        Request::Devices => devices::list(node, &replies).await,
        Request::RevokeDevice { device } => devices::revoke(node, device, &replies).await,
        Request::Recovery => devices::recovery(node, &replies).await,
        Request::MakeRecovery { replace } => devices::make_recovery(node, replace, &replies).await,
        Request::Block { user } => people::block(node, &user, true, &replies).await,
        Request::Unblock { user } => people::block(node, &user, false, &replies).await,
        Request::RequestGroup { id } => people::request(node, id, &replies).await,
        Request::Leave { group } => people::leave(&find(node, group)?, &replies).await,
        Request::Invite { group, role, uses, valid_for_s } => {
            people::invite(&find(node, group)?, role, uses, valid_for_s, &replies).await
        }
        Request::Join { ticket, timeout_ms, wait } => {
            network::join(node, ticket.text(), timeout_ms, wait, &replies).await
        }
        Request::Sync { group, timeout_ms } => network::sync(&find(node, group)?, timeout_ms, &replies).await,
        Request::Connect { address, known } => network::connect(node, address, known, &replies).await,
        Request::Status => network::status(node, &replies).await,
        Request::Backup { folder } => network::backup(node, &folder, &replies).await,
        Request::Put { group, table, key, row } => {
            rows::put(&find(node, group)?, &table, vec![(key, row)], &replies).await
        }
        Request::PutMany { group, table, rows } => {
            rows::put(&find(node, group)?, &table, rows, &replies).await
        }
        Request::Remove { group, table, key } => {
            rows::remove(&find(node, group)?, &table, &key, &replies).await
        }
        Request::Get { group, table, key } => rows::get(&find(node, group)?, &table, &key, &replies).await,
        Request::Tables { group } => rows::tables(node, &find(node, group)?, &replies).await,
        Request::Rows { group, table } => rows::rows(node, &find(node, group)?, table, &replies).await,
        Request::Watch { group, table } => rows::watch(&find(node, group)?, &table, &replies).await,
        Request::History { group, table, key } => {
            rows::history(&find(node, group)?, &table, &key, &replies).await
        }
        Request::Explain { group, table, key } => {
            rows::explain(&find(node, group)?, &table, &key, &replies).await
        }
    }
}

/// The fewest hex digits that stand for a group.
const PREFIX_DIGITS_MIN: usize = 4;

/// The group that a person means: an id, an exact name, the first digits of an id; or the only one.
fn find(node: &Node, wanted: Option<String>) -> Result<Group, Failure> {
    let groups = node.groups();
    let Some(wanted) = wanted else {
        let is_here = |state| !matches!(state, GroupState::Removed | GroupState::Offered);
        let mut present = groups.into_iter().filter(|group| is_here(group.state));
        let out = node.groups().into_iter().find(|group| group.state == GroupState::Removed);
        return match (present.next(), present.next()) {
            (Some(only), None) => Ok(node.group(only.id)?),
            (None, _) if out.is_some() => {
                let GroupInfo { id, name, .. } = out.expect("just looked");
                let what = format!("you are out of {name}; `--group {}` reads what is here", id.short());
                Err(Failure::new(FailureKind::NotFound, what))
            }
            (None, _) => Err(Failure::new(
                FailureKind::NotFound,
                "no group here; `peerbase group create NAME` makes one, `peerbase join TICKET` joins one",
            )),
            (Some(_), Some(_)) => Err(Failure::new(
                FailureKind::Invalid,
                "there are several groups: say which one, by its name or the first digits of its id; `peerbase group \
                 list` shows them",
            )),
        };
    };
    if let Ok(id) = wanted.parse::<GroupId>() {
        return Ok(node.group(id)?);
    }
    let named: Vec<&GroupInfo> = groups.iter().filter(|group| group.name == wanted).collect();
    let prefix = wanted.to_lowercase();
    let is_prefix =
        wanted.len() >= PREFIX_DIGITS_MIN && wanted.bytes().all(|digit| digit.is_ascii_hexdigit());
    let by_id = groups.iter().filter(|group| is_prefix && group.id.to_string().starts_with(&prefix));
    // A name that looks like another group's id must not be taken for it.
    let mut found: Vec<&GroupInfo> = by_id.chain(named).collect();
    found.sort_by_key(|group| group.id);
    found.dedup_by_key(|group| group.id);
    match found[..] {
        [GroupInfo { id, state: GroupState::Offered, .. }] => Err(Failure::new(
            FailureKind::NotFound,
            format!("group {wanted:?} is offered to you; `peerbase group request {id}` accepts"),
        )),
        [only] => Ok(node.group(only.id)?),
        [] => Err(Failure::new(
            FailureKind::NotFound,
            format!("no group {wanted:?} here; `peerbase group list` shows those there are"),
        )),
        _ => {
            let ids: Vec<String> = found.iter().map(|group| group.id.to_string()).collect();
            let which = ids.join(", ");
            Err(Failure::new(FailureKind::Invalid, format!("{wanted:?} may mean any of the groups {which}")))
        }
    }
}
