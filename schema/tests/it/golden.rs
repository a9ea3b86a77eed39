//! The bytes of every frame and of every record that peers exchange, one table for each family.
//!
//! A row is a name, a value and its bytes in the notation of [`testkit::golden`]. A kind of frame without a
//! row fails.

use std::collections::BTreeSet;
use std::fmt::Debug;

use bincode::{Decode, Encode};
use data_encoding::HEXLOWER;
use peerbase_schema::codec::{self, DecodeError};
use peerbase_schema::digest::{Digest, Mark, Page, leaf};
use peerbase_schema::document::Refusal;
use peerbase_schema::handshake::LinkRole;
use peerbase_schema::key::{Signature, SigningKey};
use peerbase_schema::ledger::manifest::{self, Entry, PageGroup, page_hash, root};
use peerbase_schema::ledger::{Body, By, InviteProof, ManifestRef, Op, Role};
use peerbase_schema::limits::FRAME_BYTES_MAX;
use peerbase_schema::signed::{Envelope, Signed};
use peerbase_schema::tip::Author;
use peerbase_schema::wire::auth::Auth;
use peerbase_schema::wire::device::{DeviceCert, DeviceRecord, UserDeviceRevocation};
use peerbase_schema::wire::group::{GroupFrame, Part};
use peerbase_schema::wire::hello::{Hello, HelloGroup, invite_token, summary, token};
use peerbase_schema::wire::ledger::{LedgerFrame, Pull, PullCursor, SideHashes};
use peerbase_schema::wire::link::{ByeReason, DeclineReason, Join, LinkFrame};
use peerbase_schema::wire::session::{RootReason, SessionFrame, Unit, UnitTip, Units};
use peerbase_schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId, UserId};
use testkit::golden::check;

/// As [`check`], for an enum: its first byte is the kind, and each kind must have a row.
fn check_kinds<T: Encode + Decode<()> + Debug + PartialEq>(rows: Vec<(&str, T, &str)>) {
    let kinds: BTreeSet<u8> = check(rows).into_iter().map(|bytes| bytes[0]).collect();
    for kind in 0..=40 {
        let is_known = match codec::decode::<T>(&[kind], FRAME_BYTES_MAX) {
            Err(DecodeError::Malformed { what }) => !what.contains("UnexpectedVariant"),
            _ => true,
        };
        assert_eq!(is_known, kinds.contains(&kind), "kind {kind} has a row exactly if it can be decoded");
    }
}

fn signature() -> Signature {
    Signature([0xab; 64])
}

/// `02 0102 | ab*64`.
fn envelope() -> Envelope {
    Envelope { payload: vec![1, 2], signature: signature() }
}

#[test]
fn link_frames_keep_their_bytes() {
    let hello = |token: u8, hash: u8| HelloGroup { token: [token; 32], hash: [hash; 32] };
    let bye = |reason| LinkFrame::Bye { reason };
    let declined = |reason| LinkFrame::Declined { token: [1; 32], invite: [2; 32], reason };
    check_kinds(vec![
        (
            "auth",
            LinkFrame::Auth(Auth {
                certificate: envelope(),
                revocations: [2; 32],
                features: 9,
                signature: signature(),
            }),
            "00 | 02 0102 | ab*64 | 02*32 | 09 | ab*64",
        ),
        ("hello without groups", LinkFrame::Hello(Hello { groups: vec![] }), "01 | 00"),
        (
            "hello",
            LinkFrame::Hello(Hello { groups: vec![hello(1, 2), hello(3, 4)] }),
            "01 | 02 | 01*32 02*32 | 03*32 04*32",
        ),
        (
            "present",
            LinkFrame::Present {
                group: GroupId([1; 32]),
                ops: vec![envelope()],
                manifests: vec![vec![vec![7], vec![]], vec![]],
            },
            "02 | 01*32 | 01 | 02 0102 ab*64 | 02 | 02 01 07 00 | 00",
        ),
        ("group", LinkFrame::Group { channel: 300, body: vec![9, 8, 7] }, "03 | fb 2c01 | 03 090807"),
        ("ping", LinkFrame::Ping { nonce: 7 }, "04 | 07"),
        ("pong", LinkFrame::Pong { nonce: u64::MAX }, "05 | fd ffffffffffffffff"),
        ("bye: duplicate", bye(ByeReason::Duplicate), "06 | 00"),
        ("bye: shutdown", bye(ByeReason::Shutdown), "06 | 01"),
        ("bye: full", bye(ByeReason::Full), "06 | 02"),
        ("bye: protocol", bye(ByeReason::Protocol), "06 | 03"),
        ("bye: not authorized", bye(ByeReason::NotAuthorized), "06 | 04"),
        ("bye: disconnected", bye(ByeReason::Disconnected), "06 | 05"),
        ("bye: renew", bye(ByeReason::Renew), "06 | 06"),
        ("bye: displaced", bye(ByeReason::Displaced), "06 | 07"),
        (
            "join",
            LinkFrame::Join(Join { token: [2; 32], invite: [1; 32], signature: signature() }),
            "07 | 02*32 | 01*32 | ab*64",
        ),
        ("declined: closed", declined(DeclineReason::Closed), "08 | 01*32 | 02*32 | 00"),
        ("declined: used up", declined(DeclineReason::UsedUp), "08 | 01*32 | 02*32 | 01"),
        ("declined: expired", declined(DeclineReason::Expired), "08 | 01*32 | 02*32 | 02"),
        ("declined: removed", declined(DeclineReason::Removed), "08 | 01*32 | 02*32 | 03"),
    ]);
}

