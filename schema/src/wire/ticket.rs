//! An invitation as text (AUTHORITY 3.11).
//!
//! Shape: `pb1` ‖ base32 (RFC 4648, lower case, no padding) of (record ‖ first 4 bytes of `H("ticket", record)`).
//! One word, so that it is selected with one click; `1` is no digit of base32. Case, blanks and line breaks do not
//! matter, and neither does a URL in front of a `#`: a fragment is not sent to whoever serves the page.

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use crate::codec::{self, DecodeError};
use crate::id::{DeviceId, GroupId, OpId, hash};
use crate::key::SigningKey;
use crate::limits::{ADDRESS_BYTES_MAX, TICKET_ADDRESSES_MAX};

const PREFIX: &str = "pb1";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// The fixed fields, and each address with its length.
const RECORD_BYTES_MAX: usize = 256 + TICKET_ADDRESSES_MAX * (ADDRESS_BYTES_MAX + 3);

/// Lets whoever holds it into a group, as often and as long as the invitation says. Keep it as secret as a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    group: GroupId,
    invite: OpId,
    seed: Zeroizing<[u8; 16]>,
    inviter: DeviceId,
    log_head: OpId,
    addresses: Vec<String>,
}

#[derive(Encode, Decode)]
struct Fields {
    version: u8,
    group: GroupId,
    invite: OpId,
    seed: [u8; 16],
    inviter: DeviceId,
    log_head: OpId,
    addresses: Vec<String>,
}

/// Why a text is no ticket; nothing was done with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// It does not begin like one.
    #[error("not a ticket: tickets begin with {PREFIX}")]
    Prefix,
    /// A character that no ticket has.
    #[error("ticket has a {character:?} at place {at}: copy it again")]
    Character {
        /// The character.
        character: char,
        /// Its place, counted in characters from 1.
        at: usize,
    },
    /// Characters are missing or were changed.
    #[error("ticket is damaged or incomplete: copy it again, whole")]
    Checksum,
    /// A newer program made it.
    #[error("ticket of version {found}, this program reads {VERSION}: update it")]
    Version {
        /// The version.
        found: u8,
    },
    /// Its checksum holds, but not what is inside.
    #[error("ticket is malformed: ask for another")]
    Malformed(#[source] DecodeError),
    /// More or longer addresses than a ticket may have.
    #[error(
        "ticket with {count} addresses of up to {bytes} bytes, {TICKET_ADDRESSES_MAX} of {ADDRESS_BYTES_MAX} are allowed"
    )]
    Addresses {
        /// How many.
        count: usize,
        /// The longest, bytes.
        bytes: usize,
    },
}

impl Ticket {
    /// A ticket for the invitation `invite`; `seed` is 16 random bytes, whose [`key`](Self::key_of) the invitation
    /// names; `log_head` is an op that the group's ledger has had since.
    ///
    /// # Errors
    /// [`TicketError::Addresses`].
    pub fn new(
        group: GroupId,
        invite: OpId,
        seed: [u8; 16],
        inviter: DeviceId,
        log_head: OpId,
        addresses: Vec<String>,
    ) -> Result<Self, TicketError> {
        let (count, bytes) = (addresses.len(), addresses.iter().map(String::len).max().unwrap_or_default());
        if count > TICKET_ADDRESSES_MAX || bytes > ADDRESS_BYTES_MAX {
            return Err(TicketError::Addresses { count, bytes });
        }
        Ok(Self { group, invite, seed: seed.into(), inviter, log_head, addresses })
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The OpenInvite.
    pub fn invite(&self) -> OpId {
        self.invite
    }

    /// The device that made it: the first to ask.
    pub fn inviter(&self) -> DeviceId {
        self.inviter
    }

    /// An op that the group's ledger had when the ticket was made: a ledger without it is an old one.
    pub fn log_head(&self) -> OpId {
        self.log_head
    }

    /// Where the inviter was reached when the ticket was made; hints, not promises.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// What the invitation's secret key is made from.
    pub fn seed(&self) -> [u8; 16] {
        *self.seed
    }

    /// The secret key that a seed stands for in a group.
    pub fn key_of(seed: &[u8; 16], group: GroupId) -> SigningKey {
        SigningKey::from_seed(hash("invite", &[seed, &group.0]))
    }

    /// The record and its checksum: what the text says in base32.
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let fields = Fields {
            version: VERSION,
            group: self.group,
            invite: self.invite,
            seed: *self.seed,
            inviter: self.inviter,
            log_head: self.log_head,
            addresses: self.addresses.clone(),
        };
        let mut bytes = codec::encode(&fields);
        bytes.extend(checksum(&bytes));
        bytes.into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, TicketError> {
        let record = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(TicketError::Checksum)?;
        let (record, sum) = bytes.split_at(record);
        if checksum(record) != sum {
            return Err(TicketError::Checksum);
        }
        match record.first() {
            Some(&VERSION) => {}
            Some(&found) => return Err(TicketError::Version { found }),
            None => return Err(TicketError::Checksum),
        }
        let Fields { group, invite, seed, inviter, log_head, addresses, .. } =
            codec::decode(record, RECORD_BYTES_MAX).map_err(TicketError::Malformed)?;
        Self::new(group, invite, seed, inviter, log_head, addresses)
    }
}

fn checksum(record: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let [a, b, c, d, ..] = hash("ticket", &[record]);
    [a, b, c, d]
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE32_NOPAD.encode(&self.encode()).to_ascii_lowercase())
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let fragment = text.rsplit_once('#').map_or(text, |(_, fragment)| fragment);
        let word: String = fragment.chars().filter(|character| !character.is_whitespace()).collect();
        let word = Zeroizing::new(word.to_ascii_uppercase());
        let digits = word.strip_prefix(&PREFIX.to_ascii_uppercase()).ok_or(TicketError::Prefix)?;
        let strange = |(_, character): &(usize, char)| !matches!(character, 'A'..='Z' | '2'..='7');
        if let Some((at, character)) = digits.chars().enumerate().find(strange) {
            return Err(TicketError::Character { character, at: at + PREFIX.len() + 1 });
        }
        // A length or last digit that base32 does not have: something is missing.
        let bytes = BASE32_NOPAD.decode(digits.as_bytes()).map_err(|_| TicketError::Checksum)?;
        Self::decode(&Zeroizing::new(bytes))
    }
}

