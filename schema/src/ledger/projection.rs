//! From a ledger to its roster, whole or only where one op touched it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{DeviceId, OpId, UserId};
use crate::ledger::manifest::ManifestRef;
use crate::ledger::op::Body::{self, Amnesty, Create, RevokeDevice, SetMeta, SetRole};
use crate::ledger::op::{Op, Role};
use crate::ledger::resolve::State;
use crate::ledger::roster::{Cut, Grant, Left, Member, Roster};
use crate::ledger::{Ledger, NAME};
use crate::limits::GROUP_NAME_BYTES_MAX;
use crate::signed::Signed;

impl Ledger {
    /// Who is in the group now. Cheap to clone, and computed at most once for each state.
    pub fn roster(&self) -> &Arc<Roster> {
        self.roster.get_or_init(|| Arc::new(self.project()))
    }

    /// The value of a key of the group's description: of the living SetMetas that no other has seen the strongest.
    pub fn meta(&self, key: &str) -> Option<&[u8]> {
        let alive = &self.graph.state().alive;
        let living = self.metas.get(key)?.iter().copied().filter(|number| alive.contains(*number));
        let strength = |number: &usize| self.graph.node(*number).facts.order();
        let winner = self.graph.newest(living.collect()).into_iter().min_by_key(strength)?;
        match self.body(winner) {
            SetMeta { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The roster, if somebody asked for it since it last moved as a whole.
    pub(super) fn roster_mut(&mut self) -> Option<&mut Roster> {
        self.roster.get_mut().map(Arc::make_mut)
    }

    /// Brings the roster up to date with op `number`, which touched nothing but what it speaks of.
    pub(super) fn refresh(&mut self, number: usize) {
        let Some(mut shared) = self.roster.take() else { return };
        let roster = Arc::make_mut(&mut shared);
        let op = self.ops[number].record();
        if let Some(certificate) = op.certificate() {
            roster.certified.insert((certificate.device, certificate.user));
        }
        self.project_body(roster, op);
        self.roster = shared.into();
    }

    fn project_body(&self, roster: &mut Roster, op: &Op) {
        match &op.body {
            SetRole { user, .. } => self.project_user(roster, *user),
            RevokeDevice { user, device, .. } => self.project_device(roster, *user, *device),
            Amnesty { revocation, .. } => {
                let revocation = self.op(*revocation).expect("an amnesty's revocation is in its past");
                self.project_body(roster, revocation.record());
            }
            SetMeta { key, .. } if key == NAME => roster.name = self.name(),
            _ => {}
        }
    }

    fn project(&self) -> Roster {
        let mut roster = Roster {
            group: self.group,
            founders: self.graph.founders().to_vec(),
            creator: self.ops.first().map(|create| create.record().author),
            name: self.name(),
            members: BTreeMap::new(),
            grants: BTreeMap::new(),
            certified: self.chosen().map(|certificate| (certificate.device, certificate.user)).collect(),
            spared: self.spares.all().map(|spare| (spare.record().device, spare.record().user)).collect(),
            revoked: BTreeMap::new(),
            withdrawn: self.revocations.records().map(|record| (record.user, record.device)).collect(),
        };
        for user in self.targets.keys() {
            self.project_user(&mut roster, *user);
        }
        for (user, device) in self.graph.revoked().collect::<BTreeSet<_>>() {
            self.project_device(&mut roster, user, device);
        }
        roster
    }

    fn project_user(&self, roster: &mut Roster, user: UserId) {
        let (graph, state) = (&self.graph, self.graph.state());
        for &number in self.targets.get(&user).into_iter().flatten() {
            let node = graph.node(number);
            let (role, alive) = (node.facts.role().unwrap_or_default(), state.alive.contains(number));
            let past = node.past.clone();
            roster.grants.insert(node.facts.id, Grant { user, role, alive, number, past });
        }
        let Some(winner) = state.winner(user) else { return };
        let node = graph.node(winner);
        let role = state.role(user);
        // authority 3.7.1: Cuts(u)
        let lowers = |n: &usize| graph.node(*n).facts.role().is_some_and(|role| role < Role::Writer);
        let bounds = |n: &usize| role < Role::Writer || *n == winner || node.past.contains(*n);
        let cuts = state.set_roles(user).iter().copied().filter(|n| lowers(n) && bounds(n));
        let member = Member {
            role,
            grant: node.facts.id,
            strength: graph.strength(role, winner, user),
            cuts: self.cuts(cuts),
        };
        roster.members.insert(user, member);
    }

    fn project_device(&self, roster: &mut Roster, user: UserId, device: DeviceId) {
        let revocations = self.graph.state().revocations(user, device);
        if !revocations.is_empty() {
            let cutting = |n: &usize| matches!(self.body(*n), RevokeDevice { cut: Some(_), .. });
            let cuts = self.cuts(revocations.iter().copied().filter(cutting));
            roster.revoked.insert((user, device), cuts);
        }
    }

    /// Counting revocations as cuts, in order of op.
    fn cuts(&self, revocations: impl Iterator<Item = usize>) -> Vec<Cut> {
        let cut = |number: usize| {
            let revocation = self.graph.node(number).facts.id;
            let manifest = self.ops[number].record().manifest().copied();
            let seen = self.inherited.get(&number).into_iter().flatten();
            let seen = seen.map(|seen| self.left(*seen)).collect();
            Cut { revocation, manifest, seen, amnesties: self.amnesties(revocation), number }
        };
        let mut cuts: Vec<Cut> = revocations.map(cut).collect();
        cuts.sort_unstable_by_key(|cut| cut.revocation);
        cuts
    }

    /// What a lowering without a manifest leaves: its author saw somebody who wrote no more, within the bounds of the
    /// lowerings that counted in its past. A function of that past alone, as all facts of an op.
    pub(super) fn inherits(&self, op: &Op, past: &State) -> Vec<usize> {
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

    /// What a lowering with a manifest leaves.
    fn left(&self, lowering: usize) -> Left {
        let revocation = self.graph.node(lowering).facts.id;
        let manifest = *self.ops[lowering].record().manifest().expect("one without inherits from others");
        Left { revocation, manifest, amnesties: self.amnesties(revocation) }
    }

    fn amnesties(&self, revocation: OpId) -> Vec<(OpId, ManifestRef)> {
        let living = |n: &&usize| self.graph.state().alive.contains(**n);
        let naming = self.naming.get(&revocation).into_iter().flatten().filter(living);
        let mut amnesties: Vec<_> = naming
            .filter_map(|n| match self.body(*n) {
                Amnesty { manifest, .. } => Some((self.graph.node(*n).facts.id, *manifest)),
                _ => None,
            })
            .collect();
        amnesties.sort_unstable();
        amnesties
    }

    fn name(&self) -> String {
        let fits = |value: &&[u8]| value.len() <= GROUP_NAME_BYTES_MAX;
        let named = self.meta(NAME).filter(fits).and_then(|value| std::str::from_utf8(value).ok());
        let founded = || match self.ops.first().map(Signed::record) {
            Some(Op { body: Create { name, .. }, .. }) => name.as_str(),
            _ => "",
        };
        named.unwrap_or_else(founded).into()
    }

    fn body(&self, number: usize) -> &Body {
        &self.ops[number].record().body
    }
}
