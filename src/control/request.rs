//! Everything that a command can ask of a node.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Fields, Secret};
use crate::{DeviceId, GroupId, OpId, Role, UserId};

/// What a command asks. A `group` is an id, the first four or more hex digits of one, or an exact name; left out, it
/// is the only one there is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Which user and device this is.
    Whoami,
    /// What the node has, whom it is linked with, what is wrong.
    Status,
    /// Copies the database into a new folder.
    Backup {
        /// An absolute path: the server has another working directory.
        folder: PathBuf,
    },
    /// Dials an address and keeps the link.
    Connect {
        /// `ws://HOST:PORT`.
        address: String,
        /// The configuration names it, so it is dialled again whatever comes of this attempt.
        known: bool,
    },
    /// Every group with its state.
    Groups,
    /// Founds a group.
    CreateGroup {
        /// Its name.
        name: String,
    },
    /// The members of a group.
    Members {
        /// Which group.
        group: Option<String>,
    },
    /// Makes a ticket.
    Invite {
        /// To which group.
        group: Option<String>,
        /// With which role.
        role: Role,
        /// How many people may use it.
        uses: u16,
        /// How long it is good for, seconds.
        valid_for_s: u64,
    },
    /// Admits a user whose id is known.
    AddMember {
        /// To which group.
        group: Option<String>,
        /// Whom.
        user: UserId,
        /// With which role.
        role: Role,
    },
    /// Changes a member's role.
    SetRole {
        /// Of which group.
        group: Option<String>,
        /// Whose: an id, its first digits, or what a device of theirs is called.
        user: String,
        /// To what; none removes.
        role: Role,
        /// As of before these ops; now, where there are none.
        as_of: Vec<OpId>,
        /// Also where documents of theirs are damaged, which is to their loss.
        #[serde(default)]
        anyway: bool,
    },
    /// Hands this user's role to another member.
    Transfer {
        /// Of which group.
        group: Option<String>,
        /// To whom: an id, its first digits, or what a device of theirs is called.
        to: String,
    },
    /// Ends the contest over a lowering.
    Confirm {
        /// Of which group.
        group: Option<String>,
        /// The op, or whom it lowers.
        what: String,
    },
    /// Says again what came to nothing.
    Redo {
        /// Of which group.
        group: Option<String>,
        /// The op.
        op: OpId,
    },
    /// Everything that was said about members.
    Log {
        /// Of which group.
        group: Option<String>,
    },
    /// What was said about members and came to nothing.
    Voided {
        /// Of which group.
        group: Option<String>,
    },
    /// Every invitation.
    Invites {
        /// Of which group.
        group: Option<String>,
    },
    /// Closes an invitation.
    CloseInvite {
        /// Of which group.
        group: Option<String>,
        /// Which.
        invite: OpId,
    },
    /// The devices of this user.
    Devices,
    /// Takes a device of this user back.
    RevokeDevice {
        /// Which.
        device: DeviceId,
    },
    /// Whether this user has a recovery key.
    Recovery,
    /// Makes a recovery key.
    MakeRecovery {
        /// In the place of the one that there is.
        replace: bool,
    },
    /// Has no more to do with a user.
    Block {
        /// Whom: an id, its first digits, or what a device of theirs is called.
        user: String,
    },
    /// Has to do with a user again.
    Unblock {
        /// Whom: an id, its first digits, or what a device of theirs is called.
        user: String,
    },
    /// Asks for a group whose id is known.
    RequestGroup {
        /// Which group.
        id: GroupId,
    },
    /// Leaves a group.
    Leave {
        /// Which group.
        group: Option<String>,
    },
    /// Joins by a ticket.
    Join {
        /// The ticket's text.
        ticket: Secret,
        /// How long to try, milliseconds.
        timeout_ms: u64,
        /// Also waits until everything is here.
        wait: bool,
    },
    /// Waits until everybody who is connected has the same rows.
    Sync {
        /// Of which group.
        group: Option<String>,
        /// How long to wait, milliseconds.
        timeout_ms: u64,
    },
    /// Writes one row.
    Put {
        /// Into which group.
        group: Option<String>,
        /// Into which table.
        table: String,
        /// Under which key.
        key: String,
        /// Its fields; what it had beside them goes.
        row: Fields,
    },
    /// Writes many rows, all or none.
    PutMany {
        /// Into which group.
        group: Option<String>,
        /// Into which table.
        table: String,
        /// Keys and fields.
        rows: Vec<(String, Fields)>,
    },
    /// Removes one row.
    Remove {
        /// From which group.
        group: Option<String>,
        /// From which table.
        table: String,
        /// Under which key.
        key: String,
    },
    /// Reads one row.
    Get {
        /// Of which group.
        group: Option<String>,
        /// Of which table.
        table: String,
        /// Under which key.
        key: String,
    },
    /// The tables of a group.
    Tables {
        /// Of which group.
        group: Option<String>,
    },
    /// All rows, in order of table and key.
    Rows {
        /// Of which group.
        group: Option<String>,
        /// Of this table alone.
        table: Option<String>,
    },
    /// Follows a table from now on.
    Watch {
        /// Of which group.
        group: Option<String>,
        /// Which table.
        table: String,
    },
    /// Who changed a row and when.
    History {
        /// Of which group.
        group: Option<String>,
        /// Of which table.
        table: String,
        /// Under which key.
        key: String,
    },
    /// Where a row stands with every device, and why.
    Explain {
        /// Of which group.
        group: Option<String>,
        /// Of which table.
        table: String,
        /// Under which key.
        key: String,
    },
}