#[test]
fn group_frames_keep_their_bytes() {
    check_kinds(vec![
        ("ledger", GroupFrame::Ledger(LedgerFrame::Summary { hash: [1; 32] }), "00 | 00 01*32"),
        ("part", GroupFrame::Part(Part { more: true, bytes: vec![1, 2] }), "01 | 01 | 02 0102"),
        ("last part", GroupFrame::Part(Part { more: false, bytes: vec![] }), "01 | 00 | 00"),
    ]);
}

#[test]
fn ledger_frames_keep_their_bytes() {
    let sides = SideHashes { certificates: [2; 32], revocations: [2; 32], records: [2; 32] };
    let pull = |after| LedgerFrame::Pull(Pull { have: vec![OpId([1; 32])], sides, after });
    check_kinds(vec![
        ("summary", LedgerFrame::Summary { hash: [1; 32] }, "00 | 01*32"),
        ("pull after ops", pull(PullCursor::Ops(5)), "01 | 01 01*32 | 02*96 | 00 05"),
        (
            "pull after certificates",
            pull(PullCursor::Certificates(UserId([3; 32]))),
            "01 | 01 01*32 | 02*96 | 01 03*32",
        ),
        (
            "pull after revocations",
            pull(PullCursor::Revocations(UserId([3; 32]))),
            "01 | 01 01*32 | 02*96 | 02 03*32",
        ),
        (
            "pull after records",
            pull(PullCursor::Records(DeviceId([3; 32]))),
            "01 | 01 01*32 | 02*96 | 03 03*32",
        ),
        (
            "push",
            LedgerFrame::Push {
                ops: vec![envelope()],
                certificates: vec![],
                revocations: vec![envelope()],
                records: vec![],
                last: true,
            },
            "02 | 01 02 0102 ab*64 | 00 | 01 02 0102 ab*64 | 00 | 01",
        ),
        ("more", LedgerFrame::More { after: PullCursor::Ops(251) }, "03 | 00 fb fb00"),
        ("want pages", LedgerFrame::WantPages { root: [1; 32] }, "04 | 01*32"),
        ("pages", LedgerFrame::Pages { root: [1; 32], pages: vec![[2; 32]] }, "05 | 01*32 | 01 02*32"),
        ("want page", LedgerFrame::WantPage { page: [1; 32] }, "06 | 01*32"),
        ("page", LedgerFrame::Page { bytes: vec![1, 2, 3] }, "07 | 03 010203"),
        ("lacking", LedgerFrame::Lacking { name: [1; 32] }, "08 | 01*32"),
    ]);
}

