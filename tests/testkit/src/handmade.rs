//! A peer made by hand above a [link](crate::link): no actors, no store, and it sends any frame that a test
//! wants.

mod flood;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use actors::clock::Clock;
use actors::transport::Transport;
use actors::transport::memory::MemoryNetwork;
use schema::change::ChangeHeader;
use schema::device::DeviceIdentity;
use schema::digest::{Digest, Mark};
use schema::handshake::{LinkRole, Terms};
use schema::ledger::Ledger;
use schema::session::ledger::{AdmitOutcome, LedgerEffect, LedgerSession, ManifestStore};
use schema::session::{Documents, Effect, Input, Session, SessionSide, Supply, Wanted};
use schema::wire::group::{self, Assembly, GroupFrame};
use schema::wire::hello::{self, Hello, HelloGroup};
use schema::wire::ledger::LedgerFrame;
use schema::wire::link::LinkFrame;
use schema::wire::session::{SessionFrame, Unit, Units};
use schema::wire::sync_message::SyncMessage;
use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId};

pub use crate::identity::{device_of, identity, user_key};
use crate::link::{HandmadeLink, HandmadeStream};

/// A link with a node, past the handshake.
pub struct HandmadePeer {
    /// The device.
    pub identity: DeviceIdentity,
    /// The time after which [`receive`](Self::receive) gives up.
    pub patience: Duration,
    clock: Clock,
    /// The link.
    pub link: HandmadeLink,
}

impl HandmadePeer {
    /// Dials a node on a virtual network.
    pub async fn dial(network: &MemoryNetwork, clock: &Clock, identity: DeviceIdentity, to: &str) -> Self {
        Self::try_dial(&network.host("stranger"), clock, identity, to).await.unwrap()
    }

    /// Dials a node; none if it takes no link.
    pub async fn try_dial(
        transport: &impl Transport,
        clock: &Clock,
        identity: DeviceIdentity,
        to: &str,
    ) -> Option<Self> {
        let stream = HandmadeStream { stream: transport.dial(to).await.ok()? };
        let (terms, random) = (Terms::default(), clock.random_bytes());
        let link = stream.try_complete(identity.clone(), terms, random, |_| {}).await?;
        Some(Self { identity, patience: Duration::from_secs(60), clock: clock.clone(), link })
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &LinkFrame) {
        // The node may have ended the link: then `receive` returns none.
        let _ = self.link.try_send(&frame.encode()).await;
    }

    /// Returns the next frame other than a ping; none when the link has ended or `patience` runs out.
    pub async fn receive(&mut self) -> Option<LinkFrame> {
        let (clock, patience) = (self.clock.clone(), self.patience);
        let next = async {
            loop {
                match LinkFrame::decode(&self.link.receive().await?).unwrap() {
                    LinkFrame::Ping { nonce } => self.send(&LinkFrame::Pong { nonce }).await,
                    frame => return Some(frame),
                }
            }
        };
        // A timeout loses nothing: a frame arrives whole or not at all.
        clock.timeout(patience, next).await.ok()?
    }

    /// Receives frames until the link ends or `patience` runs out.
    pub async fn frames_until_silence(&mut self) -> Vec<LinkFrame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.receive().await {
            frames.push(frame);
        }
        frames
    }

    /// Announces a group; this peer need not be a member.
    pub async fn announce(&mut self, group: GroupId) {
        let token = hello::token(group, &self.link.established.h, LinkRole::Initiator);
        self.send(&LinkFrame::Hello(Hello { groups: vec![HelloGroup { token, hash: [0; 32] }] })).await;
    }
}

/// The documents of a handmade member: units as they arrived, and units that a test adds. No admission.
#[derive(Default)]
pub struct ScriptedDocuments {
    digest: Digest,
    marks: BTreeMap<DocumentId, Vec<Mark>>,
    /// Units that a test added.
    pub own: BTreeMap<DocumentId, Unit>,
    /// The authors that its Units frames name.
    pub authors: Vec<(DeviceId, OpId)>,
    /// Units of the node, in order of arrival.
    pub units: Vec<Unit>,
    /// The membership state that its Units frames name.
    pub state: [u8; 32],
}

impl ScriptedDocuments {
    /// No documents; Units frames name one author.
    pub fn of(device: DeviceId, grant: OpId) -> Self {
        Self { authors: vec![(device, grant)], ..Self::default() }
    }

