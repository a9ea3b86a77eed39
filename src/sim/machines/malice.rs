//! The malicious member of the machine world: sends forks, backdated changes, replays, floods and forgeries.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Range;

use schema::change::ChangeHeader;
use schema::document::DocumentRef;
use schema::gate::LinkId;
use schema::tip::{Author, Tip};
use schema::wire::ledger::LedgerFrame;
use schema::wire::session::{Unit, Units};
use schema::{ChangeHash, DocumentId, OpId};

use super::World;
use super::people;
use super::store::Held;
use super::wire::{self, Parcel, TABLE};

/// Kinds of [`World::slip`].
const KINDS: u64 = 11;
/// Changes of a flood, device revocations, device records.
const FLOOD: u64 = 20;

/// Changes and tips in the making.
#[derive(Default)]
struct Made {
    headers: Vec<ChangeHeader>,
    tips: Vec<Tip>,
}

impl World {
    /// A malicious peer sends another changes outside any session, unless no link is up or the other does not
    /// admit it.
    pub fn slip(&mut self, peer: usize, to: usize) {
        let documents: Vec<DocumentId> = self.peers[peer].store.documents.keys().copied().collect();
        let person = self.peers[peer].member.person;
        if documents.is_empty() || !self.is_cabled(peer, to) || !self.peers[to].member.admits(person) {
            return;
        }
        let (from, into) = (documents[self.pick(documents.len())], documents[self.pick(documents.len())]);
        let (kind, number) = (self.below(KINDS), self.below(u64::MAX));
        if kind == 9 {
            return self.flood_ledger(peer, to, number..number.saturating_add(FLOOD));
        }
        let key_of = |document: DocumentId| self.peers[peer].store.documents[&document].key.clone();
        let key = match kind {
            3 => key_of(into),
            8 => format!("nobody's row {number}"),
            _ => key_of(from),
        };
        let document = self.peers[peer].store.document(&key);
        let author = self.malicious_author(peer);
        let made = match kind {
            0 | 1 => self.fork(peer, document, author, kind == 1),
            2 => self.backdate(peer, document, author),
            3 | 4 => self.replay(peer, from, kind == 4),
            5 | 8 => self.flood(document, author),
            10 => self.chains(document, author),
            6 => {
                let grants: Vec<OpId> = self.peers[peer].member.ledger().ids().collect();
                let grant = grants[self.pick(grants.len())];
                self.backdate(peer, document, Author { grant, ..author })
            }
            _ => self.crooked(peer, document, author),
        };
        for header in &made.headers {
            let store = &self.peers[peer].store;
            let is_own = |tip: &&Tip| {
                tip.author.device == store.device && store.replica(document, tip.author) == header.replica
            };
            let author = made.tips.iter().find(is_own);
            if let Some(author) = author.map(|tip| tip.author) {
                self.register(document, author, header, peer);
            }
        }
        let mut authors = Vec::new();
        let tips = made.tips.iter().map(|tip| wire::unit_tip(tip, &mut authors)).collect();
        let message = wire::message(&made.headers);
        let state = self.peers[peer].store.state;
        let unit = Unit { document, table: TABLE.to_owned(), key, tips, message };
        self.post(peer, to, Parcel::Slipped(Units { number: 0, state, authors, units: vec![unit] }));
    }

    /// A peer sends another revocations of devices of its user that never existed, in one frame: the one
    /// with the greatest id first, so that a full set takes each; and as many records of its device, each
    /// newer than the last. Does nothing unless the group is open on a link between the two.
    pub fn flood_ledger(&mut self, peer: usize, to: usize, devices: Range<u64>) {
        let person = self.peers[peer].member.person;
        let Some(&cable) = self.cables.get(&(peer.min(to), peer.max(to))) else { return };
        let open = &self.peers[to].member.cells;
        let Some(&(_, number)) = open.iter().find(|(link, _)| *link == LinkId(cable)) else { return };
        let records = devices.clone().map(|counter| people::record(person, counter).envelope().clone());
        let records = records.collect();
        let mut flood: Vec<_> = devices.map(|device| people::revocation(person, device)).collect();
        flood.sort_by_key(|signed| Reverse(signed.id()));
        let frame = LedgerFrame::Push {
            ops: Vec::new(),
            certificates: Vec::new(),
            revocations: flood.iter().map(|signed| signed.envelope().clone()).collect(),
            records,
            last: false,
        };
        self.post(peer, to, Parcel::Ledger(number, frame));
    }

    /// The malicious device under a random grant of its user, old or new.
    pub(super) fn malicious_author(&mut self, peer: usize) -> Author {
        let (store, member) = (&self.peers[peer].store, &self.peers[peer].member);
        // Not the published roster: it is empty while an honest gate counts its user as pending.
        let roster = member.ledger().roster();
        let of_user = |id: &OpId| roster.grant_by_id(*id).is_some_and(|grant| grant.user == store.user);
        let grants: Vec<OpId> = member.ledger().ids().filter(of_user).collect();
        let (device, incarnation) = (people::device(member.person), store.incarnation);
        Author { device, grant: grants[self.pick(grants.len())], incarnation }
    }

