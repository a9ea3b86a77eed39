//! Tickets: an invitation as text (authority 3.11).
//!
//! A ticket is `pb1` ‖ base32 (RFC 4648, lower case, no padding) of (record ‖ first 4 bytes of `H("ticket",
//! record)`). It is one word, so that it is selected with one click; `1` is no digit of base32. The parser
//! ignores case, blanks, line breaks, and a URL in front of a `#`: browsers do not send the fragment to the
//! server.

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use crate::codec::{self, DecodeError};
use crate::id::{DeviceId, GroupId, OpId, hash};
use crate::key::SigningKey;
use crate::limits::{ADDRESS_BYTES_MAX, TICKET_ADDRESSES_MAX, TICKET_RECORD_BYTES_MAX};

const PREFIX: &str = "pb1";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

/// The secret with which a user joins a group, as often and as long as the invitation allows. Keep it as
/// secret as a key.
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

/// The reason why a text is not a ticket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// The text does not begin with the prefix.
    #[error("not a ticket: tickets begin with {PREFIX}")]
    Prefix,
    /// A character that is not part of the alphabet.
    #[error("ticket has a {character:?} at position {at}: copy it again")]
    Character {
        /// The character.
        character: char,
        /// Its position, counted in characters from 1.
        at: usize,
    },
    /// Characters are missing or changed.
    #[error("ticket is damaged or incomplete: copy it again, whole")]
    Checksum,
    /// The ticket was made by a newer program.
    #[error("ticket of version {found}, this program reads {VERSION}: update it")]
    Version {
        /// The version.
        found: u8,
    },
    /// The checksum is right and the record is malformed.
    #[error("ticket is malformed: ask for another")]
    Malformed(#[source] DecodeError),
    /// There are more or longer addresses than allowed.
    #[error(
        "ticket with {count} addresses of up to {bytes} bytes, {TICKET_ADDRESSES_MAX} of \
         {ADDRESS_BYTES_MAX} are allowed"
    )]
    Addresses {
        /// Number of addresses.
        count: usize,
        /// Length of the longest, bytes.
        bytes: usize,
    },
}

impl Ticket {
    /// Creates a ticket for the invitation `invite`. `seed` is 16 random bytes whose [`key`](Self::key_of)
    /// the invitation names; `log_head` is an op of the group's ledger at that time.
    ///
    /// # Errors
    /// [`TicketError::Addresses`].
    #[doc(hidden)] // `Group::invite` makes tickets
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

    /// Returns the group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// Returns the id of the OpenInvite op.
    pub fn invite(&self) -> OpId {
        self.invite
    }

    /// Returns the device that made the ticket: the first to dial.
    pub fn inviter(&self) -> DeviceId {
        self.inviter
    }

    /// Returns an op that the ledger had when the ticket was made; a ledger without it is older than the
    /// ticket.
    pub fn log_head(&self) -> OpId {
        self.log_head
    }

    /// Returns the inviter's addresses at the time when the ticket was made; they may be out of date.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Returns the seed of the invitation's secret key.
    #[doc(hidden)] // a secret
    pub fn seed(&self) -> [u8; 16] {
        *self.seed
    }

    /// Derives the invitation's secret key from its seed.
    #[doc(hidden)] // a secret
    pub fn key_of(seed: &[u8; 16], group: GroupId) -> SigningKey {
        SigningKey::from_seed(hash("invite", &[seed, &group.0]))
    }

    /// Encodes the record and its checksum.
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
            codec::decode(record, TICKET_RECORD_BYTES_MAX).map_err(TicketError::Malformed)?;
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
        // An impossible length or last digit: characters are missing.
        let bytes = BASE32_NOPAD.decode(digits.as_bytes()).map_err(|_| TicketError::Checksum)?;
        Self::decode(&Zeroizing::new(bytes))
    }
}

/// Prints no secret, so that logs contain none.
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
    fn a_ticket_keeps_its_text() {
        let text = ticket().to_string();

        assert_eq!(
            text,
            "pb1aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaqcaibaeaqcaibaeaqcaibaeaqcaibae\
             aqcaibaeaqcaibaeaqcambqgaydambqgaydambqgaydamcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcai\
             baeaqcaibifaucqkbifaucqkbifaucqkbifaucqkbifaucqkbifaucqkbifaekxo4z2f4xtcojsfyytmobogexdo\
             orxgy2tjnrvveza"
        );
        assert_eq!(text.parse(), Ok(ticket()));
    }

    #[test]
    fn case_line_breaks_and_a_url_in_front_do_not_matter() {
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
    fn a_text_that_is_not_a_ticket_is_a_typed_error() {
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
    fn debug_output_of_a_ticket_has_no_secret() {
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

        /// Four bytes of checksum miss one error in four billion.
        #[test]
        fn a_wrong_letter_is_a_checksum_error(at in any::<prop::sample::Index>(), letter in "[a-z2-7]") {
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
