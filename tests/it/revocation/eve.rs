//! Eve: a member without a node, whose hand-made device breaks any rule that a test asks it to break.

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, ROOT};
use peerbase::Role;
use peerbase::group::Refusal;
use schema::change::ChangeHeader;
use schema::ledger::OpAction;
use schema::tip::{Author, Tip};
use schema::wire::link::{ByeReason, LinkFrame};
use schema::wire::session::{Unit, UnitTip};
use schema::wire::sync_message::SyncMessage;
use schema::{DocumentId, GroupId, OpId, ReplicaId};

use crate::support::TASKS;
use crate::support::handmade::{HandmadeMember, HandmadePeer, ScriptedDocuments, identity};
use crate::support::scenario::Scenario;

pub(crate) const EVE: u8 = 9;
/// The incarnation under which eve writes.
const INCARNATION: u64 = 7;

impl Scenario {
    /// A [`Scenario`] with eve as a further member.
    pub(crate) async fn with_eve<const N: usize>(
        seed: u64,
        others: [(&'static str, Role); N],
        role: Role,
    ) -> Self {
        let mut scenario = Self::new(seed, others).await;
        scenario.group("ada").add_member(identity(EVE).user(), role).await.unwrap();
        scenario.converge().await;
        scenario
    }

    /// Links to `name` as eve, with these documents, and syncs until neither side sends anything.
    pub(crate) async fn sync_as_eve(
        &self,
        name: &str,
        id: GroupId,
        documents: ScriptedDocuments,
    ) -> HandmadeMember {
        let (network, clock) = (self.net.network(), self.net.clock());
        let stranger = HandmadePeer::dial(network, clock, identity(EVE), &format!("memory://{name}")).await;
        let mut eve = HandmadeMember::open(stranger, id).await;
        eve.documents = documents;
        eve.run().await;
        eve
    }

    /// Returns true if `name` ends a link with eve before it announces anything.
    pub(crate) async fn is_eve_barred_by(&self, name: &str) -> bool {
        let (network, clock) = (self.net.network(), self.net.clock());
        let mut eve = HandmadePeer::dial(network, clock, identity(EVE), &format!("memory://{name}")).await;
        eve.announce(self.id).await;
        matches!(eve.receive().await, Some(LinkFrame::Bye { reason: ByeReason::Protocol }))
    }

    /// Sends `units` to `name` as eve; returns all refusals that `name` lists afterwards.
    pub(crate) async fn offer_as_eve(
        &self,
        name: &str,
        author: Author,
        units: Vec<Unit>,
    ) -> Vec<(DocumentId, Refusal)> {
        let mut documents = ScriptedDocuments::of(author.device, author.grant);
        units.into_iter().for_each(|unit| documents.offer(unit));
        self.sync_as_eve(name, self.id, documents).await;
        self.group(name).status().await.unwrap().refusals
    }

    /// Eve as an author under `grant`.
    pub(crate) fn eve_author(&self, grant: OpId) -> Author {
        Author { device: identity(EVE).device(), grant, incarnation: INCARNATION }
    }

    pub(crate) async fn grant_of(&self, user: peerbase::UserId) -> OpId {
        let log = self.group("ada").log().await.unwrap();
        let is_it = |action: &OpAction| matches!(action, OpAction::SetRole { user: of, .. } if *of == user);
        log.iter().rev().find(|entry| is_it(&entry.action)).unwrap().op
    }

    pub(crate) fn replica(&self, key: &str, author: Author) -> ReplicaId {
        ReplicaId::of(self.id, self.document(key), author.device, author.grant, author.incarnation)
    }

    pub(crate) fn document(&self, key: &str) -> DocumentId {
        DocumentId::of(self.id, TASKS.name(), key)
    }

    /// A unit of `changes` to the row `key`; eve signs a tip for each change that can be parsed.
    pub(crate) fn unit(&self, key: &str, author: Author, changes: Vec<Vec<u8>>) -> Unit {
        let (document, eve) = (self.document(key), identity(EVE));
        let sign = |header: ChangeHeader| {
            let tip = Tip::sign(self.id, document, author, header.seq, header.hash, &eve.signing);
            UnitTip { author: 0, incarnation: INCARNATION, seq: tip.seq, signature: tip.signature }
        };
        let tips = changes.iter().filter_map(|change| ChangeHeader::read(change).ok()).map(sign).collect();
        let message = SyncMessage { heads: Vec::new(), need: Vec::new(), changes }.encode();
        Unit { document, table: TASKS.name().to_owned(), key: key.to_owned(), tips, message }
    }
}

/// A task row of eve's, written by Automerge itself.
pub(crate) fn row_document(replica: ReplicaId, title: &str) -> AutoCommit {
    let mut document = AutoCommit::new().with_actor(ActorId::from(replica.0));
    document.put(ROOT, "title", title).unwrap();
    document.put(ROOT, "done", false).unwrap();
    document.commit();
    document
}

pub(crate) fn changes(document: &mut AutoCommit) -> Vec<Vec<u8>> {
    document.get_changes(&[]).iter().map(|change| change.raw_bytes().to_vec()).collect()
}
