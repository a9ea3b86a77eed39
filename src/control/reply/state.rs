//! What a node is like as a whole, and why a row is as it is.

use schema::DocumentId;
use schema::admission::Refusal;
use serde::{Deserialize, Serialize};

use super::{GroupLine, RevisionLine};
use crate::group::{Kept, Rejudged, RowState, Snapshot};
use crate::{ChangeHash, DeviceId, UserId};

/// What a node is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// What people call it.
    pub name: String,
    /// Where it listens.
    pub listening: Vec<String>,
    /// Whom it dials whenever there is no link.
    pub dialled: Vec<String>,
    /// The devices that it is linked with.
    pub links: Vec<LinkLine>,
    /// Links that ended or never came about, oldest first.
    pub ended: Vec<EndedLine>,
    /// The recovery user; none where no key was made.
    pub recovery: Option<UserId>,
    /// The users who are blocked.
    pub blocked: Vec<UserId>,
    /// The groups.
    pub groups: Vec<GroupStatus>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkLine {
    /// With which device.
    pub device: DeviceId,
    /// Whose.
    pub user: UserId,
    /// Where it was dialled; none where it was accepted.
    pub address: Option<String>,
    /// How long a frame takes there and back, milliseconds.
    pub latency_ms: Option<u64>,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// A link that is over, or never was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedLine {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Where the peer was.
    pub address: String,
    /// Who it was, if it proved that.
    pub device: Option<DeviceId>,
    /// Why.
    pub why: String,
}

/// How one group is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Which group, and this user in it.
    #[serde(flatten)]
    pub group: GroupLine,
    /// How many members it has.
    pub members: usize,
    /// The recovery user that stands above all of them, if its founder had one.
    pub recovery: Option<UserId>,
    /// What came last of a ticket to it, where this user is not in.
    pub declined: Option<DeclinedLine>,
    /// Its rows, removed ones included; none when it does not answer.
    pub rows: Option<usize>,
    /// Its connected devices.
    pub peers: Vec<PeerLine>,
    /// Members' devices that were met and do not speak of the group.
    #[serde(default)]
    pub silent: Vec<DeviceId>,
    /// Documents that are damaged on the disk, and how.
    pub damaged: Vec<DocumentLine>,
    /// What was refused lately, here or by a peer.
    pub refused: Vec<DocumentLine>,
    /// Documents are being judged anew, since the membership changed.
    pub rejudging: Option<RejudgingLine>,
    /// Changes that were accepted once, and are kept for a while.
    pub kept: Option<KeptLine>,
}

/// How far judging anew is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejudgingLine {
    /// Documents that were looked at.
    pub documents: u64,
    /// Those of them that changed.
    pub changed: u64,
}

/// What is kept though it is not accepted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLine {
    /// Of how many documents.
    pub documents: u64,
    /// How many changes.
    pub changes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Since when the oldest of it is kept, milliseconds since the Unix epoch.
    pub since_ms: u64,
}

impl KeptLine {
    /// None where nothing is kept.
    fn of(Kept { documents, changes, bytes, since }: Kept) -> Option<Self> {
        let since_ms = since?.as_millis();
        Some(Self { documents: documents as u64, changes, bytes, since_ms })
    }
}

impl From<&Snapshot> for KeptLine {
    fn from(snapshot: &Snapshot) -> Self {
        let since_ms = snapshot.since().as_millis();
        Self { documents: 1, changes: snapshot.changes, bytes: snapshot.bytes, since_ms }
    }
}

/// A ticket that let nobody in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclinedLine {
    /// When that was heard, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Why.
    pub why: String,
}

/// A device of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerLine {
    /// Which device.
    pub device: DeviceId,
    /// Whether it has the same rows.
    pub synced: bool,
}

/// Something about a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentLine {
    /// Which.
    pub document: String,
    /// What.
    pub why: String,
}

/// What is known of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The row's table.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// Its document.
    pub document: String,
    /// `present`, `removed`, `absent` or `damaged`.
    pub row: String,
    /// Something in it is nested too deeply to be read.
    pub too_deep: bool,
    /// The group.
    pub group: GroupLine,
    /// The heads of its document.
    pub heads: Vec<ChangeHash>,
    /// How many changes made it.
    pub revisions: usize,
    /// The newest of them.
    pub last: Option<RevisionLine>,
    /// Why its document is set aside.
    pub quarantined: Option<String>,
    /// Changes of it that were accepted once, and are kept for a while.
    pub kept: Option<KeptLine>,
    /// Changes of it that were refused lately, and why.
    pub refused: Vec<String>,
    /// The connected devices of the group.
    pub peers: Vec<PeerLine>,
}

