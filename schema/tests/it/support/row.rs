//! One row of a group, whose changes have names, and the verdicts of the judge on it.
//!
//! The first letter of a change's name is its writer: `a` Ada, who founded the group and whose device judges,
//! `b` Ben and `c` Cid, who are Writers; a capital is the same device in a later incarnation. The number is
//! the change's place in its chain, and what follows tells branches of a fork apart: `b2x`. Changes are
//! ordered by name, since a name is the beginning of its change's hash.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use peerbase_schema::change::ChangeHeader;
use peerbase_schema::digest::Mark;
use peerbase_schema::document::{
    Admitted, ChainEnd, Change, ChangeSet, DocumentRef, Everything, Index, Intake, Judge, Manifests, Merged,
    Rebuilt, Refusal, Replacement, Rules, Signer as _, Standing,
};
use peerbase_schema::key::{Signature, SigningKey};
use peerbase_schema::ledger::manifest::Entry;
use peerbase_schema::ledger::{Body, ManifestRef, Role, Roster};
use peerbase_schema::tip::{Author, Tip};
use peerbase_schema::wire::session::UnitTip;
use peerbase_schema::{ChangeHash, DocumentId};

use super::world::{World, certificate, device, key, set_role, user};

/// A change with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: &'static str,
    pub(crate) header: ChangeHeader,
}

impl Change for Named {
    fn header(&self) -> &ChangeHeader {
        &self.header
    }
}

/// The ends of chains in manifests, by root and author.
#[derive(Default)]
pub(crate) struct Cuts(BTreeMap<([u8; 32], Author), Entry>);

impl Manifests for Cuts {
    type Error = Infallible;

    fn entry(
        &mut self,
        manifest: &ManifestRef,
        author: &Author,
        _: DocumentId,
    ) -> Result<Option<Entry>, Infallible> {
        Ok(self.0.get(&(manifest.root, *author)).copied())
    }
}

/// The row, its group's ledger, and the rules by which it is judged.
pub(crate) struct Row {
    world: World,
    roster: Roster,
    cuts: Cuts,
    rules: Rules,
    /// The name of the user whose device judges.
    judge: &'static str,
}

const WRITERS: [(&str, char); 3] = [("ada", 'a'), ("ben", 'b'), ("cid", 'c')];

impl Row {
    /// Ada founded the group, and admitted Ben and Cid.
    pub(crate) fn new() -> Self {
        let mut row = Self::without_cid();
        row.admit_cid();
        row
    }

    /// Ada founded the group, and admitted Ben; of Cid nothing is known.
    pub(crate) fn without_cid() -> Self {
        let mut world = World::founded(&["ada"]);
        world.admit_now("ben", "ada", set_role("ben", Role::Writer)).unwrap();
        for name in ["ada", "ben"] {
            world.ledger.admit_certificate(certificate(name, phone(name))).unwrap();
        }
        let roster = world.ledger.roster().as_ref().clone();
        Self { world, roster, cuts: Cuts::default(), rules: Rules::default(), judge: "ada" }
    }

    /// Ada admits Cid, whose certificate arrives with the op.
    pub(crate) fn admit_cid(&mut self) {
        self.admit_cid_as(Role::Writer);
    }

    /// Ada gives Cid a role.
    pub(crate) fn admit_cid_as(&mut self, role: Role) {
        self.world.admit_now("cid", "ada", set_role("cid", role)).unwrap();
        self.world.ledger.admit_certificate(certificate("cid", phone("cid"))).unwrap();
        self.read_roster();
    }

    /// The row as Ben's device judges it.
    pub(crate) fn judged_by_ben(mut self) -> Self {
        self.judge = "ben";
        self
    }

    /// Ada removes a user, whose chain stays accepted up to `end`.
    pub(crate) fn remove(&mut self, op: &'static str, name: &str, end: Option<&Named>) {
        let cut = Some(self.manifest(end));
        let body = Body::SetRole { user: user(name), role: Role::None, cut, via: None };
        self.world.admit_now(op, "ada", body).unwrap();
        self.read_roster();
    }

    /// Ada revokes the device of a user, whose chain stays accepted up to `end`.
    pub(crate) fn revoke_device(&mut self, op: &'static str, name: &str, end: Option<&Named>) {
        let cut = Some(self.manifest(end));
        let body = Body::RevokeDevice { user: user(name), device: device(phone(name)), cut };
        self.world.admit_now(op, "ada", body).unwrap();
        self.read_roster();
    }

    /// A manifest that names the end of one chain, or of none.
    fn manifest(&mut self, end: Option<&Named>) -> ManifestRef {
        let number = u8::try_from(self.cuts.0.len()).unwrap();
        let manifest = ManifestRef { root: [100 + number; 32], entries: 1 };
        if let Some(end) = end {
            let tip = self.tip(end);
            let (document, seq, change) = (ROW, tip.seq, tip.change);
            let entry = Entry { document, seq, change, signature: tip.signature };
            self.cuts.0.insert((manifest.root, tip.author), entry);
        }
        manifest
    }

    fn read_roster(&mut self) {
        self.roster = self.world.ledger.roster().as_ref().clone();
    }

