//! Advice on a failure, as fields. The program words it.

use serde::{Deserialize, Serialize};

use crate::{DeviceId, GroupId, UserId};

/// A way out of a [`Failure`](super::Failure), or the node's own next attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Advice {
    /// Create or join a group: there is none here.
    CreateOrJoin,
    /// List the groups.
    ListGroups,
    /// Name one of these groups by its id.
    NameGroup {
        /// The groups that the name stands for; none where no name was given.
        groups: Vec<GroupId>,
    },
    /// Accept the offer of a group.
    AcceptOffer {
        /// The group.
        group: GroupId,
    },
    /// Name the group to read its rows: this user was removed from it.
    ReadRemoved {
        /// The group.
        group: GroupId,
    },
    /// List the members.
    ListMembers,
    /// List the members, with the ops that may be contested.
    ListContestable,
    /// Name one of these users by the id.
    NameUser {
        /// The users that the name stands for.
        users: Vec<UserId>,
    },
    /// Admit the user, who is no member.
    AddMember {
        /// The user.
        user: UserId,
    },
    /// Leave damaged documents out of the cut.
    LeaveOutDamaged,
    /// Show the reason why a row is set aside.
    Explain {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
    },
    /// Serve: the ticket is stored, and redeemed again while a node serves.
    Serve,
    /// Dial a device, or look at the links that failed.
    Connect,
    /// Ask an admin of the group to admit this user again.
    AskToBeAdmitted,
    /// Wait for these devices, which do not have the same rows yet.
    AwaitDevices {
        /// The devices.
        devices: Vec<DeviceId>,
    },
    /// Nothing: the address is dialled again while a node serves.
    IsDialledAgain {
        /// The address.
        address: String,
    },
    /// Dial again: the address is not remembered.
    IsNotRemembered {
        /// The address.
        address: String,
    },
    /// Free space on the disk of the database, or raise the quota; then start the node again.
    FreeSpace,
    /// Return the database's folder to its path; then start the node again.
    RestoreFolder,
    /// Start the node again.
    StartAgain,
    /// Listen at another address.
    ListenElsewhere {
        /// The address that may be in use, or be none of this machine.
        address: String,
    },
}
