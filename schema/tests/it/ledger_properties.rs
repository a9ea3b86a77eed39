//! Invariants M1 to M12 of every ledger, honest or not (authority 4.1).

use std::collections::BTreeSet;

use peerbase_schema::ledger::{Facts, OpAction, OpStatus, Proposal, Refusal, Resolver, Role};
use peerbase_schema::{DeviceId, OpId, UserId};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

use crate::support::log::{CREATE, Log, drafts, logs, members, present, users};

/// The same ops in another order that keeps parents before children.
fn shuffled(log: &Log, picks: &[Index]) -> Vec<(OpId, Proposal)> {
    let mut here = BTreeSet::from([CREATE]);
    let mut left: Vec<_> = log.admitted.clone();
    let mut order = Vec::new();
    for pick in picks.iter().cycle().take(left.len()) {
        let ready = |(_, op): &(OpId, Proposal)| op.parents.iter().all(|parent| here.contains(parent));
        let choice: Vec<usize> = (0..left.len()).filter(|i| ready(&left[*i])).collect();
        let chosen = left.remove(choice[pick.index(choice.len())]);
        here.insert(chosen.0);
        order.push(chosen);
    }
    order
}

/// Failing cases are recorded with their seeds in a file beside this one.
fn config() -> ProptestConfig {
    let failures = FileFailurePersistence::WithSource("regressions");
    ProptestConfig {
        cases: 2500,
        max_global_rejects: 100_000,
        failure_persistence: Some(Box::new(failures)),
        ..ProptestConfig::default()
    }
}

fn picks() -> impl Strategy<Value = Vec<Index>> {
    proptest::collection::vec(any::<Index>(), 1..40)
}