    /// Adds a unit of this peer's own.
    pub fn offer(&mut self, unit: Unit) {
        self.set_marks(&unit);
        self.own.insert(unit.document, unit);
    }

    /// Adds a unit that may be malformed, under an invented mark.
    pub fn offer_blind(&mut self, unit: Unit) {
        let document = unit.document;
        let mark = Mark { replica: ReplicaId(document.0), seq: 1, change: ChangeHash(document.0) };
        self.digest.set(document, &[mark]);
        self.marks.insert(document, vec![mark]);
        self.own.insert(document, unit);
    }

    fn set_marks(&mut self, unit: &Unit) {
        let marks = self.marks.entry(unit.document).or_default();
        for change in SyncMessage::decode(&unit.message).unwrap().changes {
            let ChangeHeader { replica, seq, hash: change, .. } = ChangeHeader::read(&change).unwrap();
            marks.retain(|mark| mark.replica != replica);
            marks.push(Mark { replica, seq, change });
            marks.sort_unstable();
        }
        self.digest.set(unit.document, marks);
    }
}

impl Documents for ScriptedDocuments {
    type Error = Infallible;

    fn digest(&mut self) -> &mut Digest {
        &mut self.digest
    }

    fn state(&mut self) -> [u8; 32] {
        self.state
    }

    fn marks(&mut self, document: DocumentId) -> Result<Vec<Mark>, Infallible> {
        Ok(self.marks.get(&document).cloned().unwrap_or_default())
    }

    fn supply(&mut self, wanted: Vec<Wanted>, _: usize) -> Result<Supply, Infallible> {
        let units = wanted.iter().filter_map(|wanted| self.own.get(&wanted.document).cloned()).collect();
        Ok(Supply { authors: self.authors.clone(), units, ..Supply::default() })
    }
}

/// A store without manifests; every op is admitted without its pages.
struct Pages;

impl ManifestStore for Pages {
    type Error = Infallible;

    fn list(&mut self, _: &[u8; 32]) -> Result<Option<Vec<[u8; 32]>>, Infallible> {
        Ok(None)
    }

    fn page(&mut self, _: &[u8; 32]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(None)
    }
}

/// A handmade peer that is a member of a group: it stores the ledger and runs both sessions.
pub struct HandmadeMember {
    /// The link.
    pub peer: HandmadePeer,
    /// The ledger.
    pub ledger: Ledger,
    /// The documents.
    pub documents: ScriptedDocuments,
    /// Refusals by the node.
    pub refused: Vec<(DocumentId, schema::document::Refusal)>,
    ledger_session: LedgerSession,
    /// Answers each Summary with the node's own hash and ignores other ledger frames.
    ignores_ledger: bool,
    session: Option<Session>,
    channel: u32,
    assembly: Assembly,
}

impl HandmadeMember {
    /// Opens the group with a node that knows this user as a member, and pushes this device's certificate.
    pub async fn open(peer: HandmadePeer, group: GroupId) -> Self {
        let mut member = Self::open_channel(peer, group, false).await.unwrap();
        let (ledger_session, effects) = LedgerSession::open(false, &member.ledger);
        member.ledger_session = ledger_session;
        let certificates = vec![member.peer.identity.certificate.envelope().clone()];
        let push = LedgerSession::push(Vec::new(), certificates, Vec::new(), Vec::new());
        let push = push.into_iter().map(LedgerEffect::Send).collect();
        member.perform_ledger([effects, push].concat()).await;
        member
    }

    /// Opens the group with a node that knows this user as a member, without a ledger session.
    pub async fn open_without_ledger(peer: HandmadePeer, group: GroupId) -> Self {
        Self::try_open_without_ledger(peer, group).await.unwrap()
    }

    /// Opens the group without a ledger session; none if the link ends before.
    pub async fn try_open_without_ledger(peer: HandmadePeer, group: GroupId) -> Option<Self> {
        Self::open_channel(peer, group, true).await
    }

    async fn open_channel(mut peer: HandmadePeer, group: GroupId, ignores_ledger: bool) -> Option<Self> {
        peer.announce(group).await;
        let token = hello::token(group, &peer.link.established.h, LinkRole::Responder);
        let mut announced = Vec::new();
        let channel = loop {
            if let Some(channel) = announced.iter().position(|theirs: &HelloGroup| theirs.token == token) {
                break u32::try_from(channel).unwrap();
            }
            match peer.receive().await? {
                LinkFrame::Hello(hello) => announced.extend(hello.groups),
                LinkFrame::Present { .. } => {}
                LinkFrame::Bye { .. } => return None,
                other => panic!("{other:?}"),
            }
        };
        Some(Self {
            peer,
            ledger: Ledger::new(group),
            documents: ScriptedDocuments::default(),
            refused: Vec::new(),
            ledger_session: LedgerSession::default(),
            ignores_ledger,
            session: None,
            channel,
            assembly: Assembly::default(),
        })
    }

