//! Loads ledgers and tickets from the store, and starts the gate with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use ractor::ActorProcessingErr;
use schema::gate::{Gate, Input, Keys, ReceivedAt, StoredGroup, Tickets};
use schema::id::hash;
use schema::key::SigningKey;
use schema::ledger::{Ledger, Op, Refusal, SideRefusal};
use schema::signed::{Envelope, Record};
use schema::{GroupId, OpId, Timestamp, codec};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::held::Held;
use super::{Arguments, MembershipHandle, State, intents};
use crate::node::event::Event;
use crate::node::group::record::AuthorRecord;
use crate::node::keys;
use crate::node::store::{SpaceHandle, StoreError};
use crate::watchdog::Name;

/// The key of the Create.
const FIRST: [u8; 8] = [0; 8];

impl State {
    /// Loads every group, and starts the gate.
    pub(super) async fn load(
        handle: MembershipHandle,
        arguments: Arguments,
    ) -> Result<Self, ActorProcessingErr> {
        // The batches of a predecessor that failed: what follows is read behind them.
        arguments.store.barrier().await?;
        let (mut spaces, mut groups, mut damaged) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        let personal = arguments.personal;
        let stored = arguments.store.spaces()?.into_iter().filter_map(|name| keys::group_of(&name));
        for group in stored.filter(|group| *group != personal).chain([personal]) {
            let space = arguments.store.space(&keys::space(group))?;
            let key = (group == personal).then_some(&arguments.user);
            match load_group(group, &space, key) {
                Ok(stored) => groups.push(stored),
                Err(error) if group == personal || is_store_down(&error) => return Err(error),
                // A damaged ledger fails its group alone.
                Err(error) => {
                    tracing::error!(group = %group.short(), %error, "ledger is damaged");
                    let reason = error.to_string();
                    arguments.events.send(Event::GroupFailed { group, reason });
                    damaged.insert(group);
                }
            }
            spaces.insert(group, space);
        }
        let start = Input::Start {
            wanted: intents::wanted(&spaces[&personal])?,
            blocked: intents::blocked(&spaces[&personal])?,
            published: handle.groups().into_iter().map(|info| info.id).collect(),
            offers: handle.offers().values().cloned().collect(),
            addresses: arguments.connections.published(),
        };
        let keys = Keys { user: arguments.user.clone(), device: arguments.device.clone() };
        let mut state = Self {
            handle,
            progress: arguments.watchdog.register(Name::of("membership")),
            arguments,
            gate: Gate::new(keys, groups, damaged),
            spaces,
            held: Held::default(),
            stored: mpsc::unbounded_channel(),
            orphans: BTreeMap::new(),
            tickets: JoinSet::new(),
            sessions: JoinSet::new(),
        };
        for group in state.spaces.keys().copied().collect::<Vec<_>>() {
            state.delete_orphans_of(group).await?;
        }
        state.step(start)?;
        state.settle().await?;
        Ok(state)
    }
}

fn is_store_down(error: &ActorProcessingErr) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::Closed | StoreError::Failed { .. }))
}

fn load_group(
    group: GroupId,
    space: &SpaceHandle,
    key: Option<&SigningKey>,
) -> Result<StoredGroup, ActorProcessingErr> {
    let (ledger, received_at) = load_ledger(group, space, key)?;
    Ok(StoredGroup { ledger, received_at, tickets: load_tickets(space)? })
}

/// Reads a ledger back. The personal group, whose founding follows from the user key, `key`, goes on without
/// ops that are damaged, since the node does not open without it.
fn load_ledger(
    group: GroupId,
    space: &SpaceHandle,
    key: Option<&SigningKey>,
) -> Result<(Ledger, ReceivedAt), ActorProcessingErr> {
    let (mut ledger, mut received_at) = (Ledger::new(group), ReceivedAt::new());
    let positions = keys::names(space, keys::OP)?;
    if let Some(key) = key.filter(|_| !positions.is_empty()) {
        ledger = Ledger::personal(key).0;
    }
    for position in positions {
        match load_op(space, &position, &mut ledger) {
            Ok((op, at)) => drop(received_at.insert(op, at)),
            Err(error) if key.is_none() || !is_damage(&error) => return Err(error),
            Err(error) if ledger.len() == 1 && position == FIRST => {
                tracing::error!(%error, "the founding op of the personal group is damaged; the key gives it");
            }
            Err(error) => {
                tracing::error!(%error, "the personal group has a damaged op; it and later ones are skipped");
                break;
            }
        }
    }
    for (_, author) in keys::readable(space, keys::AUTHOR)? {
        // The group reports a damaged one.
        if let Ok(author) = codec::decode_stored::<AuthorRecord>(&author) {
            ledger.pin_certificates(author.device);
        }
    }
    // Behind the ops: only users that one of them names have certificates here.
    load_side(space, keys::CERTIFICATE, |envelope| ledger.admit_certificate(envelope).map(drop))?;
    load_side(space, keys::REVOCATION, |envelope| ledger.admit_revocation(envelope).map(drop))?;
    load_side(space, keys::RECORD, |envelope| ledger.admit_record(envelope).map(drop))?;
    Ok((ledger, received_at))
}

/// Returns true if the disk lost an op, or one that this op builds on; an op that was stored wrongly is a
/// bug.
fn is_damage(error: &ActorProcessingErr) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::Damaged { .. }))
        || matches!(error.downcast_ref(), Some(Refusal::MissingParents { .. }))
}

fn load_op(
    space: &SpaceHandle,
    position: &[u8],
    ledger: &mut Ledger,
) -> Result<(OpId, Timestamp), ActorProcessingErr> {
    let key = keys::tagged(keys::OP, position);
    let record = space.get(&key)?.ok_or_else(|| keys::damaged(space, &key))?;
    let (envelope, received_at_ms): (Envelope, u64) = codec::decode_stored(&record)?;
    let op = OpId(hash(Op::KIND, &[&envelope.payload]));
    ledger.admit(envelope)?;
    Ok((op, Timestamp(received_at_ms)))
}

fn load_side(
    space: &SpaceHandle,
    tag: u8,
    mut admit: impl FnMut(Envelope) -> Result<(), SideRefusal>,
) -> Result<(), StoreError> {
    for (_, record) in keys::readable(space, tag)? {
        match codec::decode_stored(&record) {
            Ok(envelope) => {
                if let Err(error) = admit(envelope) {
                    tracing::debug!(%error, "a stored certificate, revocation or device record is outdated");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a certificate, revocation or device record is damaged, and skipped");
            }
        }
    }
    Ok(())
}

/// Reads the tickets of a group. With damaged ones the user asks for another, and does not lose the group.
fn load_tickets(space: &SpaceHandle) -> Result<Tickets, StoreError> {
    let warn = |error: &dyn Display| tracing::warn!(%error, "stored tickets are damaged, and skipped");
    let record = match space.get(keys::TICKET) {
        Err(error @ StoreError::Damaged { .. }) => {
            warn(&error);
            None
        }
        record => record?,
    };
    let decode = |record: Vec<u8>| codec::decode_stored(&record).inspect_err(|error| warn(error)).ok();
    Ok(record.and_then(decode).unwrap_or_default())
}
