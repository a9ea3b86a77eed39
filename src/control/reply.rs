//! The replies of a node to a request, as they cross the socket and as `--json` prints them.
//!
//! A reply is a public type of the library if there is one for it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Failure, Fields, Secret};
use crate::group::{Explanation, Invitation, MemberOp};
use crate::node::{Backup, Device, EndedLink, NodeStatus};
use crate::table::{PutMany, Revision};
use crate::{DeviceId, GroupId, GroupInfo, Member, OpId, Role, Synced, Timestamp, UserId};

/// One reply; most requests have one, some have many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The ids of this user and this device.
    Identity {
        /// The user.
        user: UserId,
        /// The device.
        device: DeviceId,
    },
    /// A group with its state.
    Group(GroupInfo),
    /// A member of a group, or a removed one whose removal may be contested.
    Member {
        /// The member.
        #[serde(flatten)]
        member: Member,
        /// True for this user.
        is_me: bool,
    },
    /// A device of this user.
    Device(Device),
    /// This user's recovery key.
    RecoveryKey {
        /// The recovery user; none where no key was made.
        user: Option<UserId>,
        /// The words of a key that was just made; they are not stored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        words: Option<Secret>,
    },
    /// An op about a member.
    MemberOp(MemberOp),
    /// A new ticket.
    Ticket {
        /// The ticket's text.
        ticket: Secret,
        /// The group that it is for.
        group: GroupId,
        /// The addresses that the joiner will dial.
        addresses: Vec<String>,
        /// True when another machine can reach one of the addresses.
        reachable: bool,
    },
    /// An invitation, as its group's ledger has it.
    Invitation(Invitation),
    /// A link is up.
    Connected {
        /// The device at the other end.
        device: DeviceId,
        /// The address that was dialled.
        address: String,
    },
    /// The connected devices have the same rows.
    Synced(Synced),
    /// A row with its name.
    Row(Row),
    /// The fields of the one row that was asked for.
    Fields(Fields),
    /// A table.
    Table {
        /// The table's name.
        table: String,
        /// The number of its rows.
        rows: usize,
    },
    /// A change of a table.
    Change(Change),
    /// One change of a row.
    Revision(Revision),
    /// Rows are durable.
    Written(PutMany),
    /// The state of the node.
    Status {
        /// All of it but the ended links.
        #[serde(flatten)]
        node: Box<NodeStatus>,
        /// Links that ended or never came about, oldest first.
        ended: Vec<Ended>,
    },
    /// The state of a row.
    Explanation(Box<Explanation>),
    /// A copy of the database.
    Backup(Backup),
    /// The effect of a command that answers no question.
    Done(Done),
    /// An activity that goes on; `--json` leaves it out.
    Progress(Progress),
}

impl Reply {
    /// The document that `--json` prints: the reply without its kind. None for [`Reply::Progress`].
    pub fn document(&self) -> Option<Value> {
        if matches!(self, Self::Progress(_)) {
            return None;
        }
        let Ok(Value::Object(tagged)) = serde_json::to_value(self) else { return None };
        tagged.into_iter().next().map(|(_, document)| document)
    }
}

/// A row with its name; one line of an export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The table.
    pub table: String,
    /// The key.
    pub key: String,
    /// The fields.
    pub row: Fields,
}

/// A change of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A row is new or has changed.
    Put {
        /// The row's key.
        key: String,
        /// The row's fields.
        row: Fields,
    },
    /// A row has changed and cannot be read.
    Unreadable {
        /// The row's key.
        key: String,
        /// The reason.
        error: Failure,
    },
    /// A row was removed.
    Removed {
        /// The row's key.
        key: String,
    },
    /// The reader missed changes: all rows follow as `put`, and replace what was read before.
    Reset,
}

/// A link that ended or never came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The time, by this device's clock.
    pub at_ms: Timestamp,
    /// The peer's address.
    pub address: String,
    /// The peer's device, if it proved which one it is.
    pub device: Option<DeviceId>,
    /// The reason's kind, such as `dial_timeout`.
    pub end: String,
    /// The reason and its causes, nearest first, for people.
    pub causes: Vec<String>,
}

impl From<EndedLink> for Ended {
    // `LinkEnd` itself holds errors of the system, which do not cross a socket.
    fn from(EndedLink { at, address, device, end }: EndedLink) -> Self {
        let causes = std::iter::successors(Some(&end as &dyn std::error::Error), |cause| cause.source());
        let causes = causes.map(ToString::to_string).collect();
        Self { at_ms: at, address, device, end: end.name().to_owned(), causes }
    }
}

