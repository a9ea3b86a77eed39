//! Decides which sockets and links stay when there are more than a node may have (pure).
//!
//! Half-open sockets are bounded by network, links by user. Own devices and dials have a reserve. Others may
//! use it while it is free, and give way once it is claimed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schema::limits::{
    DIALLED_LINKS, HALF_OPEN_MAX, LINKS_MAX, OWN_LINKS, STRANGER_LINKS_MAX, USER_LINKS_MAX,
};
use schema::{GroupId, UserId};

use super::LinkId;
use crate::transport::Prefix;

/// The relation of a peer to this node. Without a group, and not an own device: a stranger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The peer is an unrevoked device of this node's user.
    pub is_own: bool,
    /// The groups that this node and the peer may both read.
    pub groups: BTreeSet<GroupId>,
}

impl Standing {
    fn is_stranger(&self) -> bool {
        !self.is_own && self.groups.is_empty()
    }
}

/// One event of a socket or a link.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// A listener accepted a socket; its handshake begins.
    Accepted { link: LinkId, prefix: Prefix },
    /// A dial begins.
    Dialling { link: LinkId },
    /// The handshake has passed, and the device has no other link.
    Opened { link: LinkId, user: UserId, standing: Standing },
    /// The standing of a kept link's peer has changed.
    Standing { link: LinkId, standing: Standing },
    /// A socket, a dial or a link has ended. Nothing happens if it was removed before.
    Ended { link: LinkId },
}

/// The decision about one socket or link. Each one that [`Places`] removes by itself gets exactly one effect
/// that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// End a half-open socket. No key exists yet with which a reason could be sent.
    Drop(LinkId),
    /// Keep the link that was just opened.
    Keep(LinkId),
    /// End the link that was just opened: there is no room for it.
    Refuse(LinkId),
    /// End a kept link: another one needs its room.
    Displace(LinkId),
}

/// The sockets and links of a node.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Accepted sockets whose handshake runs.
    half_open: BTreeMap<LinkId, HalfOpen>,
    /// Dials in progress, with their handshakes.
    dialling: BTreeSet<LinkId>,
    kept: BTreeMap<LinkId, Kept>,
}

#[derive(Debug)]
struct HalfOpen {
    prefix: Prefix,
    since: Duration,
}

#[derive(Debug)]
struct Kept {
    user: UserId,
    standing: Standing,
    /// The peer's network; none if this node dialled.
    accepted_from: Option<Prefix>,
    since: Duration,
}

impl Kept {
    fn is_dialled(&self) -> bool {
        self.accepted_from.is_none()
    }

    /// Returns true for a link that counts as a stranger's. A dialled stranger may lead to a group of which
    /// this node holds only a ticket.
    fn is_stranger(&self) -> bool {
        !self.is_dialled() && self.standing.is_stranger()
    }
}

