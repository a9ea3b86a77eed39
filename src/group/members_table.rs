//! The members of a group as a read-only table.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use schema::{GroupId, UserId};
use tokio_stream::wrappers::BroadcastStream;

use super::members::Member;
use crate::group::Group;

/// The members of a group as a read-only table, one row for each user: [`Group::members`], to be read and
/// followed. Only membership ops change it.
///
/// ```
/// # use peerbase::{Node, Role, group::MemberChange};
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

/// A change of the members of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A member is new or has changed: role, devices, or the op that may be contested.
    Put(Member),
    /// A member was removed.
    Removed {
        /// The user.
        user: UserId,
    },
    /// The reader lagged behind: all members as they are now, by user id.
    Reset(Vec<Member>),
}

impl MembersTable {
    pub(crate) fn new(group: Group) -> Self {
        Self { group }
    }

    /// Returns a member; none if the user is no member.
    pub fn get(&self, user: UserId) -> Option<Member> {
        self.group.members().into_iter().find(|member| member.user == user)
    }

    /// Lists the members, by user id.
    pub fn list(&self) -> Vec<Member> {
        self.group.members()
    }

    /// Follows the members from now on. Several changes of one member may arrive as one; a reader that falls
    /// far behind gets a [`MemberChange::Reset`].
    pub fn watch(&self) -> MembersWatch {
        // Subscribe first, so that no change between the two is missed.
        let rosters = BroadcastStream::new(self.group.node.handle().membership().rosters());
        let known = by_user(self.list());
        MembersWatch { table: self.clone(), rosters, known, queue: VecDeque::new() }
    }
}

/// A stream of changes of the members of one group, from [`MembersTable::watch`]. It ends when the node is
/// closed.
pub struct MembersWatch {
    table: MembersTable,
    rosters: BroadcastStream<GroupId>,
    /// The members as the reader knows them.
    known: BTreeMap<UserId, Member>,
    queue: VecDeque<MemberChange>,
}

impl MembersWatch {
    /// Waits for the next change; `None` when the node is closed.
    pub async fn next(&mut self) -> Option<MemberChange> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    fn queue_changes(&mut self) {
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
                Some(Ok(group)) if group == self.table.group.id() => self.queue_changes(),
                Some(Ok(_)) => {}
                Some(Err(_)) => {
                    // Queued changes are older than the reset.
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
