//! Projects a ledger onto its roster: as a whole, or only the part that one op changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{DeviceId, OpId, UserId};
use crate::ledger::manifest::ManifestRef;
use crate::ledger::op::Body::{Amnesty, Create, RevokeDevice, SetMeta, SetRole};
use crate::ledger::op::{Op, Role};
use crate::ledger::resolve::Resolution;
use crate::ledger::roster::{Cut, Grant, InheritedCut, Member, Roster};
use crate::ledger::state::{Ledger, NAME};
use crate::limits::GROUP_NAME_BYTES_MAX;
use crate::signed::Signed;

impl Ledger {
    /// The current roster. Cheap to clone, and computed at most once for each state.
    pub fn roster(&self) -> &Arc<Roster> {
        self.roster.get_or_init(|| Arc::new(self.project()))
    }

    /// The value of a key of the group's description: that of the strongest among the living SetMetas that
    /// are in no other's past.
    pub fn meta(&self, key: &str) -> Option<&[u8]> {
        let graph = self.resolver.graph();
        let alive = &self.resolver.state().alive;
        let living = self.metas.get(key)?.iter().copied().filter(|number| alive.contains(*number));
        let order = |number: &usize| graph.node(*number).facts.resolve_order();
        let winner = graph.newest(living.collect()).into_iter().min_by_key(order)?;
        match self.body(winner) {
            SetMeta { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The roster, if it was computed since it last changed as a whole.
    pub(super) fn roster_mut(&mut self) -> Option<&mut Roster> {
        self.roster.get_mut().map(Arc::make_mut)
    }

    /// Updates a computed roster with op number `number`, which changes nothing but its own target.
    pub(super) fn refresh_roster(&mut self, number: usize) {
        let Some(mut shared) = self.roster.take() else { return };
        let roster = Arc::make_mut(&mut shared);
        let op = self.ops[number].record();
        if let Some(certificate) = op.certificate() {
            roster.certified.insert((certificate.device, certificate.user));
        }
        self.project_op(roster, op);
        self.roster = shared.into();
    }

    fn project_op(&self, roster: &mut Roster, op: &Op) {
        match &op.body {
            SetRole { user, .. } => self.project_user(roster, *user),
            RevokeDevice { user, device, .. } => self.project_device(roster, *user, *device),
            Amnesty { revocation, .. } => {
                let revocation = self.op(*revocation).expect("an amnesty's revocation is in its past");
                self.project_op(roster, revocation.record());
            }
            SetMeta { key, .. } if key == NAME => roster.name = self.name(),
            _ => {}
        }
    }

    fn project(&self) -> Roster {
        let common = self.common_certificates().map(|certificate| (certificate.device, certificate.user));
        let surplus = self.surplus.all().map(Signed::record);
        let mut roster = Roster {
            group: self.group,
            founders: self.resolver.graph().founders().to_vec(),
            creator: self.ops.first().map(|create| create.record().author),
            name: self.name(),
            members: BTreeMap::new(),
            grants: BTreeMap::new(),
            certified: common.collect(),
            surplus_certified: surplus.map(|certificate| (certificate.device, certificate.user)).collect(),
            revoked: BTreeMap::new(),
            revoked_by_user: self.revocations.records().map(|record| (record.user, record.device)).collect(),
        };
        for user in self.targets.keys() {
            self.project_user(&mut roster, *user);
        }
        for (user, device) in self.resolver.revoked().collect::<BTreeSet<_>>() {
            self.project_device(&mut roster, user, device);
        }
        roster
    }

    fn project_user(&self, roster: &mut Roster, user: UserId) {
        let (graph, state) = (self.resolver.graph(), self.resolver.state());
        for &number in self.targets.get(&user).into_iter().flatten() {
            let node = graph.node(number);
            let (role, alive) = (graph.given_role(number), state.alive.contains(number));
            let past = node.past.clone();
            roster.grants.insert(node.facts.id, Grant { user, role, alive, number, past });
        }
        let Some(winner) = state.winner(user) else { return };
        let node = graph.node(winner);
        let role = state.role(user);
        // authority 3.7.1: Cuts(u)
        let lowers = |n: &usize| graph.given_role(*n) < Role::Writer;
        let bounds = |n: &usize| role < Role::Writer || *n == winner || node.past.contains(*n);
        let cuts = state.set_roles(user).iter().copied().filter(|n| lowers(n) && bounds(n));
        let member = Member { role, grant: node.facts.id, cuts: self.cuts(cuts) };
        roster.members.insert(user, member);
    }

    fn project_device(&self, roster: &mut Roster, user: UserId, device: DeviceId) {
        let revocations = self.resolver.state().revocations(user, device);
        if !revocations.is_empty() {
            let has_cut = |n: &usize| matches!(self.body(*n), RevokeDevice { cut: Some(_), .. });
            let cuts = self.cuts(revocations.iter().copied().filter(has_cut));
            roster.revoked.insert((user, device), cuts);
        }
    }

    /// The cuts of counting revocations, in order of op.
    fn cuts(&self, revocations: impl Iterator<Item = usize>) -> Vec<Cut> {
        let cut = |number: usize| {
            let revocation = self.resolver.graph().node(number).facts.id;
            let manifest = self.ops[number].record().manifest().copied();
            let inherited = self.inherited.get(&number).into_iter().flatten();
            let inherited = inherited.map(|lowering| self.inherited_cut(*lowering)).collect();
            Cut { revocation, manifest, inherited, amnesties: self.amnesties(revocation), number }
        };
        let mut cuts: Vec<Cut> = revocations.map(cut).collect();
        cuts.sort_unstable_by_key(|cut| cut.revocation);
        cuts
    }

    /// The lowerings from which one without a manifest inherits its cut: its author saw the target below
    /// Writer, bounded by the lowerings that counted in its past. A function of that past alone, as all facts
    /// of an op (authority 3.7.1).
    pub(super) fn inherited_lowerings(&self, op: &Op, past: &Resolution) -> Vec<usize> {
        let SetRole { user, role, cut: None, .. } = op.body else { return Vec::new() };
        if role >= Role::Writer {
            return Vec::new();
        }
        let mut inherited = BTreeSet::new();
        for &lowering in past.set_roles(user) {
            match self.body(lowering) {
                SetRole { role, .. } if *role >= Role::Writer => {}
                SetRole { cut: Some(_), .. } => drop(inherited.insert(lowering)),
                _ => inherited.extend(self.inherited.get(&lowering).into_iter().flatten()),
            }
        }
        inherited.into_iter().collect()
    }

    /// The cut of a lowering with a manifest.
    fn inherited_cut(&self, lowering: usize) -> InheritedCut {
        let revocation = self.resolver.graph().node(lowering).facts.id;
        let manifest = *self.ops[lowering].record().manifest().expect("one without inherits from others");
        InheritedCut { revocation, manifest, amnesties: self.amnesties(revocation) }
    }

    /// The living amnesties for a revocation with their manifests, in order of op.
    fn amnesties(&self, revocation: OpId) -> Vec<(OpId, ManifestRef)> {
        let is_alive = |n: &&usize| self.resolver.state().alive.contains(**n);
        let referring = self.referring.get(&revocation).into_iter().flatten().filter(is_alive);
        let mut amnesties: Vec<_> = referring
            .filter_map(|n| match self.body(*n) {
                Amnesty { manifest, .. } => Some((self.resolver.graph().node(*n).facts.id, *manifest)),
                _ => None,
            })
            .collect();
        amnesties.sort_unstable();
        amnesties
    }

    /// The group's name: that of the SetMeta if it fits, else that of the Create.
    fn name(&self) -> String {
        let fits = |value: &&[u8]| value.len() <= GROUP_NAME_BYTES_MAX;
        let set = self.meta(NAME).filter(fits).and_then(|value| std::str::from_utf8(value).ok());
        let of_create = || match self.ops.first().map(Signed::record) {
            Some(Op { body: Create { name, .. }, .. }) => name.as_str(),
            _ => "",
        };
        set.unwrap_or_else(of_create).into()
    }
}
