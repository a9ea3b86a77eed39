//! A group with its people, each with a node on one virtual network, and short ways to let them write, part and meet.

use std::collections::BTreeMap;

use peerbase::sim::{Net, Peer};
use peerbase::{Group, GroupId, OpId, Role, UserId, WriteError};

use super::{group, task, tasks};

/// Ada's group and the devices of its people, by name.
pub(crate) struct Village {
    pub(crate) net: Net,
    pub(crate) id: GroupId,
    pub(crate) people: BTreeMap<&'static str, Peer>,
    users: BTreeMap<&'static str, UserId>,
}

/// Rows, as [`Village::rows`] shows them.
pub(crate) fn rows<const N: usize>(rows: [(&str, &str); N]) -> BTreeMap<String, String> {
    rows.into_iter().map(|(key, title)| (key.to_owned(), title.to_owned())).collect()
}

/// Another world for each `SEED` in the environment.
pub(crate) fn seeded(seed: u64) -> u64 {
    let other = std::env::var("SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    seed + 1_000 * other.unwrap_or(0)
}

impl Village {
    /// Ada founds the group, and lets the others in: the first named are the most senior. Everybody is in sync.
    pub(crate) async fn of<const N: usize>(seed: u64, others: [(&'static str, Role); N]) -> Self {
        let mut net = Net::seeded(seeded(seed)).latency_ms(5..40);
        let [ada] = net.nodes(["ada"]).await;
        let id = ada.node().create_group("home").await.unwrap().id();
        let mut village = Self { net, id, people: BTreeMap::new(), users: BTreeMap::new() };
        village.comes("ada", ada);
        for (name, role) in others {
            let [peer] = village.net.nodes([name]).await;
            village.comes(name, peer);
            village.says("ada", name, role).await;
            village.people[name].node().request_group(id).await.unwrap();
        }
        village.meet().await;
        village
    }

    /// Another device of somebody's.
    pub(crate) async fn device(&mut self, of: &str, name: &'static str) {
        let peer = self.net.device_of(&self.people[of].clone(), name).await;
        self.comes(name, peer);
        for _ in 0..1_200 {
            if self.people[name].node().group(self.id).is_ok() {
                return self.meet().await;
            }
            self.net.sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("{name} has not come in");
    }

    pub(crate) fn group(&self, name: &str) -> Group {
        group(&self.people[name], self.id)
    }

    pub(crate) fn user(&self, name: &str) -> UserId {
        self.users[name]
    }

    fn comes(&mut self, name: &'static str, peer: Peer) {
        self.users.insert(name, peer.node().user_id());
        self.people.insert(name, peer);
    }

    pub(crate) async fn says(&self, by: &str, about: &str, role: Role) -> OpId {
        self.group(by).set_role(self.user(about), role).await.unwrap().op
    }

    pub(crate) async fn removes(&self, by: &str, whom: &str) -> OpId {
        self.group(by).remove_member(self.user(whom)).await.unwrap().op
    }

    pub(crate) async fn writes(&self, name: &str, key: &str, title: &str) {
        tasks(&self.people[name], self.id).put(key, &task(title)).await.unwrap();
    }

    pub(crate) async fn tries_to_write(&self, name: &str, key: &str, title: &str) -> Result<(), WriteError> {
        tasks(&self.people[name], self.id).put(key, &task(title)).await.map(|_| ())
    }

    /// Key and title of every row.
    pub(crate) fn rows(&self, name: &str) -> BTreeMap<String, String> {
        let rows = tasks(&self.people[name], self.id).list().unwrap();
        rows.into_iter().map(|(key, task)| (key, task.title)).collect()
    }

    /// These have these rows.
    #[track_caller]
    pub(crate) fn have<const N: usize>(&self, names: &[&str], expected: [(&str, &str); N]) {
        for name in names {
            assert_eq!(self.rows(name), rows(expected), "at {name}");
        }
    }

    /// How many documents somebody keeps changes of that were accepted once and are not any more.
    pub(crate) async fn kept(&self, name: &str) -> usize {
        self.group(name).status().await.unwrap().kept.documents
    }

    /// Only people of one side reach each other; who is not named is alone.
    pub(crate) fn part(&mut self, sides: &[&[&str]]) {
        let mut parted: Vec<Vec<&Peer>> =
            sides.iter().map(|side| side.iter().map(|name| &self.people[name]).collect()).collect();
        let alone = self.people.iter().filter(|(name, _)| sides.iter().all(|side| !side.contains(name)));
        parted.extend(alone.map(|(_, peer)| vec![peer]));
        let parted: Vec<&[&Peer]> = parted.iter().map(|side| &side[..]).collect();
        // Who has a way to somebody again is told so, and dials at once.
        self.net.heal();
        self.net.partition(&parted);
    }

    pub(crate) async fn settle(&self) {
        self.net.settle().await;
    }

    /// Everybody meets everybody and ends equal.
    pub(crate) async fn meet(&mut self) {
        self.net.heal();
        self.net.settle().await;
        self.net.assert_converged();
    }

    pub(crate) async fn crash(&mut self, name: &str) {
        self.net.crash(&self.people[name]).await;
    }

    pub(crate) async fn restart(&mut self, name: &str) {
        self.net.restart(&self.people[name]).await;
    }

    pub(crate) async fn ends(mut self) {
        self.meet().await;
        self.net.close().await;
    }
}