/// Its secret stays out of logs.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({}, {:?})", self.group.short(), self.addresses)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn ticket() -> Ticket {
        let addresses = vec!["ws://192.168.1.7:7654".to_owned()];
        let ids = (GroupId([1; 32]), OpId([2; 32]), DeviceId([4; 32]), OpId([5; 32]));
        Ticket::new(ids.0, ids.1, [3; 16], ids.2, ids.3, addresses).unwrap()
    }

    #[test]
    fn the_text_has_not_moved() {
        let text = ticket().to_string();

        assert_eq!(
            text,
            "pb1aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaib\
             aeaqcambqgaydambqgaydambqgaydamcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibifaucqkbifaucqkbifau\
             cqkbifaucqkbifaucqkbifaucqkbifaekxo4z2f4xtcojsfyytmobogexdoorxgy2tjnrvveza"
        );
        assert_eq!(text.parse(), Ok(ticket()));
    }

    #[test]
    fn how_people_pass_it_on_does_not_matter() {
        let text = ticket().to_string();
        let wrapped: Vec<&str> =
            text.as_bytes().chunks(40).map(|line| str::from_utf8(line).unwrap()).collect();

        for passed_on in [
            text.to_ascii_uppercase(),
            format!("  {}\n", wrapped.join("\r\n  ")),
            format!("https://example.org/join#{text}"),
        ] {
            assert_eq!(passed_on.parse(), Ok(ticket()), "{passed_on}");
        }
    }

    #[test]
    fn what_is_no_ticket_says_why() {
        let text = ticket().to_string();
        let parse = |text: &str| text.parse::<Ticket>().unwrap_err();

        assert_eq!(parse(""), TicketError::Prefix);
        assert_eq!(parse("https://example.org/#hello"), TicketError::Prefix);
        assert_eq!(parse("pb1"), TicketError::Checksum);
        assert_eq!(parse("pb1ab0"), TicketError::Character { character: '0', at: 6 });
        assert_eq!(parse(&text[..text.len() - 1]), TicketError::Checksum);
        let mut newer = ticket().encode().to_vec();
        newer.truncate(newer.len() - CHECKSUM_BYTES);
        newer[0] = 2;
        newer.extend(checksum(&newer));
        assert_eq!(Ticket::decode(&newer), Err(TicketError::Version { found: 2 }));
    }

    #[test]
    fn a_ticket_does_not_print_its_secret_in_logs() {
        assert_eq!(format!("{:?}", ticket()), "Ticket(01010101, [\"ws://192.168.1.7:7654\"])");
    }

    proptest! {
        #[test]
        fn a_ticket_survives_its_text(
            ids in any::<[[u8; 32]; 4]>(),
            seed: [u8; 16],
            addresses in vec("[ -~]{0,60}", 0..=TICKET_ADDRESSES_MAX),
        ) {
            let [group, invite, inviter, log_head] = ids;
            let ticket = Ticket::new(
                GroupId(group), OpId(invite), seed, DeviceId(inviter), OpId(log_head), addresses,
            ).unwrap();
            prop_assert_eq!(ticket.to_string().parse(), Ok(ticket));
        }

        /// One wrong letter is noticed, with the one chance in four billion that four bytes leave.
        #[test]
        fn a_wrong_letter_is_noticed(at in any::<prop::sample::Index>(), letter in "[a-z2-7]") {
            let text = ticket().to_string();
            let at = PREFIX.len() + at.index(text.len() - PREFIX.len());
            prop_assume!(text[at..=at] != letter);
            let wrong = format!("{}{letter}{}", &text[..at], &text[at + 1..]);
            prop_assert_eq!(wrong.parse::<Ticket>(), Err(TicketError::Checksum));
        }

        #[test]
        fn any_text_is_a_ticket_or_an_error(text in "\\PC*") {
            let _ = text.parse::<Ticket>();
            let _ = format!("pb1{text}").parse::<Ticket>();
        }
    }
}
