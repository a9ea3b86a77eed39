//! The one way by which an op, a certificate, a revocation or a device record enters a ledger: admitted, durable, gates
//! closed, told.

use std::collections::{BTreeMap, BTreeSet};

use ractor::ActorProcessingErr;
use schema::id::hash;
use schema::key::SigningKey;
use schema::ledger::{
    Body, By, CertificateOutcome, Ledger, ManifestRef, Op, OpOutcome, Refusal, Role, SideRefusal,
};
use schema::limits::MEMBERS_MAX;
use schema::session::ledger::PendingOp;
use schema::signed::{Envelope, Record, Signed};
use schema::wire::device::DeviceRecord;
use schema::{DeviceId, GroupId, OpId, Timestamp, codec};

use super::people::check_room;
use super::{ChangeError, Entry, State};
use crate::node::connection_manager::LinkId;
use crate::node::group::record::AuthorRecord;
use crate::node::keys;
use crate::node::store::{Batch, SpaceHandle, StoreError};

/// Ops, certificates, revocations and device records on their way into a ledger, or just in.
#[derive(Clone, Default)]
pub(crate) struct LedgerDelta {
    pub(crate) ops: Vec<Envelope>,
    pub(crate) certificates: Vec<Envelope>,
    pub(crate) revocations: Vec<Envelope>,
    pub(crate) records: Vec<Envelope>,
}

impl LedgerDelta {
    pub(super) fn append(&mut self, mut other: Self) {
        self.ops.append(&mut other.ops);
        self.certificates.append(&mut other.certificates);
        self.revocations.append(&mut other.revocations);
        self.records.append(&mut other.records);
    }

    pub(crate) fn is_empty(&self) -> bool {
        let Self { ops, certificates, revocations, records } = self;
        [ops, certificates, revocations, records].into_iter().all(Vec::is_empty)
    }
}

/// What became of a batch of ops.
#[derive(Default)]
pub(super) struct Verdict {
    /// Ops that wait for others or for a manifest.
    pub(super) held: Vec<PendingOp>,
    refused: Option<Refusal>,
    /// Ops that can never be taken, and certificates, revocations and records that nobody signed.
    pub(super) invalid: usize,
    /// It was news that a device is out.
    withdrew: bool,
}

impl Verdict {
    /// No honest device passes on what it did not verify; whatever else is refused may have come too early.
    fn note(&mut self, refusal: &SideRefusal) {
        if let SideRefusal::Envelope(_) = refusal {
            tracing::warn!(%refusal, "a certificate, revocation or record is refused");
            self.invalid += 1;
        }
    }
}

impl State {
    /// Signs an op of this user and takes it in.
    pub(super) async fn author(&mut self, group: GroupId, body: Body) -> Result<OpId, ChangeError> {
        self.author_with(group, &BTreeSet::new(), body, None).await
    }

    /// Signs an op of this user as of before `rejected`, with the cut where it needs one, and takes it in.
    pub(super) async fn author_with(
        &mut self,
        group: GroupId,
        rejected: &BTreeSet<OpId>,
        body: Body,
        cut: Option<ManifestRef>,
    ) -> Result<OpId, ChangeError> {
        let author = self.user();
        // A device that was stolen does not shut the others out.
        let is_own_device = matches!(body, Body::RevokeDevice { user, .. } if user == author);
        let (by, key) = match is_own_device {
            true => (By::User, self.arguments.user.clone()),
            false => (self.by(), self.arguments.device.signing.clone()),
        };
        let entry = self.entries.get(&group).filter(|entry| entry.wanted);
        let entry = entry.ok_or(ChangeError::UnknownGroup(group))?;
        check_room(entry.ledger.roster(), &body, MEMBERS_MAX)?;
        let drafted = match entry.draft(rejected, (author, by.clone()), body.clone(), cut) {
            Err(ChangeError::Refused(Refusal::TooManyHeads { .. })) => {
                let merges = entry.ledger.merges(rejected, author, &by, &key)?;
                let ops = merges.iter().map(|merge| merge.envelope().clone()).collect();
                self.admit(group, LedgerDelta { ops, ..LedgerDelta::default() }, None).await?;
                self.entries[&group].draft(rejected, (author, by), body, cut)
            }
            drafted => drafted,
        };
        let op = Signed::sign(drafted?, &key);
        let id = OpId(op.id());
        let gained = LedgerDelta { ops: vec![op.envelope().clone()], ..LedgerDelta::default() };
        match self.admit(group, gained, None).await? {
            Verdict { refused: Some(refusal), .. } => Err(refusal.into()),
            _ => {
                self.redial_known();
                Ok(id)
            }
        }
    }