#[test]
fn session_frames_keep_their_bytes() {
    let root = |reason| SessionFrame::Root { root: [1; 32], reason };
    let mark = Mark { replica: ReplicaId([3; 32]), seq: 300, change: ChangeHash([4; 32]) };
    let tip = UnitTip { author: 1, incarnation: 2, seq: 3, signature: signature() };
    let unit = Unit {
        document: DocumentId([2; 32]),
        table: "t".into(),
        key: "key".into(),
        tips: vec![tip],
        message: vec![0x42, 0],
    };
    check_kinds(vec![
        ("root: opening", root(RootReason::Opening { incarnation: 9 }), "00 | 01*32 | 00 09"),
        ("root: answer", root(RootReason::Answer { incarnation: 9 }), "00 | 01*32 | 01 09"),
        ("root: compare", root(RootReason::Compare), "00 | 01*32 | 02"),
        ("root: re-judged", root(RootReason::Rejudged), "00 | 01*32 | 03"),
        (
            "leaves",
            SessionFrame::Leaves(Page {
                after: None,
                through: Some(DocumentId([2; 32])),
                leaves: vec![(DocumentId([2; 32]), [3; 32])],
            }),
            "01 | 00 | 01 02*32 | 01 02*32 03*32",
        ),
        (
            "vectors",
            SessionFrame::Vectors {
                documents: vec![(DocumentId([2; 32]), vec![mark]), (DocumentId([5; 32]), vec![])],
                through: None,
            },
            "02 | 02 | 02*32 01 03*32 fb 2c01 04*32 | 05*32 00 | 00",
        ),
        (
            "request",
            SessionFrame::Request { documents: vec![(DocumentId([2; 32]), vec![mark])] },
            "03 | 01 | 02*32 01 03*32 fb 2c01 04*32",
        ),
        (
            "units",
            SessionFrame::Units(Units {
                number: 7,
                state: [8; 32],
                authors: vec![(DeviceId([5; 32]), OpId([6; 32]))],
                units: vec![unit],
            }),
            "04 | 07 | 08*32 | 01 05*32 06*32 | 01 | 02*32 | 01 74 | 03 6b6579 | 01 01 02 03 ab*64 | 02 4200",
        ),
        (
            "ack",
            SessionFrame::Ack { number: 7, refused: vec![(DocumentId([2; 32]), Refusal::NotNow)] },
            "05 | 07 | 01 02*32 0f",
        ),
    ]);
}

#[test]
fn refusals_keep_their_bytes() {
    let author = Author { device: DeviceId([1; 32]), grant: OpId([2; 32]), incarnation: 3 };
    let dependency = ChangeHash([4; 32]);
    check_kinds(vec![
        ("unvouched", Refusal::Unvouched, "00"),
        ("unvouched dependency", Refusal::UnvouchedDependency { dependency }, "01 | 04*32"),
        ("missing dependency", Refusal::MissingDependency { dependency }, "02 | 04*32"),
        ("refused dependency", Refusal::RefusedDependency { dependency }, "03 | 04*32"),
        ("sequence gap", Refusal::SequenceGap { expected: 2, got: 300 }, "04 | 02 | fb 2c01"),
        ("previous not direct", Refusal::PreviousNotDirect, "05"),
        ("start op", Refusal::StartOp { expected: 2, got: 3 }, "06 | 02 | 03"),
        ("fork", Refusal::Fork { replica: ReplicaId([5; 32]), seq: 6 }, "07 | 05*32 | 06"),
        ("dependencies", Refusal::Dependencies { got: 2, max: 1 }, "08 | 02 | 01"),
        ("not allowed", Refusal::NotAllowed { author }, "09 | 01*32 02*32 03"),
        ("unknown author", Refusal::UnknownAuthor { author }, "0a | 01*32 02*32 03"),
        (
            "beyond cut",
            Refusal::BeyondCut { author, revocation: OpId([6; 32]), seq: 7, got: 8 },
            "0b | 01*32 02*32 03 | 06*32 | 07 | 08",
        ),
        ("too much", Refusal::TooMuch { got: 2, max: 1 }, "0c | 02 | 01"),
        ("misplaced", Refusal::Misplaced, "0d"),
        ("bad tip", Refusal::BadTip { device: DeviceId([1; 32]) }, "0e | 01*32"),
        ("not now", Refusal::NotNow, "0f"),
        ("unreadable", Refusal::Unreadable { what: "no".into() }, "10 | 02 6e6f"),
    ]);
}