impl Places {
    /// Handles one event.
    pub(super) fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        match input {
            Input::Accepted { link, prefix } => self.on_accepted(now, link, prefix),
            Input::Dialling { link } => {
                self.dialling.insert(link);
                Vec::new()
            }
            Input::Opened { link, user, standing } => self.on_opened(now, link, user, standing),
            Input::Standing { link, standing } => self.on_standing(link, standing),
            Input::Ended { link } => {
                self.half_open.remove(&link);
                self.dialling.remove(&link);
                self.kept.remove(&link);
                Vec::new()
            }
        }
    }

    /// Number of further dials that may begin.
    pub(super) fn dial_room(&self) -> usize {
        let dialled = self.count(Kept::is_dialled) + self.dialling.len();
        let free = LINKS_MAX.saturating_sub(self.kept.len() + self.dialling.len());
        free.max(DIALLED_LINKS.saturating_sub(dialled))
    }

    /// Number of kept links.
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    fn on_accepted(&mut self, now: Duration, link: LinkId, prefix: Prefix) -> Vec<Effect> {
        self.half_open.insert(link, HalfOpen { prefix, since: now });
        if self.half_open.len() <= HALF_OPEN_MAX {
            return Vec::new();
        }
        let sockets = self.half_open.iter().map(|(link, socket)| (*link, &socket.prefix, socket.since));
        let (dropped, _) = oldest_of_fullest(sockets).expect("there are sockets");
        self.half_open.remove(&dropped);
        vec![Effect::Drop(dropped)]
    }

    fn on_opened(&mut self, now: Duration, link: LinkId, user: UserId, standing: Standing) -> Vec<Effect> {
        self.dialling.remove(&link);
        let accepted_from = self.half_open.remove(&link).map(|socket| socket.prefix);
        let new = Kept { user, standing, accepted_from, since: now };
        match self.make_room(&new) {
            Room::Free => {
                self.kept.insert(link, new);
                vec![Effect::Keep(link)]
            }
            Room::InPlaceOf(displaced) => {
                self.kept.remove(&displaced);
                self.kept.insert(link, new);
                vec![Effect::Displace(displaced), Effect::Keep(link)]
            }
            Room::None => vec![Effect::Refuse(link)],
        }
    }

    /// Finds room for a new link.
    fn make_room(&self, new: &Kept) -> Room {
        // First: a stranger in the place of another could otherwise be one link too many of its user.
        if !new.standing.is_own && self.links_of(new.user) >= USER_LINKS_MAX {
            return match self.weakest_of(new.user) {
                Some((false, displaced)) if self.leads_to_more(new) => Room::InPlaceOf(displaced),
                _ => Room::None,
            };
        }
        if new.is_stranger() && self.count(Kept::is_stranger) >= STRANGER_LINKS_MAX {
            return match self.stranger_of_fullest_prefix() {
                // With one link for each network, those that are inside keep their time.
                Some((displaced, of_prefix)) if of_prefix > 1 => Room::InPlaceOf(displaced),
                _ => Room::None,
            };
        }
        if self.kept.len() < LINKS_MAX {
            return Room::Free;
        }
        let claims_reserve = new.standing.is_own && self.count(|kept| kept.standing.is_own) < OWN_LINKS
            || new.is_dialled() && self.count(Kept::is_dialled) < DIALLED_LINKS;
        match self.weakest() {
            Some(weakest) if claims_reserve || self.gives_way(&weakest, new) => Room::InPlaceOf(weakest.link),
            _ => Room::None,
        }
    }

    /// Returns true if the weakest link gives way to a link that claims no reserve.
    fn gives_way(&self, weakest: &Weakest, new: &Kept) -> bool {
        if new.is_stranger() {
            return false;
        }
        // A user with fewer links gains one from a user with more, never the other way round.
        let is_fairer = weakest.of_user > self.links_of(new.user) + 1;
        weakest.is_stranger || !weakest.is_only && (self.leads_to_more(new) || is_fairer)
    }

    /// The link that gives way first. The reserves that are in use are left out.
    fn weakest(&self) -> Option<Weakest> {
        let own_are_reserved = self.count(|kept| kept.standing.is_own) <= OWN_LINKS;
        let dialled_are_reserved = self.count(Kept::is_dialled) <= DIALLED_LINKS;
        let candidates = self.kept.iter().filter(|(_, kept)| {
            !(kept.standing.is_own && own_are_reserved || kept.is_dialled() && dialled_are_reserved)
        });
        let weakest = candidates.min_by_key(|(link, kept)| {
            let is_only = self.is_only(**link);
            // Of strangers the oldest, since it had its time; of members the newest, since it has the least
            // to lose.
            let oldest = if kept.is_stranger() { kept.since } else { Duration::ZERO };
            let order = (!kept.is_stranger(), is_only, Reverse(self.links_of(kept.user)), kept.is_dialled());
            (order, oldest, Reverse(kept.since))
        });
        weakest.map(|(link, kept)| Weakest {
            link: *link,
            is_stranger: kept.is_stranger(),
            is_only: self.is_only(*link),
            of_user: self.links_of(kept.user),
        })
    }

    /// Follows a change of a kept link's standing: there may be one stranger too many, or one link too many
    /// of its user.
    fn on_standing(&mut self, link: LinkId, standing: Standing) -> Vec<Effect> {
        let Some(kept) = self.kept.get_mut(&link) else { return Vec::new() };
        kept.standing = standing;
        let (user, is_own) = (kept.user, kept.standing.is_own);
        let mut displaced = Vec::new();
        if self.count(Kept::is_stranger) > STRANGER_LINKS_MAX {
            displaced.extend(self.stranger_of_fullest_prefix().map(|(stranger, _)| stranger));
        }
        displaced.iter().for_each(|stranger| drop(self.kept.remove(stranger)));
        if !is_own && self.links_of(user) > USER_LINKS_MAX {
            let weakest = self.weakest_of(user);
            displaced.extend(weakest.map(|(_, weakest)| weakest));
            weakest.into_iter().for_each(|(_, weakest)| drop(self.kept.remove(&weakest)));
        }
        displaced.into_iter().map(Effect::Displace).collect()
    }

    /// The link of a user that gives way first, none of an own device; true if some group has no other link.
    fn weakest_of(&self, user: UserId) -> Option<(bool, LinkId)> {
        let theirs = self.kept.iter().filter(|(_, kept)| kept.user == user && !kept.standing.is_own);
        let weakest = theirs.map(|(link, kept)| (self.is_only(*link), Reverse(kept.since), *link)).min();
        weakest.map(|(is_only, _, link)| (is_only, link))
    }

    /// The oldest stranger of the network with the most strangers, and their number.
    fn stranger_of_fullest_prefix(&self) -> Option<(LinkId, usize)> {
        let strangers = self.kept.iter().filter(|(_, kept)| kept.is_stranger());
        oldest_of_fullest(
            strangers.filter_map(|(link, kept)| Some((*link, kept.accepted_from.as_ref()?, kept.since))),
        )
    }

    /// Number of links of a user, without those of own devices.
    fn links_of(&self, user: UserId) -> usize {
        self.count(|kept| kept.user == user && !kept.standing.is_own)
    }

    fn count(&self, which: impl Fn(&Kept) -> bool) -> usize {
        self.kept.values().filter(|kept| which(kept)).count()
    }

    /// Returns true if some group has no other link than this one.
    fn is_only(&self, link: LinkId) -> bool {
        let others = || self.kept.iter().filter(|(other, _)| **other != link).map(|(_, kept)| kept);
        let is_in_none = |group: &GroupId| !others().any(|other| other.standing.groups.contains(group));
        self.kept.get(&link).is_some_and(|kept| kept.standing.groups.iter().any(is_in_none))
    }

    /// Returns true if the link would be the only one of some group.
    fn leads_to_more(&self, new: &Kept) -> bool {
        let is_in_none =
            |group: &GroupId| !self.kept.values().any(|kept| kept.standing.groups.contains(group));
        new.standing.groups.iter().any(is_in_none)
    }
}

/// Room for a new link.
enum Room {
    Free,
    InPlaceOf(LinkId),
    None,
}

/// The link that gives way first.
struct Weakest {
    link: LinkId,
    is_stranger: bool,
    /// Some group has no other link.
    is_only: bool,
    /// Number of links of its user.
    of_user: usize,
}

/// The oldest of the prefix that most of them have, and their number; of several such prefixes the one whose
/// oldest is the oldest.
fn oldest_of_fullest<'p>(
    sockets: impl Iterator<Item = (LinkId, &'p Prefix, Duration)>,
) -> Option<(LinkId, usize)> {
    let mut prefixes: BTreeMap<&Prefix, (usize, (Duration, LinkId))> = BTreeMap::new();
    for (link, prefix, since) in sockets {
        let (count, oldest) = prefixes.entry(prefix).or_insert((0, (since, link)));
        *count += 1;
        *oldest = (*oldest).min((since, link));
    }
    let fullest = prefixes.into_values().min_by_key(|(count, oldest)| (Reverse(*count), *oldest));
    fullest.map(|(count, (_, link))| (link, count))
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "numbers of a test are small")]
mod tests;
