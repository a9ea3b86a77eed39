//! What holds of every membership log, honest or not: M1 to M12 of AUTHORITY 4.1.

use std::collections::BTreeSet;

use peerbase_schema::ledger::{Facts, Graph, OpAction, OpStatus, Proposal, Refusal, Role};
use peerbase_schema::{DeviceId, OpId, UserId};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

use crate::support::log::{CREATE, Log, drafts, logs, members, present, users};

/// The same ops in another order that keeps parents before children.
fn shuffled(log: &Log, picks: &[Index]) -> Vec<(OpId, Proposal)> {
    let mut here = BTreeSet::from([CREATE]);
    let mut left: Vec<_> = log.said.clone();
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

/// A failing case is written, with its seed, into a file beside this one.
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

/// Somebody of the members other than `not`, strong enough to say `act` now.
fn somebody(log: &Log, pick: &Index, not: UserId, least: Role) -> Option<UserId> {
    let able: Vec<UserId> = members(&log.graph)
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
        let mut graph = Graph::new(CREATE, log.founders.clone());
        for (id, proposal) in shuffled(&log, &picks) {
            prop_assert_eq!(graph.admit(id, &proposal), Ok(()));
        }

        prop_assert_eq!(present(&graph), present(&log.graph));
        for facts in graph.ops() {
            prop_assert_eq!(facts, log.facts(facts.id));
        }
    }

    /// The state that is kept and extended op by op is the one that resolving from nothing gives.
    #[test]
    fn m1_what_is_kept_is_what_would_be_resolved(log in logs(), picks in picks()) {
        let mut kept = Graph::new(CREATE, log.founders.clone());
        for (id, proposal) in shuffled(&log, &picks) {
            prop_assert_eq!(kept.admit(id, &proposal), Ok(()));
            let mut anew = kept.clone();
            anew.forget_states();
            prop_assert_eq!(present(&kept), present(&anew));
        }
    }

    #[test]
    fn m2_repeats_change_nothing(log in logs()) {
        let mut graph = log.graph.clone();
        for (id, proposal) in log.said.iter().rev() {
            prop_assert_eq!(graph.admit(*id, proposal), Ok(()));
        }

        prop_assert_eq!(graph.len(), log.graph.len());
        prop_assert_eq!(present(&graph), present(&log.graph));
    }

    #[test]
    fn m3_whatever_is_proposed_is_answered(
        log in logs(),
        author in 0..8u8,
        target in 0..8u8,
        parents in proptest::collection::vec((any::<Index>(), any::<bool>()), 0..4),
    ) {
        let mut log = log;
        let ids: Vec<OpId> = log.graph.ops().map(|op| op.id).collect();
        let parent = |(pick, known): &(Index, bool)| if *known { ids[pick.index(ids.len())] } else { OpId([1; 32]) };
        let parents: Vec<OpId> = parents.iter().map(parent).collect();
        let unknown = parents.is_empty() || parents.contains(&OpId([1; 32]));
        let act = OpAction::SetRole { user: UserId([b'a' + target; 32]), role: Role::Reader };
        let before = present(&log.graph);

        let said = log.say(Proposal { parents, author: UserId([b'a' + author; 32]), device: None, act });

        prop_assert_eq!(matches!(said, Err(Refusal::MissingParents { .. })), unknown);
        prop_assert!(said.is_ok() || present(&log.graph) == before);
    }

    #[test]
    fn m4_every_role_rests_on_living_grants(log in logs()) {
        for user in log.graph.users() {
            let mut op = log.graph.winner(user).unwrap();
            prop_assert_eq!(log.graph.standing(op), Some(OpStatus::Counts));
            while op != CREATE {
                op = log.facts(op).grant();
                prop_assert!(log.graph.standing(op) >= Some(OpStatus::Superseded));
            }
        }
    }

    #[test]
    fn m5_only_the_first_founder_lowers_the_first_founder(log in logs()) {
        let first = log.founders[0];
        let own = log.graph.ops().any(|op| op.author == first && op.act.target() == Some(first));
        prop_assert!(own || log.graph.role(first) == Role::Founder);
    }

    #[test]
    fn m6_a_removal_by_somebody_stronger_is_final(
        log in logs(),
        whom: Index,
        by: Index,
        backdated in drafts(40..80, 0.85),
    ) {
        let mut log = log;
        // Whoever never was an Admin has nothing to backdate.
        let powerful = |(user, role): &(UserId, Role)| *role >= Role::Admin && !log.founders.contains(user);
        let able: Vec<_> = members(&log.graph).into_iter().filter(powerful).collect();
        prop_assume!(!able.is_empty());
        let (removed, _) = able[whom.index(able.len())];
        let Some(remover) = somebody(&log, &by, removed, Role::Admin) else { return Ok(()) };
        let Ok(removal) = log.say_now(remover, OpAction::SetRole { user: removed, role: Role::None }) else { return Ok(()) };
        prop_assume!(log.graph.standing(removal) == Some(OpStatus::Counts));
        let before = members(&log.graph);

        let adversaries = [vec![removed], users("yz")].concat();
        let grown = log.grow(&backdated, &adversaries, &users("abcdefyz"));
        let strength = log.facts(removal).strength;
        prop_assume!(grown.iter().all(|op| log.facts(*op).author != removed || strength < log.facts(*op).strength));

        prop_assert_eq!(log.graph.standing(removal), Some(OpStatus::Counts));
        prop_assert_eq!(members(&log.graph), before);
    }

    #[test]
    fn m7_nobody_rises_above_the_best_role_of_those_who_conspire(
        log in logs(),
        conspirators in proptest::collection::vec(any::<Index>(), 1..3),
        backdated in drafts(40..80, 0.85),
    ) {
        let mut log = log;
        let able: Vec<UserId> = log.graph.users().filter(|user| !log.founders.contains(user)).collect();
        prop_assume!(!able.is_empty());
        let coalition: BTreeSet<UserId> = conspirators.iter().map(|pick| able[pick.index(able.len())]).collect();
        let ever = log.graph.ops().filter_map(|op| match op.act {
            OpAction::SetRole { user, role } if coalition.contains(&user) => Some(role),
            _ => None,
        });
        let best = ever.max().unwrap_or_default();
        let before = log.graph.clone();

        let authors: Vec<UserId> = coalition.iter().copied().chain(users("yz")).collect();
        log.grow(&backdated, &authors, &users("abcdefyz"));

        for user in log.graph.users() {
            let (was, is) = (before.role(user), log.graph.role(user));
            prop_assert!(is <= best.max(was), "{user:?} rose from {was:?} to {is:?}, best {best:?}");
            prop_assert!(coalition.contains(&user) || was <= best || is == was, "{user:?} fell from {was:?} to {is:?}");
        }
    }

    /// For whoever was never lowered: a senior contests, and so revives, what a junior equal took (D5), and whoever
    /// lowered themselves takes that back by revoking, in the past, the device that said so. And not between Founders:
    /// [`a_founder_who_has_not_seen_a_promotion_to_founder_may_undo_it`].
    #[test]
    fn m8_old_parents_give_no_more_than_the_heads(log in logs(), pick: Index, target: Index, backdated in drafts(1..2, 0.99)) {
        let Some(author) = somebody(&log, &pick, UserId([0; 32]), Role::Admin) else { return Ok(()) };
        let now = log.graph.role(author);
        let lowers = |op: &Facts| matches!(op.act, OpAction::SetRole { user, role } if user == author && role < op.old_role);
        prop_assume!(!log.graph.ops().any(lowers));
        // An equal who had not seen a grant may have spoken against it: then what is said on all heads is void from birth.
        let mut present = log.clone();
        let Ok(op) = present.say_now(author, OpAction::Other) else { return Ok(()) };
        prop_assume!(present.graph.standing(op) == Some(OpStatus::Counts));
        let all = users("abcdef");
        let user = all[target.index(all.len())];
        let before = log.graph.role(user);
        prop_assume!(author == user || (now, before) != (Role::Founder, Role::Founder));
        let mut reachable = BTreeSet::from([before]);
        for role in Role::ALL {
            let mut honest = log.clone();
            if honest.say_now(author, OpAction::SetRole { user, role }).is_ok() {
                reachable.insert(honest.graph.role(user));
            }
        }

        let mut crooked = log.clone();
        crooked.grow(&backdated, &[author], &[user]);

        let reached = crooked.graph.role(user);
        prop_assert!(reachable.contains(&reached), "{reached:?} of {reachable:?} by {:?}", crooked.said.last());
    }

    #[test]
    fn m9_void_ops_that_nothing_living_builds_on_may_be_dropped(log in logs(), later in drafts(1..10, 0.5)) {
        let living: Vec<OpId> = log.graph.ops().map(|op| op.id).filter(|op| log.graph.standing(*op) > Some(OpStatus::Void)).collect();
        let kept = |op: OpId| living.iter().any(|living| *living == op || log.graph.is_ancestor(op, *living));
        let mut lean = log.only(kept);
        let (roles, standing, revoked) = present(&lean);
        prop_assert_eq!((&roles, &revoked), (&present(&log.graph).0, &present(&log.graph).2));
        prop_assert!(standing.iter().all(|(op, standing)| log.graph.standing(*op) == Some(*standing)));

        // What comes later may raise the void; offered again, the dropped ones are taken.
        let mut full = log.clone();
        full.grow(&later, &users("abcdef"), &users("abcdef"));
        for (id, proposal) in &full.said {
            prop_assert_eq!(lean.admit(*id, proposal), Ok(()));
        }
        prop_assert_eq!(present(&lean), present(&full.graph));
    }

    #[test]
    fn m10_a_verdict_depends_on_the_past_alone(log in logs()) {
        for (id, proposal) in &log.said {
            let mut past = log.only(|op| log.graph.is_ancestor(op, *id));
            prop_assert_eq!(past.admit(*id, proposal), Ok(()));
            prop_assert_eq!(past.ops().last().unwrap(), log.facts(*id));
        }
        for (id, proposal, refusal) in log.refused.iter().take(10) {
            let seen = |op| proposal.parents.iter().any(|parent| *parent == op || log.graph.is_ancestor(op, *parent));
            let refused = Err(refusal.clone());
            prop_assert_eq!(log.only(seen).admit(*id, proposal), refused.clone());
            prop_assert_eq!(log.graph.clone().admit(*id, proposal), refused);
        }
    }

    #[test]
    fn m11_a_grant_is_stronger_than_what_rests_on_it(log in logs()) {
        for op in log.graph.ops().filter(|op| op.id != CREATE && op.grant() != CREATE) {
            prop_assert!(log.facts(op.grant()).strength < op.strength);
            prop_assert!(log.graph.is_ancestor(op.grant(), op.id));
        }
    }

    #[test]
    fn m12_a_confirmed_removal_is_final(
        grants in proptest::collection::vec(0..3usize, 2..6),
        backdated in drafts(40..80, 0.85),
    ) {
        // a founds, o owns, everybody else is an Admin; the last removes the first, and o confirms.
        let all = users("bcdef");
        let mut log = Log::new(&users("a"));
        let owner = UserId([b'o'; 32]);
        log.say_now(log.founders[0], OpAction::SetRole { user: owner, role: Role::Owner }).unwrap();
        for (user, by) in all.iter().zip(&grants) {
            let author = if *by == 0 { log.founders[0] } else { owner };
            log.say_now(author, OpAction::SetRole { user: *user, role: Role::Admin }).unwrap();
        }
        let (senior, junior) = (all[0], all[grants.len().min(all.len()) - 1]);
        let removal = log.say_now(junior, OpAction::SetRole { user: senior, role: Role::None }).unwrap();
        let old = log.facts(removal).grant();
        let contest = Proposal { parents: vec![old], author: senior, device: None, act: OpAction::SetRole { user: junior, role: Role::None } };
        let mut contested = log.clone();
        let contest = contested.say(contest).unwrap();
        prop_assert_eq!(contested.graph.role(senior), Role::Admin);
        prop_assert_eq!(contested.graph.standing(removal), Some(OpStatus::Void));

        log.say_now(owner, OpAction::SetRole { user: senior, role: Role::None }).unwrap();
        let before = members(&log.graph);
        log.grow(&backdated, &[vec![senior], users("yz")].concat(), &users("abcdefoyz"));
        prop_assert_eq!(&members(&log.graph), &before);
        prop_assert_eq!(log.graph.standing(removal), Some(OpStatus::Counts));

        // The same where the contest came first.
        let confirm = Proposal { parents: vec![removal], author: owner, device: None, act: OpAction::SetRole { user: senior, role: Role::None } };
        contested.say(confirm).unwrap();
        prop_assert_eq!(contested.graph.standing(contest), Some(OpStatus::Void));
        prop_assert_eq!(members(&contested.graph), before);
    }

    /// A stolen device is out for what the revocation by the user key has not seen.
    #[test]
    fn a_device_revoked_by_its_user_says_nothing_more(log in logs(), pick: Index, backdated in drafts(40..80, 0.85)) {
        let mut log = log;
        let Some(owner) = somebody(&log, &pick, UserId([0; 32]), Role::Reader) else { return Ok(()) };
        let stolen = DeviceId([1; 32]);
        let Ok(revocation) = log.say_now(owner, OpAction::RevokeDevice { user: owner, device: stolen }) else { return Ok(()) };
        prop_assume!(log.graph.standing(revocation) == Some(OpStatus::Counts));
        let grant = log.facts(revocation).grant();

        let grown = log.grow(&backdated, &[owner], &users("abcdef"));

        // An older and higher grant that the owner gave up would be stronger than the revocation.
        prop_assume!(grown.iter().all(|op| log.facts(*op).grant() == grant));

        prop_assert_eq!(log.graph.standing(revocation), Some(OpStatus::Counts));
        for op in grown.iter().map(|op| log.facts(*op)).filter(|op| op.device == Some(stolen)) {
            prop_assert_eq!(log.graph.standing(op.id), Some(OpStatus::Void));
        }
    }
}