#[test]
fn records_about_devices_keep_their_bytes() {
    let (user, device, group) = (UserId([1; 32]), DeviceId([2; 32]), GroupId([4; 32]));
    check(vec![(
        "certificate",
        DeviceCert { version: 1, user, device, agreement: [3; 32], label: "phone".into() },
        "01 | 01*32 | 02*32 | 03*32 | 05 70686f6e65",
    )]);
    check(vec![(
        "device revocation",
        UserDeviceRevocation { version: 1, user, device },
        "01 | 01*32 | 02*32",
    )]);
    check(vec![(
        "device record",
        DeviceRecord { version: 1, group, device, counter: 251, addresses: vec!["ws://a".into()] },
        "01 | 04*32 | 02*32 | fb fb00 | 01 06 77733a2f2f61",
    )]);
    check(vec![("envelope", envelope(), "02 0102 | ab*64")]);
}

/// Ed25519 is deterministic: key, domain and payload determine the signature.
#[test]
fn a_signature_and_an_id_keep_their_bytes() {
    let ada = SigningKey::from_seed([1; 32]);
    let revocation =
        UserDeviceRevocation { version: 1, user: UserId(ada.public()), device: DeviceId([2; 32]) };
    let signed = Signed::sign(revocation, &ada);
    assert_eq!(HEXLOWER.encode(&signed.id()), SIGNED_ID);
    assert_eq!(HEXLOWER.encode(&signed.envelope().signature.0), SIGNED_SIGNATURE);
}

const SIGNED_ID: &str = "29a490413082af564bd66ca8af38659e0dda914cdd2da7a21f2031f8d8c962c5";
const SIGNED_SIGNATURE: &str = concat!(
    "9540d885caa1cf3cc86fd399bbebce3ea6fc16423358eef1d5971cbd66a3f361",
    "61ad7d18134ab66b61c87971e0e847e7f86cf06d8f73ba4ec0b3ddf045c1f103",
);

#[test]
fn ops_keep_their_bytes() {
    let op = |body| Op {
        version: 1,
        group: GroupId([2; 32]),
        parents: vec![OpId([3; 32])],
        author: UserId([4; 32]),
        by: By::User,
        body,
    };
    let (user, device) = (UserId([5; 32]), DeviceId([6; 32]));
    let manifest = ManifestRef { root: [7; 32], entries: 300 };
    let proof = InviteProof { invite: OpId([8; 32]), device, signature: signature() };
    let create = Body::Create { nonce: [9; 32], founders: vec![user], name: "garden".into() };
    check(vec![
        (
            "a founding op",
            Op { group: GroupId([0; 32]), parents: vec![], ..op(create.clone()) },
            "01 | 00*32 | 00 | 04*32 | 00 | 00 09*32 01 05*32 06 67617264656e",
        ),
        (
            "an op signed by a device",
            Op { by: By::Device(envelope()), ..op(Body::CloseInvite { invite: OpId([8; 32]) }) },
            "01 | 02*32 | 01 03*32 | 04*32 | 01 02 0102 ab*64 | 05 08*32",
        ),
    ]);
    check_kinds(vec![
        ("create", create, "00 | 09*32 | 01 05*32 | 06 67617264656e"),
        (
            "set role",
            Body::SetRole { user, role: Role::Writer, cut: None, via: Some(proof) },
            "01 | 05*32 | 28 | 00 | 01 08*32 06*32 ab*64",
        ),
        (
            "set role with a cut",
            Body::SetRole { user, role: Role::None, cut: Some(manifest), via: None },
            "01 | 05*32 | 00 | 01 07*32 fb 2c01 | 00",
        ),
        (
            "revoke device",
            Body::RevokeDevice { user, device, cut: Some(manifest) },
            "02 | 05*32 | 06*32 | 01 07*32 fb 2c01",
        ),
        ("amnesty", Body::Amnesty { revocation: OpId([8; 32]), manifest }, "03 | 08*32 | 07*32 fb 2c01"),
        (
            "open invite",
            Body::OpenInvite { key: [8; 32], max_role: Role::Reader, uses: 300, hint_expiry: 1 << 40 },
            "04 | 08*32 | 14 | fb 2c01 | fd 0000000000010000",
        ),
        ("close invite", Body::CloseInvite { invite: OpId([8; 32]) }, "05 | 08*32"),
        ("set meta", Body::SetMeta { key: "name".into(), value: vec![1, 2] }, "06 | 04 6e616d65 | 02 0102"),
    ]);
}