/// A member of at least the role `least` other than `not`.
fn member_of(log: &Log, pick: &Index, not: UserId, least: Role) -> Option<UserId> {
    let able: Vec<UserId> = members(&log.resolver)
        .into_iter()
        .filter(|(u, role)| *u != not && *role >= least)
        .map(|m| m.0)
        .collect();
    (!able.is_empty()).then(|| able[pick.index(able.len())])
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn m1_any_order_gives_the_same_facts_and_state(log in logs(), picks in picks()) {
        let mut resolver = Resolver::new(CREATE, log.founders.clone());
        for (id, proposal) in shuffled(&log, &picks) {
            prop_assert_eq!(resolver.admit(id, &proposal), Ok(()));
        }

        prop_assert_eq!(present(&resolver), present(&log.resolver));
        for facts in resolver.facts() {
            prop_assert_eq!(facts, log.facts(facts.id));
        }
    }

    #[test]
    fn m1_kept_states_equal_resolving_from_nothing(log in logs(), picks in picks()) {
        let mut kept = Resolver::new(CREATE, log.founders.clone());
        for (id, proposal) in shuffled(&log, &picks) {
            prop_assert_eq!(kept.admit(id, &proposal), Ok(()));
            let mut fresh = kept.clone();
            fresh.forget_states();
            prop_assert_eq!(present(&kept), present(&fresh));
        }
    }

    #[test]
    fn m2_repeats_change_nothing(log in logs()) {
        let mut resolver = log.resolver.clone();
        for (id, proposal) in log.admitted.iter().rev() {
            prop_assert_eq!(resolver.admit(*id, proposal), Ok(()));
        }

        prop_assert_eq!(resolver.facts().count(), log.resolver.facts().count());
        prop_assert_eq!(present(&resolver), present(&log.resolver));
    }

    #[test]
    fn m3_any_proposal_is_admitted_or_refused(
        log in logs(),
        author in 0..8u8,
        target in 0..8u8,
        parents in proptest::collection::vec((any::<Index>(), any::<bool>()), 0..4),
    ) {
        let mut log = log;
        let ids: Vec<OpId> = log.resolver.facts().map(|op| op.id).collect();
        let unknown_op = OpId([1; 32]);
        let parent =
            |(pick, known): &(Index, bool)| if *known { ids[pick.index(ids.len())] } else { unknown_op };
        let parents: Vec<OpId> = parents.iter().map(parent).collect();
        let unknown = parents.is_empty() || parents.contains(&unknown_op);
        let action = OpAction::SetRole { user: UserId([b'a' + target; 32]), role: Role::Reader };
        let before = present(&log.resolver);

        let author = UserId([b'a' + author; 32]);
        let admitted = log.propose(Proposal { parents, author, device: None, action });

        prop_assert_eq!(matches!(admitted, Err(Refusal::MissingParents { .. })), unknown);
        prop_assert!(admitted.is_ok() || present(&log.resolver) == before);
    }

    #[test]
    fn m4_every_role_rests_on_living_grants(log in logs()) {
        for user in log.resolver.users() {
            let mut op = log.resolver.winner(user).unwrap();
            prop_assert_eq!(log.resolver.status(op), Some(OpStatus::Counts));
            while op != CREATE {
                op = log.facts(op).grant();
                prop_assert!(log.resolver.status(op) >= Some(OpStatus::Superseded));
            }
        }
    }

    #[test]
    fn m5_only_the_first_founder_lowers_the_first_founder(log in logs()) {
        let first = log.founders[0];
        let own = log.resolver.facts().any(|op| op.author == first && op.action.target() == Some(first));
        prop_assert!(own || log.resolver.role(first) == Role::Founder);
    }

    #[test]
    fn m6_a_removal_by_a_stronger_member_is_final(
        log in logs(),
        target: Index,
        by: Index,
        backdated in drafts(40..80, 0.85),
    ) {
        let mut log = log;
        // A user who never was an Admin has nothing to backdate.
        let powerful = |(user, role): &(UserId, Role)| *role >= Role::Admin && !log.founders.contains(user);
        let able: Vec<_> = members(&log.resolver).into_iter().filter(powerful).collect();
        prop_assume!(!able.is_empty());
        let (removed, _) = able[target.index(able.len())];
        let Some(remover) = member_of(&log, &by, removed, Role::Admin) else { return Ok(()) };
        let remove = OpAction::SetRole { user: removed, role: Role::None };
        let Ok(removal) = log.propose_now(remover, remove) else { return Ok(()) };
        prop_assume!(log.resolver.status(removal) == Some(OpStatus::Counts));
        let before = members(&log.resolver);

        let adversaries = [vec![removed], users("yz")].concat();
        let grown = log.grow(&backdated, &adversaries, &users("abcdefyz"));
        let strength = log.facts(removal).strength;
        let is_weaker = |op: &Facts| op.author != removed || strength < op.strength;
        prop_assume!(grown.iter().all(|op| is_weaker(log.facts(*op))));

        prop_assert_eq!(log.resolver.status(removal), Some(OpStatus::Counts));
        prop_assert_eq!(members(&log.resolver), before);
    }

    #[test]
    fn m7_no_coalition_rises_above_its_best_role(
        log in logs(),
        conspirators in proptest::collection::vec(any::<Index>(), 1..3),
        backdated in drafts(40..80, 0.85),
    ) {
        let mut log = log;
        let able: Vec<UserId> = log.resolver.users().filter(|user| !log.founders.contains(user)).collect();
        prop_assume!(!able.is_empty());
        let coalition: BTreeSet<UserId> =
            conspirators.iter().map(|pick| able[pick.index(able.len())]).collect();
        let ever = log.resolver.facts().filter_map(|op| match op.action {
            OpAction::SetRole { user, role } if coalition.contains(&user) => Some(role),
            _ => None,
        });
        let best = ever.max().unwrap_or_default();
        let before = log.resolver.clone();

        let authors: Vec<UserId> = coalition.iter().copied().chain(users("yz")).collect();
        log.grow(&backdated, &authors, &users("abcdefyz"));

        for user in log.resolver.users() {
            let (was, is) = (before.role(user), log.resolver.role(user));
            prop_assert!(is <= best.max(was), "{user:?} rose from {was:?} to {is:?}, best {best:?}");
            let may_change = coalition.contains(&user) || was <= best;
            prop_assert!(may_change || is == was, "{user:?} was lowered from {was:?} to {is:?}");
        }
    }

    /// Holds for users who were never lowered: a senior who was lowered by a junior equal may contest it
    /// (decision D5), and a user who lowered themselves by a device may void that by revoking the device in
    /// the past. Does not hold between Founders:
    /// [`a_founder_who_has_not_seen_a_promotion_to_founder_may_undo_it`].
    #[test]
    fn m8_old_parents_give_no_more_than_the_heads(
        log in logs(),
        pick: Index,
        target: Index,
        backdated in drafts(1..2, 0.99),
    ) {
        let Some(author) = member_of(&log, &pick, UserId([0; 32]), Role::Admin) else { return Ok(()) };
        let now = log.resolver.role(author);
        let lowers = |op: &Facts| match op.action {
            OpAction::SetRole { user, role } => user == author && role < op.old_role,
            _ => false,
        };
        prop_assume!(!log.resolver.facts().any(lowers));
        // An equal who had not seen a grant may have spoken against it: then what is admitted on all heads is
        // void from birth.
        let mut present = log.clone();
        let Ok(op) = present.propose_now(author, OpAction::Other) else { return Ok(()) };
        prop_assume!(present.resolver.status(op) == Some(OpStatus::Counts));
        let all = users("abcdef");
        let user = all[target.index(all.len())];
        let before = log.resolver.role(user);
        prop_assume!(author == user || (now, before) != (Role::Founder, Role::Founder));
        let mut reachable = BTreeSet::from([before]);
        for role in Role::ALL {
            let mut honest = log.clone();
            if honest.propose_now(author, OpAction::SetRole { user, role }).is_ok() {
                reachable.insert(honest.resolver.role(user));
            }
        }

        let mut crooked = log.clone();
        crooked.grow(&backdated, &[author], &[user]);

        let reached = crooked.resolver.role(user);
        let by = crooked.admitted.last();
        prop_assert!(reachable.contains(&reached), "{reached:?} of {reachable:?} by {by:?}");
    }

    #[test]
    fn m9_void_ops_that_nothing_living_builds_on_may_be_dropped(
        log in logs(),
        later in drafts(1..10, 0.5),
    ) {
        let is_alive = |op: &OpId| log.resolver.status(*op) > Some(OpStatus::Void);
        let living: Vec<OpId> = log.resolver.facts().map(|op| op.id).filter(is_alive).collect();
        let supports = |op, living: OpId| living == op || log.resolver.is_ancestor(op, living);
        let kept = |op: OpId| living.iter().any(|living| supports(op, *living));
        let mut lean = log.only(kept);
        let (leaner, whole) = (present(&lean), present(&log.resolver));
        prop_assert_eq!((leaner.roles, leaner.revoked), (whole.roles, whole.revoked));
        prop_assert!(leaner.statuses.iter().all(|(op, status)| log.resolver.status(*op) == Some(*status)));

        // Later ops may revive void ones; the dropped ones are admitted when they are offered again.
        let mut full = log.clone();
        full.grow(&later, &users("abcdef"), &users("abcdef"));
        for (id, proposal) in &full.admitted {
            prop_assert_eq!(lean.admit(*id, proposal), Ok(()));
        }
        prop_assert_eq!(present(&lean), present(&full.resolver));
    }

    #[test]
    fn m10_validity_depends_on_the_past_alone(log in logs()) {
        for (id, proposal) in &log.admitted {
            let mut past = log.only(|op| log.resolver.is_ancestor(op, *id));
            prop_assert_eq!(past.admit(*id, proposal), Ok(()));
            prop_assert_eq!(past.facts().last().unwrap(), log.facts(*id));
        }
        for (id, proposal, refusal) in log.refused.iter().take(10) {
            let is_past = |op, parent: OpId| parent == op || log.resolver.is_ancestor(op, parent);
            let seen = |op| proposal.parents.iter().any(|parent| is_past(op, *parent));
            let refused = Err(refusal.clone());
            prop_assert_eq!(log.only(seen).admit(*id, proposal), refused.clone());
            prop_assert_eq!(log.resolver.clone().admit(*id, proposal), refused);
        }
    }

    #[test]
    fn m11_a_grant_is_stronger_than_what_rests_on_it(log in logs()) {
        for op in log.resolver.facts().filter(|op| op.id != CREATE && op.grant() != CREATE) {
            prop_assert!(log.facts(op.grant()).strength < op.strength);
            prop_assert!(log.resolver.is_ancestor(op.grant(), op.id));
        }
    }

    #[test]
    fn m12_a_confirmed_removal_is_final(
        grants in proptest::collection::vec(0..3usize, 2..6),
        backdated in drafts(40..80, 0.85),
    ) {
        // a is the founder, o an Owner, all others are Admins; the last removes the first, and o confirms.
        let all = users("bcdef");
        let mut log = Log::new(&users("a"));
        let owner = UserId([b'o'; 32]);
        log.propose_now(log.founders[0], OpAction::SetRole { user: owner, role: Role::Owner }).unwrap();
        for (user, by) in all.iter().zip(&grants) {
            let author = if *by == 0 { log.founders[0] } else { owner };
            log.propose_now(author, OpAction::SetRole { user: *user, role: Role::Admin }).unwrap();
        }
        let (senior, junior) = (all[0], all[grants.len().min(all.len()) - 1]);
        let removal = log.propose_now(junior, OpAction::SetRole { user: senior, role: Role::None }).unwrap();
        let old = log.facts(removal).grant();
        let remove = |user| OpAction::SetRole { user, role: Role::None };
        let contest =
            Proposal { parents: vec![old], author: senior, device: None, action: remove(junior) };
        let mut contested = log.clone();
        let contest = contested.propose(contest).unwrap();
        prop_assert_eq!(contested.resolver.role(senior), Role::Admin);
        prop_assert_eq!(contested.resolver.status(removal), Some(OpStatus::Void));

        log.propose_now(owner, OpAction::SetRole { user: senior, role: Role::None }).unwrap();
        let before = members(&log.resolver);
        log.grow(&backdated, &[vec![senior], users("yz")].concat(), &users("abcdefoyz"));
        prop_assert_eq!(&members(&log.resolver), &before);
        prop_assert_eq!(log.resolver.status(removal), Some(OpStatus::Counts));

        // The same where the contest came first.
        let confirm =
            Proposal { parents: vec![removal], author: owner, device: None, action: remove(senior) };
        contested.propose(confirm).unwrap();
        prop_assert_eq!(contested.resolver.status(contest), Some(OpStatus::Void));
        prop_assert_eq!(members(&contested.resolver), before);
    }

    /// A revocation by the user key voids the ops of a stolen device that it has not seen.
    #[test]
    fn ops_of_a_device_that_its_user_revoked_are_void(
        log in logs(),
        pick: Index,
        backdated in drafts(40..80, 0.85),
    ) {
        let mut log = log;
        let Some(owner) = member_of(&log, &pick, UserId([0; 32]), Role::Admin) else { return Ok(()) };
        let stolen = DeviceId([1; 32]);
        let revoke = OpAction::RevokeDevice { user: owner, device: stolen };
        let Ok(revocation) = log.propose_now(owner, revoke) else { return Ok(()) };
        prop_assume!(log.resolver.status(revocation) == Some(OpStatus::Counts));
        let grant = log.facts(revocation).grant();

        let grown = log.grow(&backdated, &[owner], &users("abcdef"));

        // An older and higher grant that the owner gave up would be stronger than the revocation.
        prop_assume!(grown.iter().all(|op| log.facts(*op).grant() == grant));

        prop_assert_eq!(log.resolver.status(revocation), Some(OpStatus::Counts));
        for op in grown.iter().map(|op| log.facts(*op)).filter(|op| op.device == Some(stolen)) {
            prop_assert_eq!(log.resolver.status(op.id), Some(OpStatus::Void));
        }
    }
}

