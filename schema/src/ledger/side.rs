//! Certificates and device revocations that no op carries: a bounded number for each user.

use std::collections::BTreeMap;

use crate::id::UserId;
use crate::signed::{Envelope, Record, Signed};

/// Records by the user who signed them. Of more than `max` for one user the greatest ids go, so that the same
/// records leave the same set in any order.
#[derive(Clone, Debug)]
pub(crate) struct SideSet<T> {
    max: usize,
    by_user: BTreeMap<UserId, BTreeMap<[u8; 32], Signed<T>>>,
}

impl<T: Record + Clone> SideSet<T> {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, by_user: BTreeMap::new() }
    }

    /// Takes a record in: what was pushed out for it, or the record itself when it was here or has no place.
    pub(crate) fn insert(&mut self, user: UserId, record: Signed<T>) -> Result<Option<Signed<T>>, Signed<T>> {
        let records = self.by_user.entry(user).or_default();
        let id = record.id();
        let full = records.len() >= self.max;
        if records.contains_key(&id) || full && records.last_key_value().is_none_or(|(last, _)| *last < id) {
            return Err(record);
        }
        let out = if full { records.pop_last().map(|(_, record)| record) } else { None };
        records.insert(id, record);
        Ok(out)
    }

    pub(crate) fn remove(&mut self, user: UserId, id: &[u8; 32]) {
        if let Some(records) = self.by_user.get_mut(&user) {
            records.remove(id);
        }
    }

    pub(crate) fn of(&self, user: UserId) -> impl Iterator<Item = &Signed<T>> {
        self.by_user.get(&user).into_iter().flat_map(BTreeMap::values)
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &T> {
        self.signed().map(Signed::record)
    }

    pub(crate) fn signed(&self) -> impl Iterator<Item = &Signed<T>> {
        self.by_user.values().flat_map(BTreeMap::values)
    }

    pub(crate) fn envelopes(&self) -> impl Iterator<Item = &Envelope> {
        self.signed().map(Signed::envelope)
    }

    /// All ids, after their number.
    pub(crate) fn digest(&self, into: &mut Vec<u8>) {
        let ids: Vec<&[u8; 32]> = self.by_user.values().flat_map(BTreeMap::keys).collect();
        into.extend((ids.len() as u64).to_be_bytes());
        ids.into_iter().for_each(|id| into.extend(id));
    }
}
