//! Step tables of the places of links, and a property over random links.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Places and the time of the next step: each step is a second after the one before.
#[derive(Default)]
struct Node {
    places: Places,
    steps: u64,
}

fn user(number: u8) -> UserId {
    UserId([number; 32])
}

fn network(number: u8) -> Prefix {
    Prefix::V4([10, 0, number])
}

fn shares(groups: &[u8]) -> Standing {
    Standing { is_own: false, groups: groups.iter().map(|group| GroupId([*group; 32])).collect() }
}

fn own() -> Standing {
    Standing { is_own: true, groups: BTreeSet::new() }
}

fn stranger() -> Standing {
    Standing::default()
}

impl Node {
    fn step(&mut self, input: Input) -> Vec<Effect> {
        self.steps += 1;
        self.places.step(Duration::from_secs(self.steps), input)
    }

    fn accept(&mut self, link: u64, from: u8) -> Vec<Effect> {
        self.step(Input::Accepted { link: LinkId(link), prefix: network(from) })
    }

    fn open(&mut self, link: u64, of: u8, standing: Standing) -> Vec<Effect> {
        self.step(Input::Opened { link: LinkId(link), user: user(of), standing })
    }

    /// Accepts a socket from a network of its own, and opens it.
    fn come(&mut self, link: u64, of: u8, standing: Standing) -> Vec<Effect> {
        assert_eq!(self.accept(link, u8::try_from(link % 256).unwrap()), []);
        self.open(link, of, standing)
    }

    fn dial(&mut self, link: u64, of: u8, standing: Standing) -> Vec<Effect> {
        assert_eq!(self.step(Input::Dialling { link: LinkId(link) }), []);
        self.open(link, of, standing)
    }

    /// Fills the node with accepted links of one user each, all of group 1.
    fn fill(&mut self) {
        for number in 0..LINKS_MAX as u64 {
            assert_eq!(self.come(number, number as u8, shares(&[1])), [Effect::Keep(LinkId(number))]);
        }
    }
}

#[test]
fn half_open_sockets_of_the_fullest_prefix_give_way_the_oldest_first() {
    let mut node = Node::default();
    assert_eq!(node.accept(0, 1), []);
    for link in 1..HALF_OPEN_MAX as u64 {
        assert_eq!(node.accept(link, 2), []);
    }
    // The flood displaces itself; the one socket from elsewhere and the next one stay.
    assert_eq!(node.accept(100, 2), [Effect::Drop(LinkId(1))]);
    assert_eq!(node.accept(101, 3), [Effect::Drop(LinkId(2))]);
    assert_eq!(node.open(0, 1, shares(&[1])), [Effect::Keep(LinkId(0))]);
    assert_eq!(node.accept(102, 2), [], "a socket whose handshake has passed is not half-open");
    assert_eq!(node.accept(103, 2), [Effect::Drop(LinkId(3))]);
}

#[test]
fn of_prefixes_with_equally_many_sockets_the_one_with_the_oldest_gives_way() {
    let mut node = Node::default();
    for link in 0..HALF_OPEN_MAX as u64 {
        assert_eq!(node.accept(link, link as u8), []);
    }
    assert_eq!(node.accept(100, 100), [Effect::Drop(LinkId(0))]);
    assert_eq!(node.step(Input::Ended { link: LinkId(1) }), []);
    assert_eq!(node.accept(101, 101), [], "an ended socket has left its room");
}

#[test]
fn a_stranger_gives_way_to_a_peer_that_shares_a_group() {
    let mut node = Node::default();
    assert_eq!(node.come(0, 0, stranger()), [Effect::Keep(LinkId(0))]);
    for link in 1..LINKS_MAX as u64 {
        assert_eq!(node.come(link, link as u8, shares(&[1])), [Effect::Keep(LinkId(link))]);
    }
    assert_eq!(node.come(100, 100, stranger()), [Effect::Refuse(LinkId(100))]);
    let kept = [Effect::Displace(LinkId(0)), Effect::Keep(LinkId(101))];
    assert_eq!(node.come(101, 101, shares(&[1])), kept);
    assert_eq!(node.come(102, 102, shares(&[1])), [Effect::Refuse(LinkId(102))], "all are equal");
}

