//! Scenarios with a device that keeps no rule: eve's, made by hand, with keys of her own.

use std::time::Duration;

use automerge::ROOT;
use automerge::transaction::Transactable;
use peerbase::Role::{Admin, Reader, Writer};
use peerbase::group::Refusal;
use schema::key::SigningKey;
use schema::ledger::manifest::root;
use schema::ledger::{Body, By, Invalid, ManifestRef, Op, Refusal as OpRefusal};
use schema::limits::DEVICES_MAX;
use schema::session::ledger::LedgerSession;
use schema::signed::{Envelope, Record, Signed};
use schema::wire::device::DeviceCert;
use schema::wire::group::{GroupFrame, Part};
use schema::wire::ledger::LedgerFrame;
use schema::wire::session::{SessionFrame, Unit};
use schema::{ChangeHash, DocumentId, OpId, ReplicaId, codec};
use testkit::raw::{Raw, chunk};

use super::eve::{EVE, changes, written};
use crate::support::TASKS;
use crate::support::stranger::{Member, Shelf, Stranger, device_of, identity};
use crate::support::village::Village;

#[tokio::test(start_paused = true)]
async fn p9_of_a_fork_everybody_takes_the_branch_that_the_cut_names_also_who_has_the_other() {
    let mut village = Village::with_eve(9, [("ben", Admin), ("cid", Writer)], Writer).await;
    let author = village.eve_under(village.grant_of(identity(EVE).user()).await);
    let mut left = written(village.replica("basil", author), "water it");
    let mut right = left.clone();
    let mut shown = Vec::new();
    for (document, title) in [(&mut left, "left"), (&mut right, "right")] {
        document.put(ROOT, "title", title).unwrap();
        document.commit();
        shown.push(village.unit("basil", author, changes(document)));
    }
    let [left, right] = shown.try_into().unwrap();
    for (name, unit) in [("ada", left), ("cid", right)] {
        village.net.network().partition(&[
            &[name, "stranger"],
            &["ben"],
            &[if name == "ada" { "cid" } else { "ada" }],
        ]);
        village.eve_offers(name, author, vec![unit]).await;
    }
    village.part(&[]);
    village.have(&["ada"], [("basil", "left")]);
    village.have(&["cid"], [("basil", "right")]);
    village.group("ada").remove_member(identity(EVE).user()).await.unwrap();

    village.meet().await;
    village.have(&["ada", "ben", "cid"], [("basil", "left")]);
    assert_eq!((village.kept("ada").await, village.kept("cid").await), (0, 1));
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_16_certificates_without_end_take_nothing_that_their_users_device_wrote_from_anybody() {
    let mut village = Village::with_eve(216, [("ben", Writer)], Writer).await;
    let author = village.eve_under(village.grant_of(identity(EVE).user()).await);
    let row = changes(&mut written(village.replica("basil", author), "water it"));
    village.eve_offers("ada", author, vec![village.unit("basil", author, row)]).await;
    village.meet().await;
    village.writes("ben", "basil", "water it twice").await;
    village.meet().await;

    // More than have a place are before that of her device.
    let id = |envelope: &Envelope| schema::id::hash(DeviceCert::KIND, &[&envelope.payload]);
    let own = id(identity(EVE).certificate.envelope());
    let more: Vec<Envelope> =
        (0..200_u8).map(|number| device_of(&[EVE], &[EVE, number]).certificate.envelope().clone()).collect();
    assert!(more.iter().filter(|other| id(other) < own).count() >= DEVICES_MAX);
    for name in ["ada", "ben"] {
        let (network, clock) = (village.net.network(), village.net.clock());
        let stranger = Stranger::dial(network, clock, identity(EVE), &format!("memory://{name}")).await;
        let mut eve = Member::trusting(stranger, village.id).await;
        for frame in LedgerSession::grown(Vec::new(), more.clone(), Vec::new(), Vec::new()) {
            eve.say(GroupFrame::Ledger(frame)).await;
        }
        eve.talk().await;
    }
    let expected = [("basil", "water it twice")];
    village.meet().await;
    village.have(&["ada", "ben"], expected);

    village.crash("ben").await;
    village.restart("ben").await;
    village.meet().await;
    village.have(&["ada", "ben"], expected);
    village.device("ben", "tablet").await;
    village.have(&["ada", "ben", "tablet"], expected);
    assert_eq!(village.kept("ada").await + village.kept("ben").await, 0, "nothing has fallen");
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_16_a_writers_revocation_of_a_device_with_a_cut_is_refused_at_the_door() {
    let mut village = Village::with_eve(116, [("ben", Writer)], Writer).await;
    let author = village.eve_under(village.grant_of(identity(EVE).user()).await);
    let row = changes(&mut written(village.replica("basil", author), "water it"));
    village.eve_offers("ada", author, vec![village.unit("basil", author, row)]).await;
    village.meet().await;
    let before = village.group("ada").log().await.unwrap();

    let (network, clock) = (village.net.network(), village.net.clock());
    let stranger = Stranger::dial(network, clock, identity(EVE), "memory://ada").await;
    let mut eve = Member::greet(stranger, village.id).await;
    eve.talk().await;
    let body = |cut| Body::RevokeDevice { user: identity(EVE).user(), device: author.device, cut };
    let bomb = Op {
        body: body(Some(ManifestRef { root: root(&[]), entries: 0 })),
        ..eve.ledger.draft(identity(EVE).user(), By::User, body(None)).unwrap()
    };
    let user = SigningKey::from_seed(schema::id::hash("user", &[&[EVE]]));
    let bomb = Signed::sign(bomb, &user).envelope().clone();
    let why = eve.ledger.admit(bomb.clone()).unwrap_err();
    assert!(
        matches!(why, OpRefusal::Invalid { why: Invalid::Cut { needed: false, clause: 4 }, .. }),
        "{why:?}"
    );
    let (certificates, revocations, records) = (Vec::new(), Vec::new(), Vec::new());
    let push = LedgerFrame::Push { ops: vec![bomb], certificates, revocations, records, last: false };
    eve.say(GroupFrame::Ledger(push)).await;
    village.net.sleep(Duration::from_secs(60)).await;

    village.meet().await;
    assert_eq!(village.group("ada").log().await.unwrap(), before);
    village.have(&["ada", "ben"], [("basil", "water it")]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_17_a_reader_writes_neither_under_their_own_grant_nor_under_anothers() {
    let mut village = Village::with_eve(17, [("ben", Writer)], Reader).await;
    village.writes("ben", "soap", "make it").await;
    village.meet().await;
    let own = village.grant_of(identity(EVE).user()).await;
    let bens = village.grant_of(village.user("ben")).await;
    let founders = OpId(village.id.0);

    for (key, grant) in [("basil", own), ("rope", bens), ("soap", founders)] {
        let author = village.eve_under(grant);
        let row = changes(&mut written(village.replica(key, author), "by eve"));
        let refused = village.eve_offers("ada", author, vec![village.unit(key, author, row)]).await;
        let (document, why) = refused.last().unwrap();
        assert_eq!(*document, village.document(key));
        let expected =
            if grant == own { Refusal::NotAllowed { author } } else { Refusal::UnknownAuthor { author } };
        assert_eq!(*why, expected, "under {grant}");
    }

    village.meet().await;
    village.have(&["ada", "ben"], [("soap", "make it")]);
    assert_eq!(village.group("ada").status().await.unwrap().documents, 1);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_18_what_somebody_signed_for_one_row_is_worth_nothing_in_another_row_or_group() {
    let mut village = Village::with_eve(18, [("ben", Writer)], Writer).await;
    village.writes("ben", "basil", "water it").await;
    village.meet().await;
    let club = village.people["ada"].node().create_group("club").await.unwrap();
    for user in [village.user("ben"), identity(EVE).user()] {
        club.add_member(user, Writer).await.unwrap();
    }
    let eve = village.eve_meets("ada", village.id, Shelf::default()).await;
    let [signed] = &eve.shelf.units[..] else { panic!("{:?}", eve.shelf.units) };
    let ben = village.people["ben"].node().device_id();
    let author = (ben, village.grant_of(village.user("ben")).await);

    let rope = Unit { document: village.document("rope"), key: "rope".into(), ..signed.clone() };
    let mut shelf = Shelf::of(author.0, author.1);
    shelf.offer(rope);
    village.eve_meets("ada", village.id, shelf).await;
    let refused = village.group("ada").status().await.unwrap().refusals;
    let is_it = |refused: &(DocumentId, Refusal)| *refused == (village.document("rope"), Refusal::Unvouched);
    assert!(!refused.is_empty() && refused.iter().all(is_it), "{refused:?}");
    let mut shelf = Shelf::of(author.0, author.1);
    shelf.offer(Unit { document: DocumentId::of(club.id(), "tasks", "basil"), ..signed.clone() });
    village.eve_meets("ada", club.id(), shelf).await;
    assert_eq!(club.status().await.unwrap().refusals.last().unwrap().1, Refusal::Unvouched);

    assert!(club.table(TASKS).list().unwrap().is_empty());
    village.meet().await;
    village.have(&["ada", "ben"], [("basil", "water it")]);
    village.ends().await;
}

/// What eve makes of a row's replica, and what it is refused as.
type Bait = (&'static str, fn(ReplicaId) -> Vec<Vec<u8>>, fn(&Refusal) -> bool);

fn first(replica: ReplicaId) -> Raw {
    Raw::puts(replica, 1, 1, Vec::new(), 2)
}

const MISSING: ChangeHash = ChangeHash([0xee; 32]);

const BAITS: [Bait; 8] = [
    (
        "a first change that is the second",
        |replica| vec![Raw::puts(replica, 2, 1, Vec::new(), 2).chunk()],
        |refusal| matches!(refusal, Refusal::SequenceGap { expected: 1, got: 2 }),
    ),
    (
        "a gap",
        |replica| {
            let first = first(replica);
            vec![first.chunk(), Raw::puts(replica, 3, 3, vec![first.hash()], 2).chunk()]
        },
        |refusal| matches!(refusal, Refusal::SequenceGap { expected: 2, got: 3 }),
    ),
    (
        "counters that are used up",
        |replica| vec![Raw::puts(replica, 1, (1 << 32) - 2, Vec::new(), 2).chunk()],
        |refusal| matches!(refusal, Refusal::Unreadable { what } if what.contains("largest op")),
    ),
    (
        "counters that leave some out",
        |replica| vec![Raw::puts(replica, 1, 77, Vec::new(), 2).chunk()],
        |refusal| matches!(refusal, Refusal::StartOp { expected: 1, got: 77 }),
    ),
    (
        "a change that forgets the one before it",
        |replica| vec![first(replica).chunk(), Raw::puts(replica, 2, 3, Vec::new(), 2).chunk()],
        |refusal| matches!(refusal, Refusal::PreviousNotDirect),
    ),
    (
        "a hundred thousand dependencies",
        |replica| {
            let dep = |number: u64| {
                let mut hash = [0; 32];
                hash[..8].copy_from_slice(&number.to_be_bytes());
                ChangeHash(hash)
            };
            vec![Raw { deps: (0..100_000).map(dep).collect(), ..first(replica) }.chunk()]
        },
        |refusal| matches!(refusal, Refusal::Unreadable { what } if what.contains("dependencies")),
    ),
    (
        "a change that would unfold for ever",
        // Compressed chunks are not read at all, however little they hold.
        |_| vec![chunk(2, &[0x55; 64])],
        |refusal| matches!(refusal, Refusal::Unreadable { what } if what.contains("compressed")),
    ),
    (
        "a change upon one that is not there",
        |replica| vec![Raw::puts(replica, 1, 3, vec![MISSING], 2).chunk()],
        |refusal| matches!(refusal, Refusal::MissingDependency { dependency: MISSING }),
    ),
];

#[tokio::test(start_paused = true)]
async fn scenario_20_each_bait_is_refused_by_the_check_that_is_for_it_and_nobody_falls() {
    let mut village = Village::with_eve(20, [("ben", Writer)], Writer).await;
    let author = village.eve_under(village.grant_of(identity(EVE).user()).await);

    for (number, (what, bait, is_it)) in BAITS.into_iter().enumerate() {
        let key = format!("bait {number}");
        let bait = bait(village.replica(&key, author));
        let mut shelf = Shelf::of(author.device, author.grant);
        // What cannot be read is no use to a shelf that reads it: it is offered under a mark that fits nothing.
        shelf.offer_blind(village.unit(&key, author, bait));
        village.eve_meets("ada", village.id, shelf).await;
        let refused = village.group("ada").status().await.unwrap().refusals;
        // Offered again and again; which change of the first offer is judged first is up to its hash.
        let of_this: Vec<_> = refused.iter().filter(|(id, _)| *id == village.document(&key)).collect();
        assert!(of_this.last().is_some_and(|(_, refusal)| is_it(refusal)), "{what}: {of_this:?}");
        village.writes("ada", "basil", what).await;
        // Who does so again and again is let go for an hour.
        village.net.sleep(Duration::from_secs(60 * 60)).await;
    }

    village.meet().await;
    let readable = |name: &str| village.rows(name).len();
    assert_eq!((readable("ada"), readable("ben")), (1, 1));
    assert!(village.group("ada").status().await.unwrap().quarantined.is_empty());
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_keeps_sending_what_they_must_refuse_themselves_is_let_go_for_an_hour() {
    let mut village = Village::with_eve(120, [("ben", Writer)], Writer).await;
    let author = village.eve_under(village.grant_of(identity(EVE).user()).await);
    // By whatever membership she says that she judges: no membership allows it.
    let shelf = |unit| {
        let mut shelf = Shelf::of(author.device, author.grant);
        shelf.offer(unit);
        shelf
    };

    for number in 0..3 {
        let key = format!("bait {number}");
        let bait = Raw::puts(village.replica(&key, author), 1, 77, Vec::new(), 2).chunk();
        village.eve_meets("ada", village.id, shelf(village.unit(&key, author, vec![bait]))).await;
    }
    let row = changes(&mut written(village.replica("basil", author), "water it"));
    let good = village.unit("basil", author, row);
    village.eve_meets("ada", village.id, shelf(good.clone())).await;
    village.have(&["ada"], []);

    village.net.sleep(Duration::from_secs(60 * 60)).await;
    village.eve_meets("ada", village.id, shelf(good)).await;
    village.meet().await;
    village.have(&["ada", "ben"], [("basil", "water it")]);
    village.ends().await;
}

/// Honest peers of different memberships once let each other go when a removal turned out void.
#[tokio::test(start_paused = true)]
async fn what_one_membership_refuses_and_another_allows_is_a_fault_only_by_the_same() {
    for is_same in [false, true] {
        let village = Village::with_eve(121, [("ben", Writer)], Reader).await;
        village.writes("ada", "basil", "water it").await;
        let author = village.eve_under(village.grant_of(identity(EVE).user()).await);
        let eve = village.eve_meets("ada", village.id, Shelf::default()).await;
        for number in 0..3 {
            let key = format!("bait {number}");
            let row = changes(&mut written(village.replica(&key, author), "eat it"));
            let mut shelf = Shelf::of(author.device, author.grant);
            shelf.state = if is_same { eve.ledger.roster().state_digest() } else { [0; 32] };
            shelf.offer(village.unit(&key, author, row));
            village.eve_meets("ada", village.id, shelf).await;
        }
        let refused = village.group("ada").status().await.unwrap().refusals;
        assert!(refused.iter().all(|(_, refusal)| matches!(refusal, Refusal::NotAllowed { .. })));
        assert!(refused.len() >= 3, "{refused:?}");

        let eve = village.eve_meets("ada", village.id, Shelf::default()).await;
        assert_eq!(eve.shelf.units.is_empty(), is_same);
        village.ends().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_peers_say_that_they_refuse_takes_no_room_from_what_was_refused_here() {
    let village = Village::with_eve(122, [("ben", Writer)], Reader).await;
    let author = village.eve_under(village.grant_of(identity(EVE).user()).await);
    let row = changes(&mut written(village.replica("basil", author), "eat it"));
    let mut shelf = Shelf::of(author.device, author.grant);
    shelf.offer(village.unit("basil", author, row));
    let mut eve = village.eve_meets("ada", village.id, shelf).await;

    let why = Refusal::Unreadable { what: "x".repeat(2_000) };
    let refused = vec![(village.document("rope"), why); 100];
    let bytes = codec::encode(&SessionFrame::Ack { number: 0, refused });
    eve.say(GroupFrame::Part(Part { more: false, bytes })).await;
    eve.talk().await;

    let status = village.group("ada").status().await.unwrap();
    assert!(status.refusals.iter().any(|(_, refusal)| matches!(refusal, Refusal::NotAllowed { .. })));
    assert_eq!(status.refused_by_peers.len(), 64);
    let explained = village.group("ada").explain("tasks", "rope").await.unwrap();
    assert!(explained.refusals.is_empty());
    let [Refusal::Unreadable { what }, ..] = &explained.refused_by_peers[..] else { panic!("{explained:?}") };
    assert_eq!(what.len(), 256);
    village.ends().await;
}