    /// The author of a chain, by the first letter of a change's name.
    pub(crate) fn author(&self, name: &str) -> Author {
        let letter = name.chars().next().unwrap();
        let writer = WRITERS.iter().find(|(_, of)| *of == letter.to_ascii_lowercase());
        let (writer, _) = *writer.unwrap();
        let grant = match writer {
            "ada" => self.world.names["G"],
            // Before Cid is admitted nobody knows the op that will admit him.
            writer => self.world.names.get(writer).copied().unwrap_or(peerbase_schema::OpId([7; 32])),
        };
        Author { device: device(phone(writer)), grant, incarnation: u64::from(letter.is_uppercase()) }
    }

    /// A change of one op on top of `deps`.
    pub(crate) fn change(&self, name: &'static str, deps: &[&Named]) -> Named {
        let digits = name[1..].chars().take_while(char::is_ascii_digit).collect::<String>();
        let mut hash = [0; 32];
        hash[..name.len()].copy_from_slice(name.as_bytes());
        let replica = self.document().replica(&self.author(name));
        let start_op = deps.iter().map(|dep| dep.header.max_op()).max().unwrap_or(0) + 1;
        let mut deps: Vec<_> = deps.iter().map(|dep| dep.header.hash).collect();
        deps.sort();
        let (hash, seq) = (ChangeHash(hash), digits.parse().unwrap());
        Named {
            name,
            header: ChangeHeader {
                hash,
                replica,
                seq,
                start_op,
                ops: 1,
                deps,
                time: 0,
                references: Vec::new(),
                continues: false,
                needs_objects: false,
                charge: 700,
            },
        }
    }

