//! The wire: every byte that two devices exchange.
//!
//! ```text
//!  socket    length (u16) ‖ ciphertext, at most 65 535 bytes      handshake::Records
//!            └── link frames, cut over the records
//!  link      length (u32) ‖ kind (u8) ‖ body, at most 1 MiB       link::LinkFrame
//!            ├── 0 Auth        certificate and proof, the first in each direction
//!            ├── 1 Hello       announces groups by tokens
//!            ├── 2 Present     ops by which the sender is a member
//!            ├── 7 Join, 8 Declined            a ticket is redeemed, or refused
//!            ├── 4 Ping, 5 Pong, 6 Bye         the link itself
//!            └── 3 Group       channel (u32) ‖ body               group::GroupFrame
//!                ├── 0 Ledger  Summary, Pull, Push, More, …       ledger::LedgerFrame
//!                └── 1 Part    of an encoded frame, joined again  session::SessionFrame
//!                              Root, Leaves, Vectors, Request, Units, Ack
//! ```
//!
//! A frame travels in this order. Both sides of a new link send Auth, then a Hello with the groups that they
//! may open to the peer. A device that is not known as a member yet sends Present or Join before. Once both
//! have announced a group, its ledger session makes the ledgers equal; then its document session compares
//! roots and transfers units. New changes, ops and records are pushed on every open group until one side
//! sends Bye.
//!
//! Signed records travel inside frames as [`Envelope`](crate::signed::Envelope)s: [`device`] has
//! certificates, revocations and device records, [`Op`](crate::ledger::Op) is an op. [`ticket`] is the one
//! format that people carry. `docs/format.md` lists all of them byte by byte, and `schema/tests/it/golden.rs`
//! holds them to it.

pub mod auth;
pub mod device;
pub mod group;
pub mod hello;
pub mod ledger;
pub mod link;
pub mod session;
pub mod sync_message;
pub mod ticket;