#[test]
fn strangers_have_few_links_and_one_network_does_not_hold_them_all() {
    let mut node = Node::default();
    for link in 0..STRANGER_LINKS_MAX as u64 {
        node.accept(link, 7);
        assert_eq!(node.open(link, link as u8, stranger()), [Effect::Keep(LinkId(link))]);
    }
    for link in 10..10 + STRANGER_LINKS_MAX as u64 - 1 {
        let oldest = LinkId(link - 10);
        assert_eq!(
            node.come(link, link as u8, stranger()),
            [Effect::Displace(oldest), Effect::Keep(LinkId(link))]
        );
    }
    assert_eq!(node.come(20, 20, stranger()), [Effect::Refuse(LinkId(20))], "each network has one");
    assert_eq!(node.come(21, 21, shares(&[1])), [Effect::Keep(LinkId(21))]);
}

#[test]
fn one_user_holds_a_quarter_of_the_links_over_all_devices() {
    let mut node = Node::default();
    for link in 0..40 {
        let is_kept = link < USER_LINKS_MAX as u64;
        let expected = if is_kept { Effect::Keep(LinkId(link)) } else { Effect::Refuse(LinkId(link)) };
        assert_eq!(node.come(link, 1, shares(&[1])), [expected]);
    }
    // A device through which alone another group is reached replaces the newest of them.
    let newest = LinkId(USER_LINKS_MAX as u64 - 1);
    assert_eq!(node.come(50, 1, shares(&[1, 2])), [Effect::Displace(newest), Effect::Keep(LinkId(50))]);
    for link in 60..60 + (LINKS_MAX - USER_LINKS_MAX) as u64 {
        assert_eq!(node.come(link, link as u8, shares(&[1])), [Effect::Keep(LinkId(link))]);
    }
    // In a full node the user with the most links gives way to one with fewer.
    assert_eq!(node.come(100, 100, shares(&[1])), [Effect::Displace(LinkId(3)), Effect::Keep(LinkId(100))]);
}

#[test]
fn own_devices_keep_eight_links() {
    let mut node = Node::default();
    node.fill();
    for link in 100..100 + OWN_LINKS as u64 {
        let effects = node.come(link, 200, own());
        assert!(matches!(effects[..], [Effect::Displace(_), Effect::Keep(kept)] if kept == LinkId(link)));
    }
    assert_eq!(node.come(150, 200, own()), [Effect::Refuse(LinkId(150))]);
    // Neither others nor dials displace them.
    for link in 160..160 + DIALLED_LINKS as u64 {
        let effects = node.dial(link, link as u8, shares(&[1]));
        assert!(matches!(effects[..], [Effect::Displace(other), Effect::Keep(_)] if other.0 < 100));
    }
    assert_eq!(node.places.count(|kept| kept.standing.is_own), OWN_LINKS);
}

#[test]
fn the_only_link_of_a_group_is_not_displaced_by_one_that_is_not() {
    let mut node = Node::default();
    for link in 0..LINKS_MAX as u64 {
        assert_eq!(node.come(link, link as u8, shares(&[link as u8])), [Effect::Keep(LinkId(link))]);
    }
    assert_eq!(node.come(100, 100, shares(&[1])), [Effect::Refuse(LinkId(100))]);
    assert_eq!(node.step(Input::Ended { link: LinkId(9) }), []);
    assert_eq!(node.come(101, 101, shares(&[1])), [Effect::Keep(LinkId(101))]);
    // Links 1 and 101 share a group: the newer one gives way to the only link of another group.
    assert_eq!(node.come(102, 102, shares(&[9])), [Effect::Displace(LinkId(101)), Effect::Keep(LinkId(102))]);
    assert_eq!(node.come(103, 103, shares(&[9])), [Effect::Refuse(LinkId(103))]);
}