    /// A chain of changes, each on top of the one before; the first on top of `deps`.
    pub(crate) fn chain<const N: usize>(&self, names: [&'static str; N], deps: &[&Named]) -> [Named; N] {
        let mut last: Option<Named> = None;
        names.map(|name| {
            let change = match &last {
                Some(last) => self.change(name, &[last]),
                None => self.change(name, deps),
            };
            last = Some(change.clone());
            change
        })
    }

    /// The tip over a change, by its writer's device.
    pub(crate) fn tip(&self, change: &Named) -> Tip {
        let author = self.author(change.name);
        let mut keys = WRITERS.map(|(name, _)| key(phone(name))).into_iter();
        let key = keys.find(|key| key.public() == author.device.0).unwrap();
        let DocumentRef { group, document } = self.document();
        Tip::sign(group, document, author, change.header.seq, change.header.hash, &key)
    }

    /// A unit that a peer sent: changes, and the changes over which it has tips.
    pub(crate) fn unit(&mut self, have: &Index, changes: &[&Named], tips: &[&Named]) -> Unit {
        let tips: Vec<_> = tips.iter().map(|change| self.tip(change)).collect();
        self.unit_with(have, changes, &tips).unwrap()
    }

    /// A unit with tips that may be forged.
    ///
    /// # Errors
    /// The refusal of its tips.
    pub(crate) fn unit_with(
        &mut self,
        have: &Index,
        changes: &[&Named],
        tips: &[Tip],
    ) -> Result<Unit, Refusal> {
        let mut unit = ChangeSet::of(changes.iter().copied().cloned());
        let authors: Vec<_> = tips.iter().map(|tip| (tip.author.device, tip.author.grant)).collect();
        let unit_tip = |(tip, author): (&Tip, u32)| UnitTip {
            author,
            incarnation: tip.author.incarnation,
            seq: tip.seq,
            signature: tip.signature,
        };
        let tips: Vec<_> = tips.iter().zip(0..).map(unit_tip).collect();
        let device = self.with_judge(|judge| {
            unit.add_unit_tips(&tips, &authors, judge)?;
            Ok(judge.signer.device())
        })?;
        Ok(Intake::new(unit, have, device, 0).received)
    }

    /// Changes as the store has them, with the tips that were kept of them.
    pub(crate) fn stored(&self, changes: &[&Named], tips: &[&Named]) -> Unit {
        let mut set = ChangeSet::of(changes.iter().copied().cloned());
        let DocumentRef { group, document } = self.document();
        tips.iter().for_each(|change| set.add_tip(self.tip(change).trust_stored(group, document)));
        set
    }

    pub(crate) fn document(&self) -> DocumentRef {
        DocumentRef { group: self.world.ledger.group(), document: ROW }
    }

    pub(crate) fn with_judge<T>(&mut self, act: impl FnOnce(&mut Judge<'_, Cuts, SigningKey>) -> T) -> T {
        let document = self.document();
        let signer = key(phone(self.judge));
        let (rules, roster, manifests) = (self.rules, &self.roster, &mut self.cuts);
        act(&mut Judge { rules, document, roster, manifests, signer: &signer })
    }

    /// The end of a chain, at this change.
    pub(crate) fn end(&self, change: &Named) -> ChainEnd {
        let Named { name, header } = change;
        let mark = Mark { replica: header.replica, seq: header.seq, change: header.hash };
        ChainEnd { author: self.author(name), mark }
    }

    /// Judges a unit on top of what is accepted, and compares the verdict.
    #[track_caller]
    pub(crate) fn merge(&mut self, have: &Index, unit: Unit, expected: &str) -> Merged<Named> {
        self.merge_awaiting(Standing { index: have, awaited: None }, unit, expected)
    }

    /// Judges a unit for a document of which something is set aside, and compares the verdict.
    #[track_caller]
    pub(crate) fn merge_awaiting(
        &mut self,
        standing: Standing<'_>,
        unit: Unit,
        expected: &str,
    ) -> Merged<Named> {
        let end = self.with_judge(|judge| judge.merge(unit, standing)).unwrap();
        assert_eq!(merged(&end), expected);
        end
    }

    /// Judges changes that the judge's own device has just made.
    ///
    /// # Errors
    /// The refusal of the first change that is refused.
    pub(crate) fn merge_own(
        &mut self,
        have: &Index,
        changes: &[&Named],
    ) -> Result<Vec<Admitted<Named>>, Refusal> {
        let author = self.author(changes[0].name);
        let changes = changes.iter().copied().cloned().collect();
        self.with_judge(|judge| judge.merge_own(changes, author, have)).unwrap()
    }

    /// Judges the document by everything known, and compares the verdict.
    #[track_caller]
    pub(crate) fn rebuild(&mut self, everything: Everything<Named>, expected: &str) -> Rebuilt<Named> {
        let end = self.with_judge(|judge| judge.rebuild(everything)).unwrap();
        assert_eq!(rebuilt(&end), expected);
        end
    }

    /// Judges the document by everything known, compares the verdict, and returns what replaces the document.
    #[track_caller]
    pub(crate) fn replacement(
        &mut self,
        everything: Everything<Named>,
        expected: &str,
    ) -> Replacement<Named> {
        match self.rebuild(everything, expected) {
            Rebuilt::Changed(replacement) => *replacement,
            Rebuilt::Unchanged { .. } => panic!("nothing replaces the document"),
        }
    }
}

/// The changes of one unit, or of one store.
pub(crate) type Unit = ChangeSet<Named>;

const ROW: DocumentId = DocumentId([2; 32]);

/// Everything that is known of an intact document, under the first incarnation.
pub(crate) fn everything(stored: Unit, set_aside: Unit, received: Unit) -> Everything<Named> {
    Everything { stored, set_aside, received, is_damaged: false, incarnation: 0 }
}

/// The index of accepted changes.
pub(crate) fn index(accepted: &[&Named]) -> Index {
    let mut index = Index::new();
    accepted.iter().for_each(|change| index.accept(&change.header));
    index
}

/// A signature by nobody.
pub(crate) fn forged(tip: Tip) -> Tip {
    Tip { signature: Signature([1; 64]), ..tip }
}

/// The name of a refusal, without its numbers.
pub(crate) fn kind(refusal: &Refusal) -> String {
    let text = format!("{refusal:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

pub(crate) fn names<'a>(changes: impl Iterator<Item = &'a Named>) -> Vec<&'static str> {
    changes.map(|change| change.name).collect()
}

fn phone(name: &str) -> &'static str {
    match name {
        "ada" => "ada's phone",
        "ben" => "ben's phone",
        _ => "cid's phone",
    }
}

fn merged(end: &Merged<Named>) -> String {
    match end {
        Merged::Unchanged { answer } => format!("unchanged{}", answered(answer)),
        Merged::Grown { admitted, answer } => {
            format!("grown by {}{}", admitted_names(admitted), answered(answer))
        }
        Merged::Rebuild(changes) => format!("rebuild with {}", names(changes.changes().iter()).join(" ")),
    }
}

fn rebuilt(end: &Rebuilt<Named>) -> String {
    match end {
        Rebuilt::Unchanged { answer } => format!("unchanged{}", answered(answer)),
        Rebuilt::Changed(replacement) => {
            let Replacement { admitted, set_aside, is_loss, cause, needs_incarnation, answer } =
                &**replacement;
            let mut text = format!("now {}", admitted_names(admitted));
            if !set_aside.changes.is_empty() {
                text += &format!(", aside {}", names(set_aside.changes.iter()).join(" "));
            }
            if *is_loss {
                text += &format!(", lost by {}", cause.as_ref().map_or("damage".into(), kind));
            }
            if *needs_incarnation {
                text += ", new incarnation";
            }
            text + &answered(answer)
        }
    }
}

pub(crate) fn admitted_names(admitted: &[Admitted<Named>]) -> String {
    let names: Vec<_> = admitted.iter().map(|admitted| admitted.change.name).collect();
    if names.is_empty() { "nothing".into() } else { names.join(" ") }
}

fn answered(answer: &Result<(), Refusal>) -> String {
    answer.as_ref().map_or_else(|refusal| format!(", refused by {}", kind(refusal)), |()| String::new())
}

/// The changes over which a tip is kept.
pub(crate) fn with_tips(admitted: &[Admitted<Named>]) -> BTreeSet<&'static str> {
    let kept = admitted.iter().filter(|admitted| admitted.tip.is_some());
    kept.map(|admitted| admitted.change.name).collect()
}
