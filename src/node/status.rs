//! Reports the state of a node: addresses, links, groups.

use std::collections::BTreeMap;
use std::time::Duration;

use actors::call::CallError;
use actors::clock::Clock;
use actors::meter::MeterReading;
#[doc(inline)]
pub use actors::node::connection_manager::EndedLink;
use actors::node::connection_manager::LinkStatus;
use actors::node::group::{GroupStatus, PeerStatus};
use actors::node::membership::{Declined, Flood, Silent};
use actors::watchdog::STUCK_AFTER;
#[doc(inline)]
pub use actors::watchdog::StuckActor;
use schema::{DeviceId, UserId};

use super::Node;
use crate::error::GroupError;
use crate::group::GroupInfo;

/// Time for an actor to answer a question of the status.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of a node, from [`Node::status`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeStatus {
    /// The user whose device this is.
    pub user: UserId,
    /// This device.
    pub device: DeviceId,
    /// This device's name.
    pub label: String,
    /// The addresses at which the node listens.
    pub listening: Vec<String>,
    /// The addresses given to [`Node::connect`], which are dialled whenever there is no link.
    pub dialled: Vec<String>,
    /// The links, at most one for each device. Empty too if the connection manager is `stuck`.
    pub links: Vec<LinkStatus>,
    /// The last 64 links that ended or failed to come up, oldest first.
    // The ends hold errors of the system; `control::reply::Ended` replaces them.
    #[cfg_attr(feature = "control", serde(skip))]
    pub ended: Vec<EndedLink>,
    /// This user's recovery user; also none if it cannot be read, for the reason that [`Node::recovery`]
    /// returns.
    pub recovery: Option<UserId>,
    /// The blocked users, by id.
    pub blocked: Vec<UserId>,
    /// Actors of this node that stand still: they have had one message in hand for five seconds or longer. If
    /// an actor did not answer, for two seconds or longer: the parts that it knows are absent here.
    pub stuck: Vec<StuckActor>,
    /// The groups, as [`Node::groups`] lists them.
    pub groups: Vec<GroupReport>,
    /// The value of each meter by name; [`Node::meters`] has their units and descriptions.
    pub meters: BTreeMap<String, u64>,
}

/// The state of one group, from [`Node::status`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct GroupReport {
    /// The group's name and state, and this user's role.
    #[cfg_attr(feature = "control", serde(flatten))]
    pub info: GroupInfo,
    /// Number of members.
    pub members: usize,
    /// The recovery user that ranks above all others, if the founder had one. Without it the group cannot be
    /// repaired once its founder's keys are lost or stolen.
    pub recovery: Option<UserId>,
    /// The last refusal of this user's ticket, while this user is not a member: ask for a new ticket.
    pub declined: Option<Declined>,
    /// Its connected devices; each is in sync with this one or not.
    pub peers: Vec<PeerStatus>,
    /// Members' linked devices that do not announce the group to this one: they left it or, if all of them
    /// are silent, this user was removed. A removed member is not notified.
    pub silent: Vec<Silent>,
    /// Users who signed more than 200 of its ops, certificates, device revocations and device records within
    /// the last hour, as far as they arrived here. An Admin can remove them.
    pub floods: Vec<Flood>,
    /// Its rows, damage and recent refusals; none if it failed or does not answer.
    pub status: Option<GroupStatus>,
}

impl Node {
    /// Reads every meter: counters since the node was opened, and gauges. Cheap enough to be called every
    /// second.
    ///
    /// ```
    /// # use peerbase::Node;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = Node::in_memory().await?;
    /// # node.create_group("Garden club").await?;
    /// for meter in node.meters() {
    ///     println!("{} = {} {} ({})", meter.name, meter.value, meter.unit, meter.help);
    /// }
    /// # assert!(node.meters().iter().any(|meter| meter.name == "store_barriers" && meter.value > 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn meters(&self) -> Vec<MeterReading> {
        self.handle.meters().read()
    }

    /// Reports the addresses, links and groups of this node, for people and programs that watch over it.
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
    /// [`GroupError::Call`] if the node is closed or does not answer, although no actor is stuck.
    pub async fn status(&self) -> Result<NodeStatus, GroupError> {
        let connections = self.handle.connections();
        // Concurrently, and not for long: some of many actors may be slow to answer, or stand still.
        let reports: Vec<_> =
            self.groups().into_iter().map(|info| self.clock.spawn(self.report(info))).collect();
        let links =
            within(&self.clock, async { Ok((connections.status().await?, connections.ends().await?)) });
        let links = links.await;
        let (mut groups, mut is_complete) = (Vec::new(), !timed_out(&links));
        for report in reports {
            if let Ok((group, answered)) = report.await {
                groups.push(group);
                is_complete &= answered;
            }
        }
        let stuck = self.handle.stuck(if is_complete { STUCK_AFTER } else { QUESTION_TIMEOUT });
        let (links, ended) = match links {
            Err(CallError::TimedOut) if !stuck.is_empty() => Default::default(),
            links => links?,
        };
        Ok(NodeStatus {
            user: self.user_id(),
            device: self.device,
            label: self.name.as_ref().to_owned(),
            listening: connections.listening(),
            dialled: connections.dialled(),
            links,
            ended,
            recovery: self.recovery().ok().flatten(),
            blocked: self.blocked().unwrap_or_default(),
            stuck,
            groups,
            meters: self.meters().into_iter().map(|meter| (meter.name.to_owned(), meter.value)).collect(),
        })
    }

    /// Reports the state of a group; false if one of the actors that know of it did not answer in time.
    fn report(&self, info: GroupInfo) -> impl Future<Output = (GroupReport, bool)> + Send + use<> {
        let (clock, id) = (self.clock.clone(), info.id);
        let (handle, membership) = (self.handle.group(id), self.handle.membership().clone());
        async move {
            let people = membership.members(id);
            let declined = people.as_ref().and_then(|(_, people)| people.declined);
            let roster = people.map(|(roster, _)| roster);
            let members = roster.as_ref().map_or(0, |roster| roster.members().count());
            let recovery = roster.and_then(|roster| roster.recovery());
            let peers = handle.as_ref().map(|handle| handle.peers().borrow().clone()).unwrap_or_default();
            let status = async {
                let handle = handle.ok_or(CallError::Stopped)?;
                handle.status().await
            };
            let others = async { Ok((membership.silent(id).await?, membership.floods(id).await?)) };
            let (status, others) = tokio::join!(within(&clock, status), within(&clock, others));
            let answered = !timed_out(&status) && !timed_out(&others);
            let (status, (silent, floods)) = (status.ok(), others.unwrap_or_default());
            (GroupReport { info, members, recovery, declined, peers, silent, floods, status }, answered)
        }
    }
}

/// Waits for the answer to a question of the status.
async fn within<T>(
    clock: &Clock,
    question: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    clock.timeout(QUESTION_TIMEOUT, question).await.unwrap_or(Err(CallError::TimedOut))
}

fn timed_out<T>(answer: &Result<T, CallError>) -> bool {
    matches!(answer, Err(CallError::TimedOut))
}