#[test]
fn a_page_of_a_manifest_keeps_its_bytes_and_its_hash() {
    let (device, grant) = (DeviceId([1; 32]), OpId([2; 32]));
    let entry =
        Entry { document: DocumentId([3; 32]), seq: 4, change: ChangeHash([5; 32]), signature: signature() };
    let page =
        manifest::Page { groups: vec![PageGroup { device, grant, incarnation: 6, entries: vec![entry] }] };
    let hash = page_hash(&page.encode());
    check(vec![("page", page, "01 | 01*32 | 02*32 | 06 | 01 | 03*32 | 04 | 05*32 | ab*64")]);
    assert_eq!(HEXLOWER.encode(&hash), PAGE_HASH);
    assert_eq!(HEXLOWER.encode(&root(&[hash, [7; 32]])), MANIFEST_ROOT);
}

const PAGE_HASH: &str = "c54e25df11f35070aa1a713b2bde28921ca7ef287f3a544b2e9d12929e9a7600";
const MANIFEST_ROOT: &str = "6c054e340af25dd09d375b4ee6bb40b12d0894706a3badf74549552bbae4f24d";

/// Hashes that both ends of a link have to compute alike.
#[test]
fn derived_names_keep_their_bytes() {
    let mark = |replica: u8| Mark { replica: ReplicaId([replica; 32]), seq: 1, change: ChangeHash([9; 32]) };
    let mut digest = Digest::default();
    let empty = digest.root();
    digest.set(DocumentId([1; 32]), &[mark(1), mark(2)]);
    digest.set(DocumentId([2; 32]), &[mark(3)]);
    let group = GroupId([1; 32]);
    let document = DocumentId::of(group, "tasks", "a");
    for (name, hash, golden) in [
        (
            "token of the initiator",
            token(group, &[2; 32], LinkRole::Initiator),
            "b4676d4f975e0da7e2cad3b1ef445dd0da9f0b3c293c369fe4bbd621a790cee2",
        ),
        (
            "token of the responder",
            token(group, &[2; 32], LinkRole::Responder),
            "86f10e21d1b854ad635453b1288c9a50b59c748eb513dfcf4a03e583cf7fc6f3",
        ),
        (
            "invite token",
            invite_token(OpId([1; 32]), &[2; 32]),
            "fd6493adce444ce6ed7051b255ad398a4bab47583c478aec15911c7b4c4a6501",
        ),
        (
            "summary",
            summary(&[1; 32], &[2; 32], &[3; 32], &[4; 32]),
            "25979aeeb73bb1bd6de1d5eb26bf9255ac783745f22393e4975ef9fee8bc3265",
        ),
        ("document id", document.0, "d1d3e6035abcb458473a67d8d33258e187caeca293d9d9a69db51a11367138be"),
        (
            "replica id",
            ReplicaId::of(group, document, DeviceId([2; 32]), OpId([3; 32]), 4).0,
            "04d257e71c6cf6faed08c25f671e66dd1d41928c76bf8fb46b810ba07441eb5d",
        ),
        (
            "leaf",
            leaf(&[mark(1), mark(2)]),
            "2b840151452f46b6848d72b3189b3b684358fe596fb0f939e927d83ec1cbb8fb",
        ),
        ("root of no document", empty, "ff9a45456814089afcf4f0ff6d3bb36d392dff434a96d07a27186a4173f2e263"),
        (
            "root of two documents",
            digest.root(),
            "b7b91328c25463b22cd51ed42924f8d7fa589551cca80ba37a45bb1025d3f926",
        ),
    ] {
        assert_eq!(HEXLOWER.encode(&hash), golden, "{name}");
    }
}
