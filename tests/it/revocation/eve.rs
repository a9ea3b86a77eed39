//! Eve's device, which keeps no rule: made by hand, with keys of her own.

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, ROOT};
use peerbase::Role;
use peerbase::group::Refusal;
use schema::change::ChangeHeader;
use schema::ledger::OpAction;
use schema::tip::{Author, Tip};
use schema::wire::session::{Unit, UnitTip};
use schema::wire::sync_message::SyncMessage;
use schema::{DocumentId, GroupId, OpId, ReplicaId};

use crate::support::TASKS;
use crate::support::stranger::{Member, Shelf, Stranger, identity};
use crate::support::village::Village;

pub(crate) const EVE: u8 = 9;
/// Her incarnation.
const INCARNATION: u64 = 7;

impl Village {
    /// Ada's group with eve in it, who has no node.
    pub(crate) async fn with_eve<const N: usize>(
        seed: u64,
        others: [(&'static str, Role); N],
        role: Role,
    ) -> Self {
        let mut village = Self::of(seed, others).await;
        village.group("ada").add_member(identity(EVE).user(), role).await.unwrap();
        village.meet().await;
        village
    }

    /// Eve meets somebody with this on her shelf, until nobody says anything.
    pub(crate) async fn eve_meets(&self, name: &str, id: GroupId, shelf: Shelf) -> Member {
        let (network, clock) = (self.net.network(), self.net.clock());
        let stranger = Stranger::dial(network, clock, identity(EVE), &format!("memory://{name}")).await;
        let mut eve = Member::greet(stranger, id).await;
        eve.shelf = shelf;
        eve.talk().await;
        eve
    }

    /// Eve offers this to somebody; what they refuse of it, by key.
    pub(crate) async fn eve_offers(
        &self,
        name: &str,
        author: Author,
        units: Vec<Unit>,
    ) -> Vec<(DocumentId, Refusal)> {
        let mut shelf = Shelf::of(author.device, author.grant);
        units.into_iter().for_each(|unit| shelf.offer(unit));
        self.eve_meets(name, self.id, shelf).await;
        self.group(name).status().await.unwrap().refusals
    }

    /// Under what eve would write.
    pub(crate) fn eve_under(&self, grant: OpId) -> Author {
        Author { device: identity(EVE).device(), grant, incarnation: INCARNATION }
    }

    pub(crate) async fn grant_of(&self, user: peerbase::UserId) -> OpId {
        let log = self.group("ada").log().await.unwrap();
        let is_it = |act: &OpAction| matches!(act, OpAction::SetRole { user: of, .. } if *of == user);
        log.iter().rev().find(|entry| is_it(&entry.act)).unwrap().op
    }

    pub(crate) fn replica(&self, key: &str, author: Author) -> ReplicaId {
        ReplicaId::of(self.id, self.document(key), author.device, author.grant, author.incarnation)
    }

    pub(crate) fn document(&self, key: &str) -> DocumentId {
        DocumentId::of(self.id, TASKS.name(), key)
    }

    /// These changes of a row; eve vouches for each that can be read.
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

/// A row of eve's as Automerge makes it.
pub(crate) fn written(replica: ReplicaId, title: &str) -> AutoCommit {
    let mut document = AutoCommit::new().with_actor(ActorId::from(replica.0));
    document.put(ROOT, "title", title).unwrap();
    document.put(ROOT, "done", false).unwrap();
    document.commit();
    document
}

pub(crate) fn changes(document: &mut AutoCommit) -> Vec<Vec<u8>> {
    document.get_changes(&[]).iter().map(|change| change.raw_bytes().to_vec()).collect()
}
