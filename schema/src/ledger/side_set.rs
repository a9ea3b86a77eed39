//! A bounded set of records for each user, which holds the same records on every device.

use std::collections::BTreeMap;

use crate::id::UserId;
use crate::signed::{Envelope, Record, Signed};

/// Records by the user who signed them. Of more than `max` records of one user those with the greatest ids
/// are evicted, so that the same records leave the same set in any order of arrival.
#[derive(Clone, Debug)]
pub(crate) struct SideSet<T> {
    max: usize,
    by_user: BTreeMap<UserId, BTreeMap<[u8; 32], Signed<T>>>,
}

/// The outcome of inserting into a [`SideSet`].
pub(crate) enum Insertion<T> {
    /// The record is in the set, and this one is not any more.
    Inserted { evicted: Option<Signed<T>> },
    /// The set is unchanged: the record was in it, or has too great an id for a full set.
    Refused(Signed<T>),
}

impl<T: Record + Clone> SideSet<T> {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, by_user: BTreeMap::new() }
    }

    /// Returns true if [`insert`](Self::insert) would change nothing.
    pub(crate) fn refuses(&self, user: UserId, id: &[u8; 32]) -> bool {
        let of_user = self.by_user.get(&user);
        of_user.is_some_and(|records| {
            let is_last = records.last_key_value().is_none_or(|(last, _)| last < id);
            records.contains_key(id) || records.len() >= self.max && is_last
        })
    }

    pub(crate) fn insert(&mut self, user: UserId, record: Signed<T>) -> Insertion<T> {
        let id = record.id();
        if self.refuses(user, &id) {
            return Insertion::Refused(record);
        }
        let records = self.by_user.entry(user).or_default();
        let is_full = records.len() >= self.max;
        let evicted = if is_full { records.pop_last().map(|(_, record)| record) } else { None };
        records.insert(id, record);
        Insertion::Inserted { evicted }
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

    /// All ids, in user order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.by_user.values().flat_map(BTreeMap::keys)
    }
}