    /// Receives and answers frames until the node is silent.
    pub async fn run(&mut self) {
        while let Some(frame) = self.peer.receive().await {
            if let LinkFrame::Group { body, .. } = frame {
                match GroupFrame::decode(&body).unwrap() {
                    GroupFrame::Ledger(LedgerFrame::Summary { hash }) if self.ignores_ledger => {
                        let agreed = LedgerEffect::OpenDocuments { in_sync: false };
                        self.perform_ledger(vec![LedgerEffect::Send(LedgerFrame::Summary { hash }), agreed])
                            .await;
                    }
                    GroupFrame::Ledger(_) if self.ignores_ledger => {}
                    GroupFrame::Ledger(frame) => {
                        let (now, mut none) = (self.peer.clock.moment(), Pages);
                        let effects = self.ledger_session.handle_frame(now, frame, &self.ledger, &mut none);
                        self.perform_ledger(effects.unwrap()).await;
                    }
                    GroupFrame::Part(part) => {
                        if let Some(frame) = self.assembly.push(part).unwrap() {
                            self.step(Input::Frame(frame)).await;
                        }
                    }
                }
            }
        }
    }

    async fn perform_ledger(&mut self, effects: Vec<LedgerEffect>) {
        let mut effects = std::collections::VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                LedgerEffect::Send(frame) => self.send(GroupFrame::Ledger(frame)).await,
                LedgerEffect::Admit { ops, certificates, revocations, records, last } => {
                    for op in ops {
                        self.ledger.admit(op).unwrap();
                    }
                    for certificate in certificates {
                        self.ledger.admit_certificate(certificate).unwrap();
                    }
                    for revocation in revocations {
                        self.ledger.admit_revocation(revocation).unwrap();
                    }
                    for record in records {
                        self.ledger.admit_record(record).unwrap();
                    }
                    let (now, outcome) =
                        (self.peer.clock.moment(), AdmitOutcome { last, pending: Vec::new() });
                    effects.extend(
                        self.ledger_session.handle_admitted(now, outcome, &self.ledger, &mut Pages).unwrap(),
                    );
                }
                other @ (LedgerEffect::StoreList { .. }
                | LedgerEffect::StorePage { .. }
                | LedgerEffect::Attach { .. }
                | LedgerEffect::ScheduleResume) => panic!("{other:?}"),
                LedgerEffect::OpenDocuments { in_sync } => {
                    let clock = &self.peer.clock;
                    let side = SessionSide { initiator: true, incarnation: clock.random_u64() };
                    let (session, effects) =
                        Session::open(clock.moment(), side, in_sync, &mut self.documents).unwrap();
                    self.session = Some(session);
                    self.perform(effects).await;
                }
            }
        }
    }

    async fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let now = self.peer.clock.moment();
            let session = self.session.as_mut().unwrap();
            let effects = session.step(now, input, &mut self.documents).unwrap();
            inputs.extend(Box::pin(self.perform(effects)).await);
        }
    }

    /// Performs effects; returns the inputs that follow from them.
    async fn perform(&mut self, effects: Vec<Effect>) -> Vec<Input> {
        let mut inputs = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send(frame) => self.send_session(&frame).await,
                Effect::Apply(Units { number, units, .. }) => {
                    for unit in units {
                        self.documents.set_marks(&unit);
                        self.documents.units.push(unit);
                    }
                    inputs.push(Input::Applied { number, refused: Vec::new() });
                }
                Effect::Refused(refused) => self.refused.extend(refused),
                Effect::Continue => inputs.push(Input::Continue),
                Effect::Synced => {}
            }
        }
        inputs
    }

    async fn send_session(&mut self, frame: &SessionFrame) {
        for part in group::parts(frame) {
            self.send(GroupFrame::Part(part)).await;
        }
    }

    /// Sends a frame of the group.
    pub async fn send(&mut self, frame: GroupFrame) {
        self.peer.send(&LinkFrame::Group { channel: self.channel, body: frame.encode() }).await;
    }
}