/// Only a senior Founder may lower a Founder, but of two concurrent ops by equals the lower role stands. So a junior
/// Founder who did not see that somebody was made one, or says so, takes it back: found by M8.
#[test]
fn a_founder_who_has_not_seen_a_promotion_to_founder_may_undo_it() {
    let [first, promoted, junior] = users("abd")[..] else { unreachable!() };
    let mut log = Log::new(&[first]);
    let to = |user, role| OpAction::SetRole { user, role };
    log.say_now(first, to(promoted, Role::Writer)).unwrap();
    let old = log.heads();
    log.say_now(first, to(promoted, Role::Founder)).unwrap();
    let junior_grant = Proposal { parents: old, author: first, device: None, act: to(junior, Role::Founder) };
    let unseen = log.say(junior_grant).unwrap();

    let late =
        Proposal { parents: vec![unseen], author: junior, device: None, act: to(promoted, Role::Admin) };
    log.say(late).unwrap();

    assert_eq!(log.graph.role(promoted), Role::Admin);
    log.say_now(first, to(promoted, Role::Founder)).unwrap();
    assert_eq!(log.graph.role(promoted), Role::Founder, "and the senior Founder says it again");
}

/// A property over logs in which nothing happens would be none.
#[test]
fn the_logs_reach_every_corner() {
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::<&str, u32>::new();
    let mut note = |what, is: bool| *seen.entry(what).or_default() += u32::from(is);
    for _ in 0..500 {
        let log = logs().new_tree(&mut runner).unwrap().current();
        let standing = |wanted| log.graph.ops().any(|op| log.graph.standing(op.id) == Some(wanted));
        note("five ops", log.said.len() >= 5);
        note("void", standing(OpStatus::Void));
        note("superseded", standing(OpStatus::Superseded));
        note("several heads", log.heads().len() > 1);
        note("device revoked", log.graph.revoked().count() > 0);
        note("founder lowered", log.founders.iter().any(|user| log.graph.role(*user) < Role::Founder));
        note(
            "confirmed",
            log.graph.ops().any(|op| matches!(op.act, OpAction::SetRole { role, .. } if role == op.old_role)),
        );
    }
    assert!(seen.values().all(|count| *count >= 5), "of 500 logs: {seen:?}");
    println!("of 500 logs: {seen:?}");
}
