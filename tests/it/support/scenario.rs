//! One group on one virtual network: every member has a name and a node, and tests act on members by name.

use std::collections::BTreeMap;

use peerbase::sim::{Net, Peer};
use peerbase::{Group, GroupError, GroupId, OpId, Role, UserId, WriteError};

use super::{group, task, tasks, until};

/// A group and the nodes of its members.
pub(crate) struct Scenario {
    pub(crate) net: Net,
    pub(crate) id: GroupId,
    /// One entry per device; a second device of a user has a name of its own.
    pub(crate) peers: BTreeMap<&'static str, Peer>,
    users: BTreeMap<&'static str, UserId>,
}

/// Rows in the form that [`Scenario::rows`] returns.
pub(crate) fn rows<const N: usize>(rows: [(&str, &str); N]) -> BTreeMap<String, String> {
    rows.into_iter().map(|(key, title)| (key.to_owned(), title.to_owned())).collect()
}

/// Mixes the environment variable `SEED` into a test's own seed, so that CI can run the same test on other
/// schedules.
pub(crate) fn seeded(seed: u64) -> u64 {
    let other = std::env::var("SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    seed + 1_000 * other.unwrap_or(0)
}

impl Scenario {
    /// A group that ada founds.
    pub(crate) async fn new<const N: usize>(seed: u64, others: [(&'static str, Role); N]) -> Self {
        Self::founded_by("ada", seed, others).await
    }

    /// `founder` creates the group and adds the others in order: the first named is the most senior. All are
    /// in sync.
    pub(crate) async fn founded_by<const N: usize>(
        founder: &'static str,
        seed: u64,
        others: [(&'static str, Role); N],
    ) -> Self {
        let mut net = Net::seeded(seeded(seed)).latency_ms(5..40);
        let [peer] = net.nodes([founder]).await;
        let id = peer.node().create_group("home").await.unwrap().id();
        let mut scenario = Self { net, id, peers: BTreeMap::new(), users: BTreeMap::new() };
        scenario.insert(founder, peer);
        for (name, role) in others {
            let [peer] = scenario.net.nodes([name]).await;
            scenario.insert(name, peer);
            scenario.set_role(founder, name, role).await;
            scenario.peers[name].node().request_group(id).await.unwrap();
        }
        scenario.converge().await;
        scenario
    }

    /// Starts a second device of `user` under `name` and waits until it has the group.
    pub(crate) async fn add_device(&mut self, user: &str, name: &'static str) {
        let peer = self.net.device_of(&self.peers[user].clone(), name).await;
        self.insert(name, peer);
        let node = self.peers[name].node();
        until(&self.net, "the new device opens the group", || node.group(self.id).is_ok()).await;
        self.converge().await;
    }

    /// Names a user who has no node.
    pub(crate) fn add_user(&mut self, name: &'static str, user: UserId) {
        self.users.insert(name, user);
    }

    /// Names a node and its user.
    pub(crate) fn insert(&mut self, name: &'static str, peer: Peer) {
        self.users.insert(name, peer.node().user_id());
        self.peers.insert(name, peer);
    }

    pub(crate) fn group(&self, name: &str) -> Group {
        group(&self.peers[name], self.id)
    }

    pub(crate) fn user(&self, name: &str) -> UserId {
        self.users[name]
    }

    /// Gives a member a role, or admits the user with it.
    pub(crate) async fn set_role(&self, author: &str, target: &str, role: Role) -> OpId {
        self.try_set_role(author, target, role).await.unwrap()
    }

    /// Gives a member a role, or admits the user with it.
    pub(crate) async fn try_set_role(
        &self,
        author: &str,
        target: &str,
        role: Role,
    ) -> Result<OpId, GroupError> {
        let (group, user) = (self.group(author), self.user(target));
        match group.set_role(user, role).await {
            Err(GroupError::NotMember { .. }) => group.add_member(user, role).await,
            changed => Ok(changed?.op),
        }
    }

    pub(crate) async fn remove(&self, author: &str, target: &str) -> OpId {
        self.group(author).remove_member(self.user(target)).await.unwrap().op
    }

    pub(crate) async fn write(&self, name: &str, key: &str, title: &str) {
        self.try_write(name, key, title).await.unwrap();
    }

    pub(crate) async fn try_write(&self, name: &str, key: &str, title: &str) -> Result<(), WriteError> {
        tasks(&self.peers[name], self.id).put(key, &task(title)).await.map(|_| ())
    }

    /// The title of every row, by key.
    pub(crate) fn rows(&self, name: &str) -> BTreeMap<String, String> {
        let rows = tasks(&self.peers[name], self.id).list().unwrap();
        rows.into_iter().map(|(key, task)| (key, task.title)).collect()
    }

    #[track_caller]
    pub(crate) fn assert_rows<const N: usize>(&self, names: &[&str], expected: [(&str, &str); N]) {
        for name in names {
            assert_eq!(self.rows(name), rows(expected), "at {name}");
        }
    }

    /// The number of documents of which this device has set changes aside.
    pub(crate) async fn set_aside(&self, name: &str) -> usize {
        self.group(name).status().await.unwrap().set_aside.documents
    }

    /// Devices of one side reach each other only; a device that no side names reaches nobody.
    pub(crate) fn partition(&mut self, sides: &[&[&str]]) {
        let mut parted: Vec<Vec<&Peer>> =
            sides.iter().map(|side| side.iter().map(|name| &self.peers[name]).collect()).collect();
        let alone = self.peers.iter().filter(|(name, _)| sides.iter().all(|side| !side.contains(name)));
        parted.extend(alone.map(|(_, peer)| vec![peer]));
        let parted: Vec<&[&Peer]> = parted.iter().map(|side| &side[..]).collect();
        // Healing wakes the diallers at once: devices of one new side need not wait for a back-off to end.
        self.net.heal();
        self.net.partition(&parted);
    }

    pub(crate) async fn settle(&self) {
        self.net.settle().await;
    }

    /// Heals the network, waits until nothing more is sent, and asserts that all members are equal.
    pub(crate) async fn converge(&mut self) {
        self.net.heal();
        self.net.settle().await;
        self.net.assert_converged();
    }

    pub(crate) async fn crash(&mut self, name: &str) {
        self.net.crash(&self.peers[name]).await;
    }

    pub(crate) async fn restart(&mut self, name: &str) {
        self.net.restart(&self.peers[name]).await;
    }

    /// Asserts that all members converge, and closes their nodes.
    pub(crate) async fn close(mut self) {
        self.converge().await;
        self.net.close().await;
    }
}
