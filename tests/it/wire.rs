//! The bytes of a link, received by a handmade peer: any Automerge tool understands our rows, and
//! who is no member learns nothing.

use std::collections::BTreeMap;

use actors::clock::Clock;
use actors::transport::memory::MemoryNetwork;
use automerge::sync::{self, SyncDoc};
use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, ROOT, ReadDoc};
use peerbase::{Group, Node, Role, TableName, Text};
use schema::change::ChangeHeader;
use schema::device::DeviceIdentity;
use schema::document::Refusal;
use schema::key::SigningKey;
use schema::tip::{Author, Tip};
use schema::wire::hello::Hello;
use schema::wire::link::{ByeReason, LinkFrame};
use schema::wire::session::{Unit, UnitTip};
use schema::wire::sync_message::SyncMessage;
use schema::{DeviceId, DocumentId, ReplicaId, UserId};
use serde::{Deserialize, Serialize};

use crate::support::handmade::{HandmadeMember, HandmadePeer, identity};
use crate::support::{TASKS, Task, task};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    body: Text,
    tags: Vec<String>,
}

const NOTES: TableName<Note> = TableName::new("notes");

/// Ada's node on a network, with a group.
async fn ada() -> (MemoryNetwork, Clock, Node, Group) {
    let clock = Clock::simulated(1);
    let network = MemoryNetwork::seeded(clock.clone(), 1).latency_ms(1..20);
    let ada = Node::in_memory_builder().network(&network, "ada").open().await.unwrap();
    ada.listen("memory://ada").await.unwrap();
    let home = ada.create_group("home").await.unwrap();
    (network, clock, ada, home)
}

async fn dial(network: &MemoryNetwork, clock: &Clock, identity: DeviceIdentity) -> HandmadePeer {
    HandmadePeer::dial(network, clock, identity, "memory://ada").await
}

#[tokio::test(start_paused = true)]
async fn an_unmodified_automerge_peer_takes_what_we_send_and_reaches_the_same_heads() {
    let (network, clock, _ada, home) = ada().await;
    let ben = identity(2);
    home.add_member(ben.user(), Role::Reader).await.unwrap();
    home.table(TASKS).put("a", &task("basil")).await.unwrap();
    for count in 0..300 {
        home.table(TASKS).update("a", |task| task.title = format!("basil {count}")).await.unwrap();
    }
    let note = Note { body: "wörld".into(), tags: vec!["a".into()] };
    home.table(NOTES).put("n", &note).await.unwrap();
    home.table(TASKS).put("large", &task(&"x".repeat(3 << 20))).await.unwrap();

    let mut ben = HandmadeMember::open(dial(&network, &clock, ben).await, home.id()).await;
    ben.run().await;
    // And what comes live, change by change.
    home.table(NOTES).update("n", |note| note.body.push_str("!")).await.unwrap();
    home.table(TASKS).remove("a").await.unwrap();
    ben.run().await;

    let mut documents: BTreeMap<(String, String), (AutoCommit, sync::State)> = BTreeMap::new();
    for unit in &ben.documents.units {
        let place = (unit.table.clone(), unit.key.clone());
        let (document, state) =
            documents.entry(place).or_insert_with(|| (AutoCommit::new(), sync::State::new()));
        let message = sync::Message::decode(&unit.message).unwrap();
        document.sync().receive_sync_message(state, message).unwrap();
    }
    let heads = |(document, _): &mut (AutoCommit, sync::State)| {
        document.get_heads().iter().map(|head| head.0).collect::<Vec<[u8; 32]>>()
    };
    let ours = |heads: &[peerbase::ChangeHash]| heads.iter().map(|head| head.0).collect::<Vec<_>>();
    assert_eq!(documents.len(), 3);
    let at = |table: &str, key: &str| (table.to_owned(), key.to_owned());
    let note = documents.get_mut(&at("notes", "n")).unwrap();
    assert_eq!(heads(note), ours(home.table(NOTES).get_row("n").unwrap().unwrap().heads()));
    let (_, body) = note.0.get(ROOT, "body").unwrap().unwrap();
    assert_eq!(note.0.text(&body).unwrap(), "wörld!");
    let large = documents.get_mut(&at("tasks", "large")).unwrap();
    assert_eq!(heads(large), ours(home.table(TASKS).get_row("large").unwrap().unwrap().heads()));
    let removed = documents.get_mut(&at("tasks", "a")).unwrap();
    assert_eq!(heads(removed), ours(&home.table(TASKS).history("a").await.unwrap().last().unwrap().heads));
    let (mark, _) = removed.0.get(ROOT, "$removed").unwrap().unwrap();
    assert_eq!(mark.as_bool(), Some(true));
}

/// A change that plain Automerge makes under the replica id of a device, and what vouches for it.
fn change(
    member: &HandmadeMember,
    key: &str,
    by: (&DeviceIdentity, UserId),
    signer: &SigningKey,
) -> (Unit, Author) {
    let (identity, user) = by;
    let group = member.ledger.group();
    let document = DocumentId::of(group, "tasks", key);
    let grant = member.ledger.roster().grant(user).unwrap();
    let author = Author { device: identity.device(), grant, incarnation: 7 };
    let replica = ReplicaId::of(group, document, author.device, grant, author.incarnation);
    let mut written = AutoCommit::new().with_actor(ActorId::from(replica.0));
    written.put(ROOT, "title", "made by hand").unwrap();
    written.put(ROOT, "done", false).unwrap();
    written.commit();
    let bytes = written.get_last_local_change().unwrap().raw_bytes().to_vec();
    let header = ChangeHeader::read(&bytes).unwrap();
    let signs = Author { device: DeviceId(signer.public()), ..author };
    let tip = Tip::sign(group, document, signs, header.seq, header.hash, signer);
    let tip = UnitTip { author: 0, incarnation: author.incarnation, seq: tip.seq, signature: tip.signature };
    let message = SyncMessage { heads: vec![header.hash], need: Vec::new(), changes: vec![bytes] }.encode();
    let (table, key) = ("tasks".to_owned(), key.to_owned());
    (Unit { document, table, key, tips: vec![tip], message }, author)
}