#[test]
fn a_dial_finds_room_however_many_dialled_in() {
    let mut node = Node::default();
    node.fill();
    assert_eq!(node.places.dial_room(), DIALLED_LINKS);
    for link in 100..100 + DIALLED_LINKS as u64 {
        let effects = node.dial(link, link as u8, stranger());
        assert!(matches!(effects[..], [Effect::Displace(_), Effect::Keep(kept)] if kept == LinkId(link)));
    }
    assert_eq!(node.places.dial_room(), 0);
    assert_eq!(node.come(150, 150, shares(&[2])), [Effect::Displace(LinkId(23)), Effect::Keep(LinkId(150))]);
    assert_eq!(node.places.count(Kept::is_dialled), DIALLED_LINKS, "an accepted link displaces no dial");
}

#[test]
fn dials_in_progress_use_the_room_for_dials() {
    let mut node = Node::default();
    for link in 0..LINKS_MAX as u64 {
        assert_eq!(node.places.dial_room(), LINKS_MAX - link as usize);
        assert_eq!(node.step(Input::Dialling { link: LinkId(link) }), []);
    }
    assert_eq!(node.places.dial_room(), 0);
    node.step(Input::Ended { link: LinkId(0) });
    assert_eq!(node.places.dial_room(), 1);
}

#[test]
fn a_change_of_standing_is_followed() {
    let mut node = Node::default();
    for link in 0..10 {
        assert_eq!(node.come(link, link as u8, shares(&[1])), [Effect::Keep(LinkId(link))]);
    }
    // Removed members are strangers until the gate ends their links.
    for link in 0..STRANGER_LINKS_MAX as u64 {
        assert_eq!(node.step(Input::Standing { link: LinkId(link), standing: stranger() }), []);
    }
    let fifth = LinkId(STRANGER_LINKS_MAX as u64);
    let one_too_many = node.step(Input::Standing { link: fifth, standing: stranger() });
    assert_eq!(one_too_many, [Effect::Displace(LinkId(0))]);
    // A stranger who was admitted is none.
    assert_eq!(node.step(Input::Standing { link: LinkId(1), standing: shares(&[1]) }), []);
    assert_eq!(node.come(20, 20, stranger()), [Effect::Keep(LinkId(20))]);
    // A revoked own device counts towards its user.
    for link in 30..30 + USER_LINKS_MAX as u64 + 1 {
        assert_eq!(node.come(link, 200, own()), [Effect::Keep(LinkId(link))]);
    }
    for link in 30..30 + USER_LINKS_MAX as u64 {
        assert_eq!(node.step(Input::Standing { link: LinkId(link), standing: shares(&[1]) }), []);
    }
    let last = LinkId(30 + USER_LINKS_MAX as u64);
    let revoked = node.step(Input::Standing { link: last, standing: shares(&[1]) });
    assert_eq!(revoked, [Effect::Displace(last)]);
    assert_eq!(node.step(Input::Standing { link: last, standing: own() }), [], "it has ended");
}

/// The state of a link by the effects so far.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    HalfOpen,
    Dialling,
    Kept,
    Removed,
}

#[derive(Clone, Debug)]
enum Event {
    /// Accepts that many sockets from one network.
    Accept(u8, u8),
    Dial,
    /// Opens the half-open socket or dial at this position.
    Open(usize, u8, Standing),
    Standing(usize, Standing),
    End(usize),
}

fn standings() -> impl Strategy<Value = Standing> {
    prop_oneof![
        2 => Just(stranger()),
        1 => Just(own()),
        5 => vec(0..6_u8, 1..3).prop_map(|groups| shares(&groups)),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..12_u8, 1..8_u8).prop_map(|(from, count)| Event::Accept(from, count)),
        1 => Just(Event::Dial),
        4 => (any::<usize>(), 0..12_u8, standings())
            .prop_map(|(at, user, standing)| Event::Open(at, user, standing)),
        1 => (any::<usize>(), standings()).prop_map(|(at, standing)| Event::Standing(at, standing)),
        1 => any::<usize>().prop_map(Event::End),
    ]
}

