//! The commands that a node carries out: as a program parses them from its arguments, and as they cross the
//! socket.
//!
//! One enum is both: clap reads it from a command line, serde sends it. A comment on a variant is its help
//! text.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, value_parser};
use serde::{Deserialize, Serialize};

use super::arguments::{absolute, role, span};
use super::{Fields, Secret};
use crate::{DeviceId, GroupId, OpId, Role, UserId};

/// A command. A `group` is an id, the first four or more hex digits of one, or an exact name; without one,
/// the only group is meant. A `user` given as text is an id, its first digits, or the label of one of the
/// user's devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Subcommand)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Shows the ids of this user and this device.
    Whoami,
    /// Groups and their members.
    #[command(subcommand)]
    Group(GroupRequest),
    /// Lists the devices of this user: id, whether it is this one or revoked, label.
    Devices,
    /// Revokes a device of this user.
    #[command(subcommand)]
    Device(DeviceRequest),
    /// The recovery key: 24 words that overrule stolen keys.
    #[command(subcommand)]
    Recovery(RecoveryRequest),
    /// Blocks a user: this node refuses links with all their devices.
    Block {
        /// The user's id, its first digits, or the label of a device of theirs.
        user: String,
    },
    /// Ends the block of a user.
    Unblock {
        /// The user's id, its first digits, or the label of a device of theirs.
        user: String,
    },
    /// Joins a group with a ticket; in an empty folder it makes the database first.
    Join {
        /// The ticket's text, or - to read it from standard input, where no other process can see it.
        ticket: Secret,
        /// Also waits until all rows are here.
        #[arg(long)]
        wait: bool,
        /// The time to try now; the ticket is stored and redeemed later in any case.
        #[arg(long, value_name = "TIME", value_parser = span, default_value = "30s")]
        timeout: Duration,
    },
    /// Waits until all connected devices of a group have the same rows.
    Sync {
        /// The group; not needed when there is only one.
        group: Option<String>,
        /// The longest wait.
        #[arg(long, value_name = "TIME", value_parser = span, default_value = "30s")]
        timeout: Duration,
    },
    /// Dials an address now, and from now on whenever a node serves here.
    Connect {
        /// The address of a device: ws://HOST:PORT.
        address: String,
        /// True when the configuration lists the address, so that a failed attempt does not make the node
        /// forget it.
        #[arg(skip)]
        known: bool,
    },
    /// Writes a row; fields that it had and that are not given are removed.
    Put {
        /// The table.
        table: String,
        /// The row's key.
        key: String,
        /// The row as a JSON object, or - to read it from standard input.
        #[arg(value_name = "JSON", allow_hyphen_values = true)]
        row: String,
        /// The `--group` option.
        #[command(flatten)]
        group: InGroup,
    },
    /// Removes a row; its history stays.
    Remove(RowName),
    /// Prints a row as JSON.
    Get(RowName),
    /// Prints all rows of a table; without a table, the names of the tables.
    List {
        /// The table.
        table: Option<String>,
        /// The `--group` option.
        #[command(flatten)]
        group: InGroup,
    },
    /// Prints each change of a table until it is interrupted.
    Watch {
        /// The table.
        table: String,
        /// The `--group` option.
        #[command(flatten)]
        group: InGroup,
    },
    /// Lists the changes of a row: author, device, time.
    History(RowName),
    /// Explains the state of a row: its changes, refusals, and which devices have it.
    Explain(RowName),
    /// Copies the database into a new folder.
    Backup {
        /// A folder that does not exist yet, or is empty.
        // Absolute: the server has another working directory.
        #[arg(value_parser = absolute)]
        folder: PathBuf,
    },
    /// Shows groups, rows, links and problems.
    Status,
    /// Writes many rows, all or none; `import` sends these.
    #[command(skip)]
    PutMany {
        /// The group.
        group: Option<String>,
        /// The table.
        table: String,
        /// Keys and fields.
        rows: Vec<(String, Fields)>,
    },
    /// Reads all rows, in order of table and key; `export` sends this.
    #[command(skip)]
    Rows {
        /// The group.
        group: Option<String>,
        /// This table only.
        table: Option<String>,
    },
}