    /// Admits what came, makes it durable, closes gates, and tells everyone who must know; in all groups where it says
    /// that a device was taken back.
    pub(super) async fn admit(
        &mut self,
        group: GroupId,
        came: LedgerDelta,
        source: Option<LinkId>,
    ) -> Result<Verdict, StoreError> {
        let verdict = self.take(group, came, source, false).await?;
        if verdict.withdrew {
            self.spread_revocations(group, false).await?;
        }
        Ok(verdict)
    }

    /// Admits what came into one group; `says` when it is to hold an op for every device that our user took back.
    pub(super) async fn take(
        &mut self,
        group: GroupId,
        came: LedgerDelta,
        source: Option<LinkId>,
        says: bool,
    ) -> Result<Verdict, StoreError> {
        let user = self.user();
        let (withdrawn, now) = (self.withdrawn(), self.arguments.clock.now());
        let meters = self.arguments.meters.ledgers.clone();
        let Some(entry) = self.entries.get_mut(&group) else { return Ok(Verdict::default()) };
        let was_pending = entry.is_pending(user);
        let grant = entry.ledger.roster().grant(user);
        let (mut batch, mut gained, mut verdict) =
            (Batch::default(), LedgerDelta::default(), Verdict::default());
        for envelope in came.ops {
            match entry.take_op(&envelope, now, &mut batch) {
                Ok(OpOutcome::New(_)) => {
                    meters.admitted_ops.increment();
                    gained.ops.push(envelope);
                }
                Ok(OpOutcome::Known) => {}
                Err(Refusal::MissingParents { .. }) => {
                    verdict.held.push(PendingOp { envelope, manifest: None })
                }
                Err(Refusal::MissingManifest { manifest, .. }) => {
                    verdict.held.push(PendingOp { envelope, manifest: Some(manifest) });
                }
                Err(refusal) => {
                    meters.refused_ops.increment();
                    tracing::warn!(group = %group.short(), %refusal, "membership op refused");
                    verdict.invalid += usize::from(matches!(refusal, Refusal::Invalid { .. }));
                    verdict.refused = Some(refusal);
                }
            }
        }
        // Behind the ops: only users whom one of them names may have certificates.
        let mut is_remembered = false;
        for envelope in came.certificates {
            // A certificate that comes too early is not worth the link: whoever needs it will miss it.
            match entry.ledger.admit_certificate(envelope.clone()) {
                Ok(CertificateOutcome::New) => {
                    put_side(&mut batch, keys::CERTIFICATE, &envelope);
                    gained.certificates.push(envelope);
                }
                Ok(vouched) => is_remembered |= vouched == CertificateOutcome::Spare,
                Err(refusal) => verdict.note(&refusal),
            }
        }
        for envelope in came.revocations {
            match entry.ledger.admit_revocation(envelope.clone()) {
                Ok(true) => {
                    put_side(&mut batch, keys::REVOCATION, &envelope);
                    gained.revocations.push(envelope);
                }
                Ok(false) => {}
                Err(refusal) => verdict.note(&refusal),
            }
        }
        for envelope in came.records {
            // Nor is such a record: it is a hint. Whose devices are let in later, their records come with a comparison.
            match entry.ledger.admit_record(envelope.clone()) {
                Ok(true) => {
                    put_record(&mut batch, &envelope);
                    gained.records.push(envelope);
                }
                Ok(false) => {}
                Err(refusal) => verdict.note(&refusal),
            }
        }
        // Whoever judges our changes must know that our user vouches for this device.
        let own = &self.arguments.device;
        let roster = entry.ledger.roster();
        let mut introduction = LedgerDelta::default();
        if roster.role(own.user()) != Role::None && !roster.is_certified(own.user(), own.device()) {
            let certificate = own.certificate.envelope();
            if matches!(entry.ledger.admit_certificate(certificate.clone()), Ok(CertificateOutcome::New)) {
                put_side(&mut batch, keys::CERTIFICATE, certificate);
                introduction.certificates.push(certificate.clone());
            }
        }
        verdict.withdrew = !gained.revocations.is_empty();
        introduction.revocations = entry.learn(&withdrawn, &mut batch);
        // Who was let in again says again which devices are out.
        if says || grant != entry.ledger.roster().grant(user) {
            introduction.ops = entry.shut_out(&self.arguments, now, &mut batch);
        }
        let now = self.arguments.clock.now();
        introduction.records.extend(entry.say_where(own, &self.addresses, now, &mut batch));
        for device in entry.ledger.drop_records() {
            batch.remove(keys::tagged(keys::RECORD, &device.0));
        }
        if source.is_none() {
            // One word: who hears that a device is out hears the op for it too.
            gained.append(std::mem::take(&mut introduction));
        }
        let has_come_in = was_pending && !entry.is_pending(user);
        entry.spend_tickets(user, &mut batch);
        if !gained.is_empty() || !introduction.is_empty() || is_remembered {
            self.links.close_gates(group, &self.entries[&group]);
            self.arguments.store.write(&self.entries[&group].space, batch).await?;
            self.publish(group);
            self.links.push(group, &gained, source);
            self.links.push(group, &introduction, None);
            // Whoever has just left the group announces it anew to those who are in it: so they hear of it, and fetch up to
            // where what was written stays.
            self.links.consider(group, &self.entries);
            if has_come_in {
                self.links.restart(group, &self.entries);
            }
        }
        Ok(verdict)
    }

