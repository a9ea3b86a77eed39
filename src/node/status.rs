//! What a node is doing: where it listens, to whom it is linked, how its groups are.

use actors::node::connection_manager::{Ended, LinkEnd, LinkStatus};
use actors::node::group::{GroupStatus, PeerStatus};
use actors::node::membership::{Declined, Silent};
use schema::{DeviceId, Timestamp, UserId};

use super::Node;
use crate::GroupInfo;
use crate::error::GroupError;

/// What a node is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeStatus {
    /// The user whose device this is.
    pub user: UserId,
    /// This device.
    pub device: DeviceId,
    /// What people call this device.
    pub label: String,
    /// The addresses at which it listens.
    pub listening: Vec<String>,
    /// The addresses that it dials whenever there is no link.
    pub dialled: Vec<String>,
    /// The links, one a device.
    pub links: Vec<LinkStatus>,
    /// The last 64 links that ended or never came about, oldest first.
    #[cfg_attr(feature = "control", serde(skip))]
    // holds errors of the system; `control::reply::Ended` replaces it
    pub ended: Vec<EndedLink>,
    /// This user's recovery key; none also where what is remembered of it cannot be read, as [`Node::recovery`] tells.
    pub recovery: Option<UserId>,
    /// The users who are blocked, by id.
    pub blocked: Vec<UserId>,
    /// The groups as [`Node::groups`] lists them.
    pub groups: Vec<GroupReport>,
}

/// A link that is over, or never was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedLink {
    /// When, by this device's clock.
    pub at: Timestamp,
    /// Where the peer was.
    pub address: String,
    /// Who it was, if it proved that.
    pub device: Option<DeviceId>,
    /// Why.
    pub end: LinkEnd,
}

impl From<Ended> for EndedLink {
    fn from(Ended { at, address, device, end }: Ended) -> Self {
        Self { at, address, device, end }
    }
}

/// How one group is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct GroupReport {
    /// Name, state and this user's role.
    #[cfg_attr(feature = "control", serde(flatten))]
    pub info: GroupInfo,
    /// How many members it has.
    pub members: usize,
    /// The recovery user that stands above all others, if whoever founded it had one: without, nobody can repair the
    /// group once its founder's keys are lost or stolen.
    pub recovery: Option<UserId>,
    /// What came last of a ticket to it, where this user is not in; a new one or an Admin's word helps.
    pub declined: Option<Declined>,
    /// Its connected devices, and whether each has what this one has.
    pub peers: Vec<PeerStatus>,
    /// Members' devices that were met and do not speak of the group with this one: they left it or, where all are silent,
    /// this user is out of it. Nobody who was removed is told.
    pub silent: Vec<Silent>,
    /// Its rows, what of it is damaged, and what was refused lately; none when it is out of service or does not answer.
    pub status: Option<GroupStatus>,
}

impl Node {
    /// What this node is doing, for people and programs that watch over it.
    ///
    /// ```
    /// # use peerbase::Node;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = Node::in_memory().await?;
    /// # node.create_group("Garden club").await?;
    /// let status = node.status().await?;
    /// for group in &status.groups {
    ///     let rows = group.status.as_ref().map(|status| status.documents);
    ///     println!("{}: {} members, {rows:?} rows", group.info.name, group.members);
    /// }
    /// # assert_eq!(status.groups.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GroupError::Call`] when the node is closed or does not answer.
    pub async fn status(&self) -> Result<NodeStatus, GroupError> {
        let (connections, membership) = (self.handle.connections(), self.handle.membership());
        let links = connections.status().await?;
        let ended = connections.ends().await?;
        // Together: of many groups some may be slow to answer.
        let asked = self.groups().into_iter().map(|info| {
            let handle = self.handle.group(info.id);
            let people = membership.people(info.id);
            let declined = people.as_ref().and_then(|(_, people)| people.declined);
            let roster = people.map(|(roster, _)| roster);
            let asks = membership.clone();
            let id = info.id;
            let members = roster.as_ref().map_or(0, |roster| roster.members().count());
            let recovery = roster.and_then(|roster| roster.recovery());
            self.clock.spawn(async move {
                let peers = handle.as_ref().map(|handle| handle.peers().borrow().clone()).unwrap_or_default();
                let status = match handle {
                    Some(handle) => handle.status().await.ok(),
                    None => None,
                };
                let silent = asks.silent(id).await.unwrap_or_default();
                GroupReport { info, members, recovery, declined, peers, silent, status }
            })
        });
        let mut groups = Vec::new();
        for group in asked.collect::<Vec<_>>() {
            groups.extend(group.await.ok());
        }
        Ok(NodeStatus {
            user: self.user_id(),
            device: self.device,
            label: self.name.as_ref().to_owned(),
            listening: connections.listening(),
            dialled: connections.dialled(),
            links,
            ended: ended.into_iter().map(EndedLink::from).collect(),
            recovery: self.recovery().ok().flatten(),
            blocked: self.blocked().unwrap_or_default(),
            groups,
        })
    }
}