/// A command about groups, members or invitations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Subcommand)]
#[serde(rename_all = "snake_case")]
pub enum GroupRequest {
    /// Founds a group.
    Create {
        /// The group's name.
        name: String,
    },
    /// Lists the groups, pending and offered ones included: id, state, role, name.
    List,
    /// Lists the members: user, role, since when, devices, and the op that may be contested.
    Members {
        /// The group; not needed when there is only one.
        group: Option<String>,
    },
    /// Prints a ticket. Anyone who has it can join: pass it on in private.
    Invite {
        /// The group; not needed when there is only one.
        group: Option<String>,
        /// reader or writer.
        #[arg(long, value_parser = role, default_value = "writer")]
        role: Role,
        /// The number of users that can join with it.
        #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..), default_value_t = 1)]
        uses: u16,
        /// The time for which it is valid.
        #[arg(long, value_name = "TIME", value_parser = span, default_value = "7d")]
        expires: Duration,
    },
    /// Admits a user by id.
    #[command(allow_missing_positional = true)]
    Add {
        /// The group; not needed when there is only one.
        group: Option<String>,
        /// The user's id.
        #[arg(required = true)]
        user: UserId,
        /// reader, writer, admin or owner.
        #[arg(long, value_parser = role, default_value = "writer")]
        role: Role,
    },
    /// Changes a member's role.
    Role {
        /// The user's id, its first digits, or the label of a device of theirs.
        user: String,
        /// reader, writer, admin or owner.
        #[arg(value_parser = role)]
        role: Role,
        /// The `--group` option.
        #[command(flatten)]
        group: InGroup,
        /// Options.
        #[command(flatten)]
        options: RoleOptions,
    },
    /// Removes a member.
    Remove {
        /// The user's id, its first digits, or the label of a device of theirs.
        user: String,
        /// The `--group` option.
        #[command(flatten)]
        group: InGroup,
        /// Options.
        #[command(flatten)]
        options: RoleOptions,
    },
    /// Transfers this user's role to another member; this user becomes an admin.
    Transfer {
        /// The user's id, its first digits, or the label of a device of theirs.
        user: String,
        /// The `--group` option.
        #[command(flatten)]
        group: InGroup,
    },
    /// Confirms a removal or a lowered role that may be contested, so that its target can no longer void it.
    Confirm {
        /// The op, or the user whose role it lowers.
        #[arg(value_name = "USER|OP")]
        what: String,
        /// The `--group` option.
        #[command(flatten)]
        group: InGroup,
    },
    /// Lists all ops about members: op, status, author, user, role.
    Log {
        /// The group; not needed when there is only one.
        group: Option<String>,
    },
    /// Lists the ops about members that a stronger op made void.
    Voided {
        /// The group; not needed when there is only one.
        group: Option<String>,
    },
    /// Re-issues a void op, signed by this user.
    Reissue {
        /// The op.
        op: OpId,
        /// The `--group` option.
        #[command(flatten)]
        group: InGroup,
    },
    /// Lists the invitations: id, state, role, uses, expiry, author.
    Invites {
        /// The group; not needed when there is only one.
        group: Option<String>,
    },
    /// Closes an invitation: its ticket admits no user any more.
    Close {
        /// The invitation's id.
        invite: OpId,
        /// The `--group` option.
        #[command(flatten)]
        group: InGroup,
    },
    /// Requests a group by id, or accepts an offered one; it is pending until a member has admitted this user
    /// and a device of a member is connected.
    Request {
        /// The group's id.
        id: GroupId,
    },
    /// Leaves a group, on all devices of this user.
    Leave {
        /// The group.
        group: String,
    },
}

/// A command about one device of this user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Subcommand)]
#[serde(rename_all = "snake_case")]
pub enum DeviceRequest {
    /// Revokes a lost or stolen device, in all groups and for ever.
    Revoke {
        /// The device's id; `peerbase devices` lists them.
        device: DeviceId,
    },
}

/// A command about this user's recovery key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, Subcommand)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryRequest {
    /// Makes the key and prints its words, this once: write them on paper.
    Make,
    /// Shows whether there is a key; its words are not stored.
    Show,
    /// Makes another key for groups founded from now on; keep the words of the former one.
    Replace,
}

/// The group that a command is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Args)]
#[serde(transparent)]
pub struct InGroup {
    /// The group, by id, the first digits of its id, or name; not needed when there is only one.
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
}

/// A row's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Args)]
pub struct RowName {
    /// The table.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// The group.
    #[command(flatten)]
    pub group: InGroup,
}

/// Options of a change of role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Args)]
pub struct RoleOptions {
    /// Decides as if these ops, and all that build on them, did not exist: undoes what a weaker member did;
    /// `group log` lists ops.
    #[arg(long, value_name = "OP", num_args = 1..)]
    pub as_of: Vec<OpId>,
    /// Also when rows that the user wrote are damaged on this disk: every device then loses what they wrote
    /// to those.
    #[arg(long)]
    pub without_damaged: bool,
    /// Of rows that are not materialised here, keeps only what they show here: every device then loses what
    /// the user wrote to those later, and what others built on it.
    #[arg(long)]
    #[serde(default)]
    pub without_unmaterialised: bool,
}