    /// Devices wrote something that was accepted: what vouches for them stays, here and with whoever hears of it.
    pub(super) async fn wrote(&mut self, group: GroupId, devices: Vec<DeviceId>) -> Result<(), StoreError> {
        let Some(entry) = self.entries.get_mut(&group) else { return Ok(()) };
        let (mut batch, mut gained) = (Batch::default(), LedgerDelta::default());
        for envelope in devices.into_iter().flat_map(|device| entry.ledger.pin_certificates(device)) {
            put_side(&mut batch, keys::CERTIFICATE, &envelope);
            gained.certificates.push(envelope);
        }
        if !gained.is_empty() {
            self.arguments.store.write(&self.entries[&group].space, batch).await?;
            self.links.push(group, &gained, None);
        }
        Ok(())
    }

    pub(super) fn by(&self) -> By {
        By::Device(self.arguments.device.certificate.envelope().clone())
    }
}

impl Entry {
    /// Admits an op and notes when.
    pub(super) fn take_op(
        &mut self,
        envelope: &Envelope,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<OpOutcome, Refusal> {
        let position = self.ledger.len();
        let has = |manifest: &ManifestRef| self.attached.contains(manifest);
        let admitted = self.ledger.admit_with(envelope.clone(), has)?;
        if let OpOutcome::New(op) = admitted {
            put_op(batch, position, envelope, now);
            self.taken.insert(op, now);
        }
        Ok(admitted)
    }
}

/// When this device took each op of a ledger in, by its own clock: an op carries no time. It decides nothing.
pub(super) type ReceivedAt = BTreeMap<OpId, Timestamp>;

/// Reads a ledger back. One whose ops are not all here is as good as none: by it somebody might be in who is not. The
/// personal group, whose Create follows from the user's `key`, goes on with the ops before the first that is damaged: all
/// that they say is which devices are out, and that is said beside them too.
///
/// What stands beside the ops is done without where it is damaged: peers have it, and what they bring takes its place.
pub(super) fn replay_ledger(
    group: GroupId,
    space: &SpaceHandle,
    key: Option<&SigningKey>,
) -> Result<(Ledger, ReceivedAt), ActorProcessingErr> {
    let (mut ledger, mut taken) = (Ledger::new(group), ReceivedAt::new());
    let positions = keys::names(space, keys::OP)?;
    if let Some(key) = key.filter(|_| !positions.is_empty()) {
        ledger = Ledger::personal(key).0;
    }
    for position in positions {
        match replay_op(space, &position, &mut ledger) {
            Ok((op, at)) => drop(taken.insert(op, at)),
            Err(error) if key.is_none() || !is_damage(&error) => return Err(error),
            Err(error) if ledger.len() == 1 && position == FIRST => {
                tracing::error!(%error, "the founding of the personal group is damaged, and follows from the key");
            }
            Err(error) => {
                tracing::error!(%error, "an op of the personal group is damaged: those behind it are done without");
                break;
            }
        }
    }
    for (_, author) in keys::readable(space, keys::AUTHOR)? {
        // The group says so where one is damaged.
        if let Ok((device, ..)) = codec::decode_stored::<AuthorRecord>(&author) {
            ledger.pin_certificates(DeviceId(device));
        }
    }
    // Behind the ops: only users whom one of them names have certificates here.
    replay_side(space, keys::CERTIFICATE, |envelope| {
        ledger.admit_certificate(envelope).map(|vouched| vouched == CertificateOutcome::New)
    })?;
    replay_side(space, keys::REVOCATION, |envelope| ledger.admit_revocation(envelope))?;
    replay_side(space, keys::RECORD, |envelope| ledger.admit_record(envelope))?;
    Ok((ledger, taken))
}

/// Whether the disk lost something, or what lies here builds on what it lost; what was stored so by a program is another
/// matter.
fn is_damage(error: &ActorProcessingErr) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::Damaged { .. }))
        || matches!(error.downcast_ref(), Some(Refusal::MissingParents { .. }))
}

