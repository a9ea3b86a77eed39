//! Floods: users whose records arrive in a ledger faster than people sign them (authority 3.8).
//!
//! Counted is everything new that a peer sends and that a user or a device of theirs signed. Until the ledger
//! was once equal to a peer's, replies to Pulls and Presents carry old records, and do not count.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::delta::LedgerDelta;
use super::effect::{Effect, Notice};
use super::group::op_id;
use super::{Gate, LinkId, Step};
use crate::ledger::Ledger;
use crate::limits::{FLOOD_RECORDS_MAX, FLOOD_WINDOW};
use crate::signed::{Envelope, Record};
use crate::wire::device::{DeviceCert, DeviceRecord, UserDeviceRevocation};
use crate::{GroupId, UserId, codec};

/// The step in which the window of a flood moves on.
const MINUTE: Duration = Duration::from_secs(60);

/// A user who signed more records of a group than people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Flood {
    /// The user.
    pub user: UserId,
    /// The number of ops, certificates, device revocations and device records within the last hour.
    pub records: usize,
}

impl Gate {
    /// The floods of a group within the last hour, by user.
    pub fn floods(&self, group: GroupId, now: Duration) -> Vec<Flood> {
        self.floods.of(group, now).collect()
    }

    /// Counts what a peer sent on a link; notifies of each flood once an hour.
    pub(super) fn count_records(&mut self, step: &mut Step, id: GroupId, link: LinkId, gained: &LedgerDelta) {
        let is_compared = self.floods.note_compared(id, self.links.are_documents_open(id));
        if !is_compared && !self.links.is_pushing(link, id) {
            return;
        }
        for (user, records) in signers(&self.groups[&id].ledger, gained) {
            if let Some(flood) = self.floods.count(id, user, records, step.now.instant) {
                step.outbox.push(Effect::Notify(Notice::Flood { group: id, flood }));
            }
        }
    }
}

/// The number of records that each user or a device of theirs signed.
fn signers(ledger: &Ledger, gained: &LedgerDelta) -> BTreeMap<UserId, usize> {
    let LedgerDelta { ops, certificates, revocations, records } = gained;
    let ops = ops.iter().filter_map(|op| ledger.author_of(op_id(op)));
    let certificates = decoded::<DeviceCert>(certificates).map(|certificate| certificate.user);
    let revocations = decoded::<UserDeviceRevocation>(revocations).map(|revocation| revocation.user);
    let records = decoded::<DeviceRecord>(records);
    let records = records.filter_map(|record| ledger.roster().certifiers(record.device).next());
    let mut signers = BTreeMap::new();
    for user in ops.chain(certificates).chain(revocations).chain(records) {
        *signers.entry(user).or_default() += 1;
    }
    signers
}

fn decoded<R: Record>(envelopes: &[Envelope]) -> impl Iterator<Item = R> {
    envelopes.iter().filter_map(|envelope| codec::decode::<R>(&envelope.payload, R::BYTES_MAX).ok())
}

/// The records of each user that arrived lately.
#[derive(Debug, Default)]
pub(super) struct Floods {
    /// Groups whose ledger was equal to a peer's once.
    compared: BTreeSet<GroupId>,
    arrivals: BTreeMap<(GroupId, UserId), Arrivals>,
}

#[derive(Debug, Default)]
struct Arrivals {
    /// The number of records by the minute of their arrival, the oldest first.
    minutes: VecDeque<(Duration, usize)>,
    /// The last alert.
    alerted: Option<Duration>,
}

impl Arrivals {
    /// The number of records within the window.
    fn records(&self, now: Duration) -> usize {
        let recent = self.minutes.iter().filter(|(minute, _)| now.saturating_sub(*minute) < FLOOD_WINDOW);
        recent.map(|(_, records)| records).sum()
    }
}

impl Floods {
    /// Notes that the ledger of a group is equal to a peer's, if it is; returns true if it was once.
    fn note_compared(&mut self, group: GroupId, is_equal: bool) -> bool {
        if is_equal {
            self.compared.insert(group);
        }
        self.compared.contains(&group)
    }

    /// Counts records of a user; returns the flood that is to be told of.
    fn count(&mut self, group: GroupId, user: UserId, records: usize, now: Duration) -> Option<Flood> {
        if !self.arrivals.contains_key(&(group, user)) {
            self.arrivals.retain(|_, arrivals| arrivals.records(now) > 0);
        }
        let arrivals = self.arrivals.entry((group, user)).or_default();
        arrivals.minutes.retain(|(minute, _)| now.saturating_sub(*minute) < FLOOD_WINDOW);
        match arrivals.minutes.back_mut() {
            Some((minute, count)) if now.saturating_sub(*minute) < MINUTE => *count += records,
            _ => arrivals.minutes.push_back((now, records)),
        }
        let records = arrivals.records(now);
        let is_told = arrivals.alerted.is_some_and(|alerted| now.saturating_sub(alerted) < FLOOD_WINDOW);
        if records <= FLOOD_RECORDS_MAX || is_told {
            return None;
        }
        arrivals.alerted = Some(now);
        Some(Flood { user, records })
    }

    fn of(&self, group: GroupId, now: Duration) -> impl Iterator<Item = Flood> {
        let of_group = (group, UserId([0; 32]))..=(group, UserId([0xff; 32]));
        let counted = self.arrivals.range(of_group).map(move |((_, user), of)| (*user, of.records(now)));
        counted
            .filter(|(_, records)| *records > FLOOD_RECORDS_MAX)
            .map(|(user, records)| Flood { user, records })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GARDEN: GroupId = GroupId([1; 32]);
    const CLUB: GroupId = GroupId([2; 32]);
    const ADA: UserId = UserId([1; 32]);
    const BEN: UserId = UserId([2; 32]);

    fn minutes(minutes: u64) -> Duration {
        MINUTE * u32::try_from(minutes).unwrap()
    }

    #[test]
    fn two_hundred_records_within_an_hour_are_no_flood_and_one_more_is() {
        let mut floods = Floods::default();
        for minute in 0..50 {
            assert_eq!(floods.count(GARDEN, ADA, 4, minutes(100 + minute)), None);
        }
        assert_eq!(floods.count(CLUB, ADA, 200, minutes(150)), None, "another group");
        assert_eq!(floods.count(GARDEN, BEN, 200, minutes(150)), None, "another user");

        let flood = Flood { user: ADA, records: 201 };
        assert_eq!(floods.count(GARDEN, ADA, 1, minutes(150)), Some(flood));
        assert_eq!(floods.of(GARDEN, minutes(150)).collect::<Vec<_>>(), [flood]);
        assert_eq!(floods.of(GARDEN, minutes(161)).count(), 0, "the first four are older than an hour");
    }

    #[test]
    fn a_flood_is_told_of_once_an_hour() {
        let mut floods = Floods::default();
        let told = (0..180).filter(|minute| floods.count(GARDEN, ADA, 10, minutes(100 + minute)).is_some());
        assert_eq!(told.collect::<Vec<_>>(), [20, 80, 140]);
    }

    #[test]
    fn users_are_forgotten_an_hour_after_their_last_record() {
        let mut floods = Floods::default();
        for number in 0..600_u64 {
            let mut user = UserId([0; 32]);
            user.0[..8].copy_from_slice(&number.to_be_bytes());
            floods.count(GARDEN, user, 1, minutes(number));
        }
        assert_eq!(floods.arrivals.len(), 60);
    }
}