    /// Another branch of a chain from a random change on; if `whole`, with all its dependencies.
    fn fork(&mut self, peer: usize, document: DocumentId, author: Author, whole: bool) -> Made {
        let store = &self.peers[peer].store;
        let (held, replica) = (&store.documents[&document], store.replica(document, author));
        let chain: Vec<ChangeHeader> =
            held.accepted.iter().filter(|header| header.replica == replica).cloned().collect();
        let mut made = Made::default();
        if whole {
            made.headers.clone_from(&held.accepted);
            made.tips = held.tips(store.reference(document));
        }
        let from = self.pick(chain.len() + 1);
        let mut last = from.checked_sub(1).map(|at| chain[at].clone());
        for _ in 0..=self.below(3) {
            let (seq, start_op) = last.as_ref().map_or((1, 1), |last| (last.seq + 1, last.max_op() + 1));
            let deps = last.iter().map(|last| last.hash.0).collect();
            let header = wire::header(&(replica.0, seq, start_op, deps, self.below(u64::MAX)));
            made.headers.push(header.clone());
            last = Some(header);
        }
        made.vouch(document, author);
        made
    }

    /// A new chain on old heads.
    fn backdate(&mut self, peer: usize, document: DocumentId, author: Author) -> Made {
        let author = Author { incarnation: 100 + self.below(3), ..author };
        let content = self.below(u64::MAX);
        let length = self.peers[peer].store.documents[&document].accepted.len();
        let before = self.pick(length + 1);
        let store = &self.peers[peer].store;
        let (held, replica) = (&store.documents[&document], store.replica(document, author));
        let (deps, start_op) = held.as_it_was(before);
        let mut made = Made::default();
        made.headers.push(wire::header(&(replica.0, 1, start_op, deps, content)));
        made.vouch(document, author);
        made
    }

    /// Changes of others as they are; if `forged`, with one more change that no device signed.
    fn replay(&mut self, peer: usize, document: DocumentId, forged: bool) -> Made {
        let store = &self.peers[peer].store;
        let held = &store.documents[&document];
        let mut made = Made { headers: held.accepted.clone(), tips: held.tips(store.reference(document)) };
        if forged && let Some(last) = made.headers.last() {
            let wire = (last.replica.0, last.seq + 1, last.max_op() + 1, vec![last.hash.0], 1);
            let (header, replica) = (wire::header(&wire), last.replica);
            let (author, kept) = &held.chains[&replica];
            let signature = kept.newest().map(|tip| tip.signature);
            let forged = |signature| Tip { author: *author, seq: header.seq, change: header.hash, signature };
            made.tips.extend(signature.map(forged));
            made.headers.push(header);
        }
        made
    }

    /// Many changes with missing dependencies.
    fn flood(&mut self, document: DocumentId, author: Author) -> Made {
        let mut made = Made::default();
        for incarnation in 0..FLOOD {
            let author = Author { incarnation: 1_000 + incarnation, ..author };
            let replica = self.peers[0].store.replica(document, author);
            let missing = schema::id::hash("world-missing", &[&self.below(u64::MAX).to_be_bytes()]);
            let header = wire::header(&(replica.0, 1, 9, vec![missing], incarnation));
            made.tips.push(wire::sign(author, document, 1, header.hash));
            made.headers.push(header);
        }
        made
    }

    /// Many chains of one valid change, none of which sees another.
    fn chains(&mut self, document: DocumentId, author: Author) -> Made {
        let (mut made, first) = (Made::default(), 10_000 + self.below(1_000));
        for incarnation in first..first + FLOOD {
            let author = Author { incarnation, ..author };
            let replica = self.peers[0].store.replica(document, author);
            let header = wire::header(&(replica.0, 1, 1, Vec::new(), incarnation));
            made.tips.push(wire::sign(author, document, 1, header.hash));
            made.headers.push(header);
        }
        made
    }

    /// A change that breaks one of C3 to C5, and a change on it.
    fn crooked(&mut self, peer: usize, document: DocumentId, author: Author) -> Made {
        let author = Author { incarnation: 200 + self.below(1_000), ..author };
        let which = self.below(3);
        let replica = self.peers[peer].store.replica(document, author);
        // It has no dependencies, so that it breaks no other rule.
        let (seq, start_op) = if which == 0 { (2, 1) } else { (1, which) };
        let first = wire::header(&(replica.0, seq, start_op, Vec::new(), 1));
        // The second change leaves out its previous change where the first is valid.
        let deps = if which == 1 { Vec::new() } else { vec![first.hash.0] };
        let second = wire::header(&(replica.0, seq + 1, first.max_op() + u64::from(which != 1), deps, 2));
        let tips = [&first, &second].map(|change| wire::sign(author, document, change.seq, change.hash));
        Made { headers: vec![first, second], tips: tips.to_vec() }
    }
}

impl Made {
    /// Signs the last change.
    fn vouch(&mut self, document: DocumentId, author: Author) {
        if let Some(last) = self.headers.last() {
            self.tips.push(wire::sign(author, document, last.seq, last.hash));
        }
    }
}

impl Held {
    fn tips(&self, document: DocumentRef) -> Vec<Tip> {
        self.change_set(document).tips().iter().map(|tip| *tip.tip()).collect()
    }

    /// The heads after the first `count` changes, and the start op of a change on them.
    fn as_it_was(&self, count: usize) -> (Vec<[u8; 32]>, u64) {
        let (mut heads, mut max_op) = (BTreeSet::<ChangeHash>::new(), 0);
        for header in &self.accepted[..count] {
            for dep in &header.deps {
                heads.remove(dep);
            }
            heads.insert(header.hash);
            max_op = max_op.max(header.max_op());
        }
        (heads.into_iter().map(|head| head.0).collect(), max_op + 1)
    }
}