/// Where the Create lies.
const FIRST: [u8; 8] = [0; 8];

fn replay_op(
    space: &SpaceHandle,
    position: &[u8],
    ledger: &mut Ledger,
) -> Result<(OpId, Timestamp), ActorProcessingErr> {
    let key = keys::tagged(keys::OP, position);
    let record = space.get(&key)?.ok_or_else(|| keys::damaged(space, &key))?;
    let (envelope, taken_ms): (Envelope, u64) = codec::decode_stored(&record)?;
    let op = OpId(hash(Op::KIND, &[&envelope.payload]));
    ledger.admit(envelope)?;
    Ok((op, Timestamp(taken_ms)))
}

fn replay_side(
    space: &SpaceHandle,
    tag: u8,
    mut admit: impl FnMut(Envelope) -> Result<bool, SideRefusal>,
) -> Result<(), StoreError> {
    for (_, record) in keys::readable(space, tag)? {
        match codec::decode_stored(&record) {
            Ok(envelope) => {
                if let Err(error) = admit(envelope) {
                    tracing::debug!(%error, "a record beside the ops counts no longer");
                }
            }
            Err(error) => tracing::warn!(%error, "a record beside the ops is damaged, and done without"),
        }
    }
    Ok(())
}

pub(super) fn put_op(batch: &mut Batch, position: usize, envelope: &Envelope, taken: Timestamp) {
    let record = codec::encode(&(envelope, taken.as_millis()));
    batch.put(keys::tagged(keys::OP, &(position as u64).to_be_bytes()), record);
}

pub(super) fn put_side(batch: &mut Batch, tag: u8, envelope: &Envelope) {
    let id = hash("side", &[&envelope.payload]);
    batch.put(keys::tagged(tag, &id), codec::encode(envelope));
}

/// A device has one record: the newer lies where the older did.
pub(super) fn put_record(batch: &mut Batch, envelope: &Envelope) {
    let record = codec::decode::<DeviceRecord>(&envelope.payload, DeviceRecord::BYTES_MAX);
    let device = record.expect("it was admitted").device;
    batch.put(keys::tagged(keys::RECORD, &device.0), codec::encode(envelope));
}

#[cfg(test)]
mod tests {
    use schema::key::Signature;
    use testkit::golden::check_bytes;

    use super::*;
    use crate::node::store::engine::Write;

    #[test]
    fn records_of_a_ledger_keep_their_bytes() {
        let envelope = Envelope { payload: vec![1, 2], signature: Signature([0xab; 64]) };
        let key = SigningKey::from_seed([1; 32]);
        let device = DeviceId(key.public());
        let (group, addresses) = (GroupId([4; 32]), vec!["ws://a".into()]);
        let record = DeviceRecord { version: 1, group, device, counter: 5, addresses };
        let record = Signed::sign(record, &key).envelope().clone();
        let mut batch = Batch::default();
        put_op(&mut batch, 300, &envelope, Timestamp(7));
        put_side(&mut batch, keys::CERTIFICATE, &envelope);
        put_record(&mut batch, &record);
        let mut writes = batch.iter().map(|write| match write {
            Write::Put { key, value } => (&key[..], &value[..]),
            Write::Remove { .. } => panic!("{write:?}"),
        });

        let (key, value) = writes.next().unwrap();
        check_bytes("key of an op", key, "6f | 000000000000012c");
        check_bytes("op and time of admission", value, "02 0102 | ab*64 | 07");
        let (key, value) = writes.next().unwrap();
        check_bytes("key of a certificate", &key[..1], "70");
        assert_eq!(key[1..], hash("side", &[&envelope.payload]));
        check_bytes("certificate", value, "02 0102 | ab*64");
        let (key, value) = writes.next().unwrap();
        assert_eq!(key[1..], device.0);
        check_bytes("key of a device record", &key[..1], "77");
        assert_eq!(value, codec::encode(&record));
    }
}
