//! Forged input: eve's hand-made device sends forks, floods, foreign signatures and malformed changes.

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

use super::eve::{EVE, changes, row_document};
use crate::support::TASKS;
use crate::support::handmade::{HandmadeMember, HandmadePeer, ScriptedDocuments, device_of, identity};
use crate::support::scenario::Scenario;

#[tokio::test(start_paused = true)]
async fn p9_every_member_accepts_the_branch_of_a_fork_that_the_cut_names() {
    let mut scenario = Scenario::with_eve(9, [("ben", Admin), ("cid", Writer)], Writer).await;
    let author = scenario.eve_author(scenario.grant_of(identity(EVE).user()).await);
    let mut left = row_document(scenario.replica("basil", author), "water it");
    let mut right = left.clone();
    let mut shown = Vec::new();
    for (document, title) in [(&mut left, "left"), (&mut right, "right")] {
        document.put(ROOT, "title", title).unwrap();
        document.commit();
        shown.push(scenario.unit("basil", author, changes(document)));
    }
    let [left, right] = shown.try_into().unwrap();
    for (name, unit) in [("ada", left), ("cid", right)] {
        scenario.net.network().partition(&[
            &[name, "stranger"],
            &["ben"],
            &[if name == "ada" { "cid" } else { "ada" }],
        ]);
        scenario.offer_as_eve(name, author, vec![unit]).await;
    }
    scenario.partition(&[]);
    scenario.assert_rows(&["ada"], [("basil", "left")]);
    scenario.assert_rows(&["cid"], [("basil", "right")]);
    scenario.group("ada").remove_member(identity(EVE).user()).await.unwrap();

    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "cid"], [("basil", "left")]);
    assert_eq!((scenario.set_aside("ada").await, scenario.set_aside("cid").await), (0, 1));
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_16_a_flood_of_certificates_purges_nothing_the_users_device_wrote() {
    let mut scenario = Scenario::with_eve(216, [("ben", Writer)], Writer).await;
    let author = scenario.eve_author(scenario.grant_of(identity(EVE).user()).await);
    let row = changes(&mut row_document(scenario.replica("basil", author), "water it"));
    scenario.offer_as_eve("ada", author, vec![scenario.unit("basil", author, row)]).await;
    scenario.converge().await;
    scenario.write("ben", "basil", "water it twice").await;
    scenario.converge().await;

    // More certificates than the ledger keeps sort before the one of her device.
    let id = |envelope: &Envelope| schema::id::hash(DeviceCert::KIND, &[&envelope.payload]);
    let own = id(identity(EVE).certificate.envelope());
    let more: Vec<Envelope> =
        (0..200_u8).map(|number| device_of(&[EVE], &[EVE, number]).certificate.envelope().clone()).collect();
    assert!(more.iter().filter(|other| id(other) < own).count() >= DEVICES_MAX);
    for name in ["ada", "ben"] {
        let (network, clock) = (scenario.net.network(), scenario.net.clock());
        let stranger = HandmadePeer::dial(network, clock, identity(EVE), &format!("memory://{name}")).await;
        let mut eve = HandmadeMember::open_without_ledger(stranger, scenario.id).await;
        for frame in LedgerSession::push(Vec::new(), more.clone(), Vec::new(), Vec::new()) {
            eve.send(GroupFrame::Ledger(frame)).await;
        }
        eve.run().await;
    }
    let expected = [("basil", "water it twice")];
    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben"], expected);

    scenario.crash("ben").await;
    scenario.restart("ben").await;
    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben"], expected);
    scenario.add_device("ben", "tablet").await;
    scenario.assert_rows(&["ada", "ben", "tablet"], expected);
    assert_eq!(scenario.set_aside("ada").await + scenario.set_aside("ben").await, 0, "nothing was purged");
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_16_a_writers_op_that_revokes_a_device_with_a_cut_is_refused() {
    let mut scenario = Scenario::with_eve(116, [("ben", Writer)], Writer).await;
    let author = scenario.eve_author(scenario.grant_of(identity(EVE).user()).await);
    let row = changes(&mut row_document(scenario.replica("basil", author), "water it"));
    scenario.offer_as_eve("ada", author, vec![scenario.unit("basil", author, row)]).await;
    scenario.converge().await;
    let before = scenario.group("ada").log().await.unwrap();

    let (network, clock) = (scenario.net.network(), scenario.net.clock());
    let stranger = HandmadePeer::dial(network, clock, identity(EVE), "memory://ada").await;
    let mut eve = HandmadeMember::open(stranger, scenario.id).await;
    eve.run().await;
    let cut = Some(ManifestRef { root: root(&[]), entries: 0 });
    let user = identity(EVE).user();
    let body = Body::RevokeDevice { user, device: author.device, cut };
    let (group, parents) = (scenario.id, eve.ledger.heads());
    let bomb = Op { version: 1, group, parents, author: user, by: By::User, body };
    let user = SigningKey::from_seed(schema::id::hash("user", &[&[EVE]]));
    let bomb = Signed::sign(bomb, &user).envelope().clone();
    let why = eve.ledger.admit(bomb.clone()).unwrap_err();
    assert!(matches!(why, OpRefusal::Invalid { why: Invalid::Rank { rank: Writer }, .. }), "{why:?}");
    let (certificates, revocations, records) = (Vec::new(), Vec::new(), Vec::new());
    let push = LedgerFrame::Push { ops: vec![bomb], certificates, revocations, records, last: false };
    eve.send(GroupFrame::Ledger(push)).await;
    scenario.net.sleep(Duration::from_secs(60)).await;

    scenario.converge().await;
    assert_eq!(scenario.group("ada").log().await.unwrap(), before);
    scenario.assert_rows(&["ada", "ben"], [("basil", "water it")]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_17_a_readers_changes_are_refused_under_their_own_and_any_other_grant() {
    let mut scenario = Scenario::with_eve(17, [("ben", Writer)], Reader).await;
    scenario.write("ben", "soap", "make it").await;
    scenario.converge().await;
    let own = scenario.grant_of(identity(EVE).user()).await;
    let bens = scenario.grant_of(scenario.user("ben")).await;
    let founders = OpId(scenario.id.0);

    for (key, grant) in [("basil", own), ("rope", bens), ("soap", founders)] {
        let author = scenario.eve_author(grant);
        let row = changes(&mut row_document(scenario.replica(key, author), "by eve"));
        let refused = scenario.offer_as_eve("ada", author, vec![scenario.unit(key, author, row)]).await;
        let (document, why) = refused.last().unwrap();
        assert_eq!(*document, scenario.document(key));
        let expected =
            if grant == own { Refusal::NotAllowed { author } } else { Refusal::UnknownAuthor { author } };
        assert_eq!(*why, expected, "under {grant}");
    }

    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben"], [("soap", "make it")]);
    assert_eq!(scenario.group("ada").status().await.unwrap().documents, 1);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_18_a_signature_for_one_row_is_refused_in_another_row_or_group() {
    let mut scenario = Scenario::with_eve(18, [("ben", Writer)], Writer).await;
    scenario.write("ben", "basil", "water it").await;
    scenario.converge().await;
    let club = scenario.peers["ada"].node().create_group("club").await.unwrap();
    for user in [scenario.user("ben"), identity(EVE).user()] {
        club.add_member(user, Writer).await.unwrap();
    }
    let eve = scenario.sync_as_eve("ada", scenario.id, ScriptedDocuments::default()).await;
    let [signed] = &eve.documents.units[..] else { panic!("{:?}", eve.documents.units) };
    let ben = scenario.peers["ben"].node().device_id();
    let author = (ben, scenario.grant_of(scenario.user("ben")).await);

    let rope = Unit { document: scenario.document("rope"), key: "rope".into(), ..signed.clone() };
    let mut documents = ScriptedDocuments::of(author.0, author.1);
    documents.offer(rope);
    scenario.sync_as_eve("ada", scenario.id, documents).await;
    let refused = scenario.group("ada").status().await.unwrap().refusals;
    let is_it = |refused: &(DocumentId, Refusal)| *refused == (scenario.document("rope"), Refusal::Unvouched);
    assert!(!refused.is_empty() && refused.iter().all(is_it), "{refused:?}");
    let mut documents = ScriptedDocuments::of(author.0, author.1);
    documents.offer(Unit { document: DocumentId::of(club.id(), "tasks", "basil"), ..signed.clone() });
    scenario.sync_as_eve("ada", club.id(), documents).await;
    assert_eq!(club.status().await.unwrap().refusals.last().unwrap().1, Refusal::Unvouched);

    assert!(club.table(TASKS).list().unwrap().is_empty());
    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben"], [("basil", "water it")]);
    scenario.close().await;
}

/// The name of a malformed change, its bytes for a given replica, and the refusal expected for it.
type Malformed = (&'static str, fn(ReplicaId) -> Vec<Vec<u8>>, fn(&Refusal) -> bool);

fn first(replica: ReplicaId) -> Raw {
    Raw::puts(replica, 1, 1, Vec::new(), 2)
}

const MISSING: ChangeHash = ChangeHash([0xee; 32]);

const MALFORMED: [Malformed; 8] = [
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
        // Compressed chunks are refused unread, whatever their size.
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
async fn scenario_20_each_malformed_change_is_refused_by_its_own_check_and_no_node_fails() {
    let mut scenario = Scenario::with_eve(20, [("ben", Writer)], Writer).await;
    let author = scenario.eve_author(scenario.grant_of(identity(EVE).user()).await);

    for (number, (what, malformed, is_it)) in MALFORMED.into_iter().enumerate() {
        let key = format!("malformed {number}");
        let malformed = malformed(scenario.replica(&key, author));
        let mut documents = ScriptedDocuments::of(author.device, author.grant);
        // An unreadable change cannot be parsed for its mark, so it is offered under a mark that no change
        // has.
        documents.offer_blind(scenario.unit(&key, author, malformed));
        scenario.sync_as_eve("ada", scenario.id, documents).await;
        let refused = scenario.group("ada").status().await.unwrap().refusals;
        // Offered repeatedly, because the hash decides which change of the first offer is judged first.
        let of_this: Vec<_> = refused.iter().filter(|(id, _)| *id == scenario.document(&key)).collect();
        assert!(of_this.last().is_some_and(|(_, refusal)| is_it(refusal)), "{what}: {of_this:?}");
        scenario.write("ada", "basil", what).await;
        // Repeated faults disconnect eve for an hour.
        scenario.net.sleep(Duration::from_secs(60 * 60)).await;
    }

    scenario.converge().await;
    let readable = |name: &str| scenario.rows(name).len();
    assert_eq!((readable("ada"), readable("ben")), (1, 1));
    assert!(scenario.group("ada").status().await.unwrap().quarantined.is_empty());
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_keeps_sending_universally_invalid_changes_is_disconnected_for_an_hour() {
    let mut scenario = Scenario::with_eve(120, [("ben", Writer)], Writer).await;
    let author = scenario.eve_author(scenario.grant_of(identity(EVE).user()).await);
    // No roster allows it, so the roster that she claims does not matter.
    let documents = |unit| {
        let mut documents = ScriptedDocuments::of(author.device, author.grant);
        documents.offer(unit);
        documents
    };

    for number in 0..3 {
        let key = format!("malformed {number}");
        let malformed = Raw::puts(scenario.replica(&key, author), 1, 77, Vec::new(), 2).chunk();
        scenario
            .sync_as_eve("ada", scenario.id, documents(scenario.unit(&key, author, vec![malformed])))
            .await;
    }
    let row = changes(&mut row_document(scenario.replica("basil", author), "water it"));
    let good = scenario.unit("basil", author, row);
    assert!(scenario.is_eve_barred_by("ada").await);
    scenario.assert_rows(&["ada"], []);

    scenario.net.sleep(Duration::from_secs(60 * 60)).await;
    scenario.sync_as_eve("ada", scenario.id, documents(good)).await;
    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben"], [("basil", "water it")]);
    scenario.close().await;
}

/// Honest peers with different rosters once disconnected each other after a removal became void.
#[tokio::test(start_paused = true)]
async fn a_change_refused_under_one_roster_is_a_fault_only_for_a_sender_with_the_same_roster() {
    for is_same in [false, true] {
        let scenario = Scenario::with_eve(121, [("ben", Writer)], Reader).await;
        scenario.write("ada", "basil", "water it").await;
        let author = scenario.eve_author(scenario.grant_of(identity(EVE).user()).await);
        let eve = scenario.sync_as_eve("ada", scenario.id, ScriptedDocuments::default()).await;
        // Each unit is offered twice on a link; the third refusal bars the device.
        for number in 0..2 {
            let key = format!("malformed {number}");
            let row = changes(&mut row_document(scenario.replica(&key, author), "eat it"));
            let mut documents = ScriptedDocuments::of(author.device, author.grant);
            documents.state = if is_same { eve.ledger.roster().state_digest() } else { [0; 32] };
            documents.offer(scenario.unit(&key, author, row));
            scenario.sync_as_eve("ada", scenario.id, documents).await;
        }
        let refused = scenario.group("ada").status().await.unwrap().refusals;
        assert!(refused.iter().all(|(_, refusal)| matches!(refusal, Refusal::NotAllowed { .. })));
        assert!(refused.len() >= 3, "{refused:?}");

        assert_eq!(scenario.is_eve_barred_by("ada").await, is_same);
        scenario.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_reported_by_peers_displace_no_local_refusals() {
    let scenario = Scenario::with_eve(122, [("ben", Writer)], Reader).await;
    let author = scenario.eve_author(scenario.grant_of(identity(EVE).user()).await);
    let row = changes(&mut row_document(scenario.replica("basil", author), "eat it"));
    let mut documents = ScriptedDocuments::of(author.device, author.grant);
    documents.offer(scenario.unit("basil", author, row));
    let mut eve = scenario.sync_as_eve("ada", scenario.id, documents).await;

    let why = Refusal::Unreadable { what: "x".repeat(2_000) };
    let others = (1..100).map(|number| format!("rope {number}"));
    let keys = others.chain(["rope".to_owned()]);
    let refused = keys.map(|key| (scenario.document(&key), why.clone())).collect();
    let bytes = codec::encode(&SessionFrame::Ack { number: 0, refused });
    eve.send(GroupFrame::Part(Part { more: false, bytes })).await;
    eve.run().await;

    let status = scenario.group("ada").status().await.unwrap();
    assert!(status.refusals.iter().any(|(_, refusal)| matches!(refusal, Refusal::NotAllowed { .. })));
    assert_eq!(status.refused_by_peers.len(), 64);
    let explained = scenario.group("ada").explain("tasks", "rope").await.unwrap();
    assert!(explained.refusals.is_empty());
    let [Refusal::Unreadable { what }, ..] = &explained.refused_by_peers[..] else { panic!("{explained:?}") };
    assert_eq!(what.len(), 256);
    scenario.close().await;
}