/// What a copy of the database holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Groups.
    pub groups: usize,
    /// Rows, removed ones included.
    pub rows: u64,
    /// What is stored of them, bytes.
    pub bytes: u64,
    /// Entries that are damaged, in the database as in its copy.
    pub damaged: u64,
}

impl From<crate::node::NodeStatus> for Status {
    fn from(status: crate::node::NodeStatus) -> Self {
        let links = status.links.into_iter().map(|link| LinkLine {
            device: link.device,
            user: link.user,
            address: link.address,
            latency_ms: link.latency.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            since_ms: link.since.as_millis(),
        });
        let ended = status.ended.into_iter().map(|ended| EndedLine {
            at_ms: ended.at.as_millis(),
            address: ended.address,
            device: ended.device,
            why: whole(&ended.end),
        });
        Self {
            user: status.user,
            device: status.device,
            name: status.label,
            listening: status.listening,
            dialled: status.dialled,
            links: links.collect(),
            ended: ended.collect(),
            recovery: status.recovery,
            blocked: status.blocked,
            groups: status.groups.into_iter().map(GroupStatus::from).collect(),
        }
    }
}

impl From<crate::node::GroupReport> for GroupStatus {
    fn from(report: crate::node::GroupReport) -> Self {
        let rows = report.status.as_ref().map(|status| status.documents);
        let status = report.status.unwrap_or_default();
        let damaged = status.quarantined.into_iter().map(|(document, why)| line(document, why));
        let refused = status.refusals.iter().map(|(document, why)| line(*document, whole(why)));
        let by_peers = status.refused_by_peers.iter().map(|(document, why)| line(*document, by_a_peer(why)));
        Self {
            group: report.info.into(),
            members: report.members,
            recovery: report.recovery,
            declined: report.declined.map(|declined| DeclinedLine {
                at_ms: declined.at.as_millis(),
                why: declined.reason.to_string(),
            }),
            rows,
            peers: report.peers.into_iter().map(PeerLine::from).collect(),
            silent: report.silent.into_iter().map(|silent| silent.device).collect(),
            damaged: damaged.collect(),
            refused: by_peers.chain(refused).collect(),
            rejudging: status
                .rejudging
                .map(|Rejudged { documents, changed }| RejudgingLine { documents, changed }),
            kept: KeptLine::of(status.kept),
        }
    }
}

impl From<crate::group::PeerStatus> for PeerLine {
    fn from(peer: crate::group::PeerStatus) -> Self {
        Self { device: peer.device, synced: peer.synced }
    }
}

impl From<crate::group::Explanation> for Explanation {
    fn from(explanation: crate::group::Explanation) -> Self {
        let row = match explanation.row {
            RowState::Present => "present",
            RowState::Removed => "removed",
            RowState::Absent => "absent",
            RowState::Damaged => "damaged",
        };
        let refused = explanation.refusals.iter().map(|refusal| whole(refusal));
        let by_peers = explanation.refused_by_peers.iter().map(by_a_peer);
        Self {
            table: explanation.table,
            key: explanation.key,
            document: explanation.document.to_string(),
            row: row.to_owned(),
            too_deep: explanation.too_deep,
            group: explanation.group.into(),
            heads: explanation.heads,
            revisions: explanation.revisions,
            last: explanation.last.map(RevisionLine::from),
            quarantined: explanation.quarantined,
            kept: explanation.kept.as_ref().map(KeptLine::from),
            refused: by_peers.chain(refused).collect(),
            peers: explanation.peers.into_iter().map(PeerLine::from).collect(),
        }
    }
}

impl From<crate::node::Backup> for Backup {
    fn from(backup: crate::node::Backup) -> Self {
        let crate::node::Backup { groups, rows, bytes, damaged } = backup;
        Self { groups, rows, bytes, damaged }
    }
}

fn line(document: DocumentId, why: String) -> DocumentLine {
    DocumentLine { document: document.to_string(), why }
}

fn by_a_peer(refusal: &Refusal) -> String {
    format!("by a peer: {}", whole(refusal))
}

/// An error and its causes in one line.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}
