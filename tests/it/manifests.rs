//! An op that names a manifest takes effect only once every page of it has arrived, from any peer.

use std::time::Duration;

use actors::clock::Clock;
use actors::transport::memory::MemoryNetwork;
use peerbase::{Group, Node, Role, UserId};
use schema::key::Signature;
use schema::ledger::manifest::{Entry, Page, PageGroup, page_hash, root};
use schema::ledger::{Body, By, ManifestRef, Op};
use schema::signed::{Envelope, Signed};
use schema::wire::group::GroupFrame;
use schema::wire::ledger::LedgerFrame;
use schema::wire::link::{ByeReason, LinkFrame};
use schema::{ChangeHash, DeviceId, DocumentId, OpId};

use crate::support::handmade::{HandmadeMember, HandmadePeer, identity};

/// A member without a node.
const PIA: UserId = UserId([9; 32]);

/// Ada's node, and a network on which the test acts as the Admin ben with a hand-made peer.
struct Meeting {
    network: MemoryNetwork,
    clock: Clock,
    _ada: Node,
    home: Group,
}

impl Meeting {
    async fn new() -> Self {
        let clock = Clock::simulated(1);
        let network = MemoryNetwork::seeded(clock.clone(), 1).latency_ms(1..20);
        let ada = Node::in_memory_builder().network(&network, "ada").open().await.unwrap();
        ada.listen("memory://ada").await.unwrap();
        let home = ada.create_group("home").await.unwrap();
        home.add_member(identity(2).user(), Role::Admin).await.unwrap();
        home.add_member(PIA, Role::Writer).await.unwrap();
        Self { network, clock, _ada: ada, home }
    }

    /// Links to ada as ben and processes all that ada sends.
    async fn ben(&self) -> HandmadeMember {
        let link = HandmadePeer::dial(&self.network, &self.clock, identity(2), "memory://ada").await;
        let mut ben = HandmadeMember::open(link, self.home.id()).await;
        ben.run().await;
        ben
    }

    fn has_pia(&self) -> bool {
        self.home.members().iter().any(|member| member.user == PIA && member.role > Role::None)
    }

    async fn until_pia_is_gone(&self) {
        for _ in 0..1_000 {
            if !self.has_pia() {
                return;
            }
            self.clock.sleep(Duration::from_millis(10)).await;
        }
        panic!("pia is still a member");
    }
}

/// A manifest of two pages.
fn manifest() -> (ManifestRef, Vec<[u8; 32]>, [Vec<u8>; 2]) {
    let pages = [1, 2].map(|number| {
        let (document, change) = (DocumentId([number; 32]), ChangeHash([number; 32]));
        let entries = vec![Entry { document, seq: 1, change, signature: Signature([0; 64]) }];
        let (device, grant) = (DeviceId([number; 32]), OpId([0; 32]));
        Page { groups: vec![PageGroup { device, grant, incarnation: 0, entries }] }.encode()
    });
    let hashes = pages.iter().map(|page| page_hash(page)).collect::<Vec<_>>();
    (ManifestRef { root: root(&hashes), entries: 2 }, hashes, pages)
}

/// Ben's signed op that removes pia.
fn removal(ben: &HandmadeMember, cut: ManifestRef) -> Envelope {
    let ben_is = &ben.peer.identity;
    let by = By::Device(ben_is.certificate.envelope().clone());
    let body = Body::SetRole { user: PIA, role: Role::None, cut: Some(cut), via: None };
    let op = ben.ledger.draft(ben_is.user(), by, body).unwrap();
    Signed::<Op>::sign(op, &ben_is.signing).envelope().clone()
}

async fn push(ben: &mut HandmadeMember, op: Envelope) {
    let push = LedgerFrame::Push {
        ops: vec![op],
        certificates: Vec::new(),
        revocations: Vec::new(),
        records: Vec::new(),
        last: false,
    };
    ben.send(GroupFrame::Ledger(push)).await;
}

/// The next ledger frame from ada.
async fn heard(ben: &mut HandmadeMember) -> LedgerFrame {
    loop {
        if let LinkFrame::Group { body, .. } = ben.peer.receive().await.unwrap()
            && let GroupFrame::Ledger(frame) = GroupFrame::decode(&body).unwrap()
        {
            return frame;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_op_waits_for_every_manifest_page_and_received_pages_outlive_the_link() {
    let meeting = Meeting::new().await;
    let (cut, hashes, [first, second]) = manifest();
    let mut ben = meeting.ben().await;
    let removal = removal(&ben, cut);

    push(&mut ben, removal.clone()).await;
    assert_eq!(heard(&mut ben).await, LedgerFrame::WantPages { root: cut.root });
    ben.send(GroupFrame::Ledger(LedgerFrame::Pages { root: cut.root, pages: hashes.clone() })).await;
    for page in &hashes {
        assert_eq!(heard(&mut ben).await, LedgerFrame::WantPage { page: *page });
    }
    ben.send(GroupFrame::Ledger(LedgerFrame::Page { bytes: first })).await;
    // Ada gives up on the missing page.
    let end = loop {
        if let Some(LinkFrame::Bye { reason }) = ben.peer.receive().await {
            break reason;
        }
    };
    assert_eq!((end, meeting.has_pia()), (ByeReason::Protocol, true));

    let mut ben = meeting.ben().await;
    push(&mut ben, removal).await;
    assert_eq!(heard(&mut ben).await, LedgerFrame::WantPage { page: hashes[1] });
    assert!(meeting.has_pia());
    ben.send(GroupFrame::Ledger(LedgerFrame::Page { bytes: second.clone() })).await;
    meeting.until_pia_is_gone().await;

    // Ada now serves the manifest to peers herself.
    ben.send(GroupFrame::Ledger(LedgerFrame::WantPages { root: cut.root })).await;
    assert_eq!(heard(&mut ben).await, LedgerFrame::Pages { root: cut.root, pages: hashes.clone() });
    ben.send(GroupFrame::Ledger(LedgerFrame::WantPage { page: hashes[1] })).await;
    assert_eq!(heard(&mut ben).await, LedgerFrame::Page { bytes: second });
    ben.send(GroupFrame::Ledger(LedgerFrame::WantPage { page: [7; 32] })).await;
    assert_eq!(heard(&mut ben).await, LedgerFrame::Lacking { name: [7; 32] });
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_names_an_invalid_manifest_is_disconnected() {
    let meeting = Meeting::new().await;
    let (cut, hashes, pages) = manifest();
    let mut ben = meeting.ben().await;
    let removal = removal(&ben, ManifestRef { entries: 3, ..cut });

    push(&mut ben, removal).await;
    heard(&mut ben).await;
    ben.send(GroupFrame::Ledger(LedgerFrame::Pages { root: cut.root, pages: hashes })).await;
    for bytes in pages {
        heard(&mut ben).await;
        ben.send(GroupFrame::Ledger(LedgerFrame::Page { bytes })).await;
    }

    let bye = loop {
        if let Some(LinkFrame::Bye { reason }) = ben.peer.receive().await {
            break reason;
        }
    };
    assert_eq!((bye, meeting.has_pia()), (ByeReason::Protocol, true));
}