/// The effect of a command that answers no question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "snake_case")]
pub enum Done {
    /// A user was admitted, removed, or given another role.
    RoleSet {
        /// The group.
        group: GroupId,
        /// The group's name.
        name: String,
        /// The user.
        user: UserId,
        /// The role that the user has now; `none` for a removed one.
        role: Role,
        /// The op that gives it.
        op: OpId,
        /// Documents that were left out of the cut because they are damaged here.
        damaged_left_out: u64,
    },
    /// This user's role was transferred.
    Transferred {
        /// The group.
        group: GroupId,
        /// The group's name.
        name: String,
        /// The user who has it now.
        to: UserId,
    },
    /// An op can no longer be contested.
    Confirmed {
        /// The op.
        op: OpId,
        /// The user whose role it lowers.
        user: UserId,
        /// The role that it leaves them.
        role: Role,
    },
    /// A void op was signed again.
    Reissued {
        /// The new op.
        op: OpId,
    },
    /// An invitation was closed.
    InvitationClosed {
        /// The invitation.
        invite: OpId,
    },
    /// A device of this user was revoked.
    DeviceRevoked {
        /// The device.
        device: DeviceId,
    },
    /// A user is blocked.
    Blocked {
        /// The user.
        user: UserId,
    },
    /// A user is not blocked.
    Unblocked {
        /// The user.
        user: UserId,
        /// False when the user was not blocked before either.
        was_blocked: bool,
    },
    /// A group was left.
    Left {
        /// The group.
        group: GroupId,
        /// The group's name.
        name: String,
    },
}

/// An activity that goes on while a request is carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// The node dials.
    Dialling {
        /// These addresses.
        addresses: Vec<String>,
    },
    /// The node receives the rows of a group that it joined.
    Receiving {
        /// The group's name.
        group: String,
    },
    /// The node waits until the devices of a group have the same rows.
    Syncing {
        /// The group's name.
        group: String,
    },
    /// The node watches a table.
    Watching {
        /// The table's name.
        table: String,
    },
    /// The node copies the database.
    Copying {
        /// Into this folder.
        folder: PathBuf,
    },
    /// The node reads documents that a member wrote to, to cut what the member may write.
    Documents {
        /// The number of documents read so far.
        read: u64,
    },
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use schema::document::Refusal;
    use schema::{ChangeHash, DocumentId};
    use serde_json::json;
    use tokio::sync::mpsc;

    use super::*;
    use crate::Node;
    use crate::control::request::{GroupRequest, InGroup, RecoveryRequest, RowName};
    use crate::control::{Request, execute, wire};
    use crate::group::GroupStatus;
    use crate::node::StuckActor;

    fn sent(reply: &Reply) -> Reply {
        let bytes = wire::encode(reply).expect("a reply is JSON");
        wire::decode(&bytes).expect("it is read back")
    }

    #[tokio::test(start_paused = true)]
    async fn replies_cross_the_socket_unchanged() {
        let node = Node::in_memory().await.expect("it opens");
        node.create_group("Garden club").await.expect("it is founded");
        let row = || RowName { table: "tasks".into(), key: "basil".into(), group: InGroup::default() };
        let put = Request::Put {
            table: "tasks".into(),
            key: "basil".into(),
            row: r#"{"done":false}"#.into(),
            group: InGroup::default(),
        };
        for request in [
            put,
            Request::Whoami,
            Request::Group(GroupRequest::List),
            Request::Group(GroupRequest::Members { group: None }),
            Request::Devices,
            Request::Recovery(RecoveryRequest::Show),
            Request::Get(row()),
            Request::History(row()),
            Request::Explain(row()),
            Request::Status,
        ] {
            let (sender, mut replies) = mpsc::channel(8);
            execute(&node, request.clone(), sender).await.expect("it is carried out");
            let reply = replies.recv().await.expect("it has a reply");
            assert_eq!(sent(&reply), reply, "{request:?}");
            assert!(reply.document().is_some_and(|document| document.is_object()), "{reply:?}");
        }
        node.close().await;
    }

    #[test]
    fn a_refusal_is_an_object_with_its_kind() {
        let why = Refusal::MissingDependency { dependency: ChangeHash([7; 32]) };
        let status = GroupStatus { refusals: vec![(DocumentId([1; 32]), why)], ..GroupStatus::default() };
        let json = serde_json::to_value(&status).expect("a status is JSON");
        let refused = &json["refusals"][0];
        assert_eq!(refused["document"], json!("01".repeat(32)));
        assert_eq!(refused["why"], json!({"kind": "missing_dependency", "dependency": "07".repeat(32)}));
        assert_eq!(serde_json::from_value::<GroupStatus>(json).expect("it is read back"), status);
    }
    #[test]
    fn a_stuck_actor_is_an_object_with_whole_milliseconds() {
        let stuck = StuckActor {
            actor: "group".to_owned(),
            group: Some(GroupId([7; 32])),
            device: None,
            doing: "write rows".to_owned(),
            lasted: Duration::from_millis(7_900),
        };
        let json = serde_json::to_value(&stuck).expect("it is JSON");
        let expected = json!({
            "actor": "group",
            "group": "07".repeat(32),
            "device": null,
            "doing": "write rows",
            "lasted_ms": 7_900,
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<StuckActor>(json).expect("it is read back"), stuck);
    }
}