/// Ben, with a role in Ada's group, offers one change; what became of it.
async fn offer(
    role: Role,
    forge: impl FnOnce(&HandmadeMember, &DeviceIdentity) -> (Unit, Author),
) -> (Vec<Task>, Vec<Refusal>) {
    let (network, clock, _ada, home) = ada().await;
    let ben = identity(2);
    home.add_member(ben.user(), role).await.unwrap();
    let mut member = HandmadeMember::open(dial(&network, &clock, ben.clone()).await, home.id()).await;
    member.run().await;

    let (unit, author) = forge(&member, &ben);
    member.documents.authors = vec![(author.device, author.grant)];
    member.documents.offer(unit);
    let mut again = HandmadeMember::open(dial(&network, &clock, ben).await, home.id()).await;
    again.documents = member.documents;
    again.run().await;

    let rows = home.table(TASKS).list().unwrap().into_iter().map(|(_, task)| task).collect();
    let refused = home.status().await.unwrap().refusals.into_iter().map(|(_, refusal)| refusal).collect();
    (rows, refused)
}

#[tokio::test(start_paused = true)]
async fn a_change_that_plain_automerge_made_is_a_row_once_its_device_vouches_for_it() {
    let (rows, refused) =
        offer(Role::Writer, |member, ben| change(member, "a", (ben, ben.user()), &ben.signing)).await;

    assert_eq!(rows, [task("made by hand")]);
    assert!(refused.is_empty(), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_readers_change_is_refused_by_who_receives_it() {
    let (rows, refused) =
        offer(Role::Reader, |member, ben| change(member, "a", (ben, ben.user()), &ben.signing)).await;

    assert_eq!(rows, []);
    assert!(matches!(refused[..], [Refusal::NotAllowed { .. }, ..]), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_in_the_name_of_another_device_is_refused() {
    let mallory = identity(3);
    let (rows, refused) =
        offer(Role::Writer, |member, ben| change(member, "a", (ben, ben.user()), &mallory.signing)).await;

    assert_eq!(rows, []);
    assert!(matches!(refused[..], [Refusal::BadTip { .. }, ..]), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_under_the_name_of_another_row_is_refused() {
    let forged = |member: &HandmadeMember, ben: &DeviceIdentity| {
        let (unit, author) = change(member, "a", (ben, ben.user()), &ben.signing);
        (Unit { key: "b".to_owned(), ..unit }, author)
    };
    let (rows, refused) = offer(Role::Writer, forged).await;

    assert_eq!(rows, []);
    assert!(matches!(refused[..], [Refusal::Misplaced, ..]), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stranger_who_knows_the_id_and_says_everything_hears_nothing() {
    let (network, clock, ada, home) = ada().await;
    home.table(TASKS).put("a", &task("basil")).await.unwrap();
    let mut mallory = dial(&network, &clock, identity(4)).await;
    let (forged, _) = schema::ledger::Ledger::personal(&SigningKey::from_seed([4; 32]));

    mallory.announce(home.id()).await;
    let ops = forged.envelopes().cloned().collect();
    mallory.send(&LinkFrame::Present { group: home.id(), ops, manifests: Vec::new() }).await;
    for channel in 0..3 {
        let pull = schema::wire::ledger::LedgerFrame::Pull(Default::default());
        let body = schema::wire::group::GroupFrame::Ledger(pull).encode();
        mallory.send(&LinkFrame::Group { channel, body }).await;
    }

    let mut heard = Vec::new();
    while let Some(frame) = mallory.receive().await {
        heard.push(frame);
    }
    // Neither a group nor a reason; the link does not outlive the time that a stranger has.
    let bye = LinkFrame::Bye { reason: ByeReason::NotAuthorized };
    assert_eq!(heard, [LinkFrame::Hello(Hello::default()), bye]);
    assert_eq!(home.members().len(), 1);
    assert_eq!(ada.groups().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nonsense_ends_the_link_and_nothing_else() {
    let (network, clock, _ada, home) = ada().await;
    let ben = identity(2);
    home.add_member(ben.user(), Role::Writer).await.unwrap();
    let mut rude = HandmadeMember::open(dial(&network, &clock, ben.clone()).await, home.id()).await;
    rude.run().await;

    rude.peer.send(&LinkFrame::Group { channel: 1, body: vec![0xff; 100] }).await;
    rude.peer.send(&LinkFrame::Group { channel: 0, body: vec![0xff; 100] }).await;
    let mut last = None;
    while let Some(frame) = rude.peer.receive().await {
        last = Some(frame);
    }

    assert!(matches!(last, Some(LinkFrame::Bye { .. })), "{last:?}");
    home.table(TASKS).put("a", &task("basil")).await.unwrap();
    let mut polite = HandmadeMember::open(dial(&network, &clock, ben).await, home.id()).await;
    polite.run().await;
    assert_eq!(polite.documents.units.len(), 1);
}