/// Only a senior Founder may lower a Founder, but of two concurrent ops by equals the lower role wins. So a
/// junior Founder who has not seen a promotion to Founder, or pretends so, can undo it. M8 found this.
#[test]
fn a_founder_who_has_not_seen_a_promotion_to_founder_may_undo_it() {
    let [first, promoted, junior] = users("abd")[..] else { unreachable!() };
    let mut log = Log::new(&[first]);
    let to = |user, role| OpAction::SetRole { user, role };
    log.propose_now(first, to(promoted, Role::Writer)).unwrap();
    let old = log.heads();
    log.propose_now(first, to(promoted, Role::Founder)).unwrap();
    let junior_grant =
        Proposal { parents: old, author: first, device: None, action: to(junior, Role::Founder) };
    let unseen = log.propose(junior_grant).unwrap();

    let late =
        Proposal { parents: vec![unseen], author: junior, device: None, action: to(promoted, Role::Admin) };
    log.propose(late).unwrap();

    assert_eq!(log.resolver.role(promoted), Role::Admin);
    log.propose_now(first, to(promoted, Role::Founder)).unwrap();
    assert_eq!(log.resolver.role(promoted), Role::Founder, "the senior Founder promotes again");
}

/// Properties over logs in which nothing happens would prove nothing.
#[test]
fn the_random_logs_exercise_every_rule() {
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::<&str, u32>::new();
    let mut note = |what, is: bool| *seen.entry(what).or_default() += u32::from(is);
    for _ in 0..500 {
        let log = logs().new_tree(&mut runner).unwrap().current();
        let has_status = |wanted| log.resolver.facts().any(|op| log.resolver.status(op.id) == Some(wanted));
        note("five ops", log.admitted.len() >= 5);
        note("void", has_status(OpStatus::Void));
        note("superseded", has_status(OpStatus::Superseded));
        note("several heads", log.heads().len() > 1);
        note("device revoked", log.resolver.revoked().count() > 0);
        note("founder lowered", log.founders.iter().any(|user| log.resolver.role(*user) < Role::Founder));
        note(
            "confirmed",
            log.resolver
                .facts()
                .any(|op| matches!(op.action, OpAction::SetRole { role, .. } if role == op.old_role)),
        );
    }
    assert!(seen.values().all(|count| *count >= 5), "of 500 logs: {seen:?}");
    println!("of 500 logs: {seen:?}");
}
