//! The members of a group as a table that is read and followed.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use schema::{GroupId, UserId};
use tokio_stream::wrappers::BroadcastStream;

use super::members::Member;
use crate::group::Group;

/// The members of a group, one row a user: what [`Group::members`] says, to be followed. Nobody writes it: it is what the
/// group's ledger says.
///
/// ```
/// # use peerbase::{MemberChange, Node, Role};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (node, ben) = (Node::in_memory().await?, Node::in_memory().await?.user_id());
/// let club = node.create_group("Garden club").await?;
/// let mut changes = club.members_table().watch();
/// club.add_member(ben, Role::Writer).await?;
///
/// let Some(MemberChange::Put(member)) = changes.next().await else { panic!("the node is open") };
/// assert_eq!((member.user, member.role), (ben, Role::Writer));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MembersTable {
    group: Group,
}

/// What happened to the members of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Somebody is new, or something about them has changed: role, devices, whether it may be contested.
    Put(Member),
    /// Somebody is out.
    Removed {
        /// Who.
        user: UserId,
    },
    /// The reader fell behind: here is everybody, by user id.
    Reset(Vec<Member>),
}

impl MembersTable {
    pub(crate) fn new(group: Group) -> Self {
        Self { group }
    }

    /// One member.
    pub fn get(&self, user: UserId) -> Option<Member> {
        self.group.members().into_iter().find(|member| member.user == user)
    }

    /// Everybody, by user id.
    pub fn list(&self) -> Vec<Member> {
        self.group.members()
    }

    /// Follows the members from now on. Changes that come together may be told as one; a reader that falls far behind
    /// gets a [`MemberChange::Reset`], never silence. It ends when the node is closed.
    pub fn watch(&self) -> MembersWatch {
        // First, or what changes in between would go unseen.
        let rosters = BroadcastStream::new(self.group.node.handle().membership().rosters());
        let known = by_user(self.list());
        MembersWatch { table: self.clone(), rosters, known, queue: VecDeque::new() }
    }
}

/// A stream of changes of the members of one group. It ends when the node is closed.
pub struct MembersWatch {
    table: MembersTable,
    rosters: BroadcastStream<GroupId>,
    /// What was told.
    known: BTreeMap<UserId, Member>,
    queue: VecDeque<MemberChange>,
}

impl MembersWatch {
    /// Waits for the next change; `None` when the node is closed.
    pub async fn next(&mut self) -> Option<MemberChange> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    fn take(&mut self) {
        let members = by_user(self.table.list());
        let gone = self.known.keys().filter(|user| !members.contains_key(user));
        self.queue.extend(gone.map(|user| MemberChange::Removed { user: *user }));
        let moved = members.values().filter(|member| self.known.get(&member.user) != Some(*member));
        self.queue.extend(moved.cloned().map(MemberChange::Put));
        self.known = members;
    }
}

impl Stream for MembersWatch {
    type Item = MemberChange;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<MemberChange>> {
        loop {
            if let Some(change) = self.queue.pop_front() {
                return Poll::Ready(Some(change));
            }
            match ready!(Pin::new(&mut self.rosters).poll_next(context)) {
                Some(Ok(group)) if group == self.table.group.id() => self.take(),
                Some(Ok(_)) => {}
                Some(Err(_)) => {
                    // What is still queued is older than the answer.
                    let rosters = self.table.group.node.handle().membership().rosters();
                    self.rosters = BroadcastStream::new(rosters);
                    let members = self.table.list();
                    self.known = by_user(members.clone());
                    return Poll::Ready(Some(MemberChange::Reset(members)));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

fn by_user(members: Vec<Member>) -> BTreeMap<UserId, Member> {
    members.into_iter().map(|member| (member.user, member)).collect()
}