proptest! {
    #[test]
    fn bounds_hold_and_every_removed_link_gets_one_effect(events in vec(events(), 1..150)) {
        let mut node = Node::default();
        let mut known: BTreeMap<LinkId, Known> = BTreeMap::new();
        let mut made = 0;
        for event in events {
            let pick = |at: usize, which: &[Known]| {
                let links = known.iter().filter(|(_, is)| which.contains(is));
                let links: Vec<LinkId> = links.map(|(link, _)| *link).collect();
                (!links.is_empty()).then(|| links[at % links.len()])
            };
            let effects = match event {
                Event::Accept(from, count) => {
                    let accept = |_| {
                        made += 1;
                        known.insert(LinkId(made), Known::HalfOpen);
                        node.accept(made, from)
                    };
                    (0..count).flat_map(accept).collect()
                }
                Event::Dial if node.places.dial_room() > 0 => {
                    made += 1;
                    known.insert(LinkId(made), Known::Dialling);
                    node.step(Input::Dialling { link: LinkId(made) })
                }
                Event::Dial => continue,
                Event::Open(at, user, standing) => {
                    let Some(link) = pick(at, &[Known::HalfOpen, Known::Dialling]) else { continue };
                    let reserved = node.places.count(Kept::is_dialled) < DIALLED_LINKS
                        && known[&link] == Known::Dialling
                        && node.places.links_of(UserId([user; 32])) < USER_LINKS_MAX;
                    let effects = node.open(link.0, user, standing);
                    let (keep, refuse) = (Effect::Keep(link), Effect::Refuse(link));
                    let decisions = effects.iter().filter(|effect| [keep, refuse].contains(effect));
                    prop_assert_eq!(decisions.count(), 1);
                    prop_assert!(!reserved || effects.contains(&keep), "a dial in the reserve is kept");
                    effects
                }
                Event::Standing(at, standing) => {
                    let Some(link) = pick(at, &[Known::Kept]) else { continue };
                    node.step(Input::Standing { link, standing })
                }
                Event::End(at) => {
                    let all = [Known::HalfOpen, Known::Dialling, Known::Kept, Known::Removed];
                    let Some(link) = pick(at, &all) else { continue };
                    known.insert(link, Known::Removed);
                    node.step(Input::Ended { link })
                }
            };
            for effect in effects {
                let (link, expected, becomes) = match effect {
                    Effect::Drop(link) => (link, &[Known::HalfOpen][..], Known::Removed),
                    Effect::Keep(link) => (link, &[Known::HalfOpen, Known::Dialling][..], Known::Kept),
                    Effect::Refuse(link) => (link, &[Known::HalfOpen, Known::Dialling][..], Known::Removed),
                    Effect::Displace(link) => (link, &[Known::Kept][..], Known::Removed),
                };
                prop_assert!(expected.contains(&known[&link]), "{effect:?} of {:?}", known[&link]);
                known.insert(link, becomes);
            }

            let places = &node.places;
            prop_assert!(places.half_open.len() <= HALF_OPEN_MAX && places.kept.len() <= LINKS_MAX);
            prop_assert!(places.count(Kept::is_stranger) <= STRANGER_LINKS_MAX);
            let others = |user: UserId| places.count(|kept| kept.user == user && !kept.standing.is_own);
            prop_assert!(places.kept.values().all(|kept| others(kept.user) <= USER_LINKS_MAX));
            let of = |is: Known| {
                let links = known.iter().filter(move |(_, it)| **it == is);
                links.map(|(link, _)| *link).collect::<Vec<_>>()
            };
            prop_assert!(of(Known::HalfOpen).iter().eq(places.half_open.keys()));
            prop_assert!(of(Known::Dialling).iter().eq(places.dialling.iter()));
            prop_assert!(of(Known::Kept).iter().eq(places.kept.keys()));
        }
    }
}
