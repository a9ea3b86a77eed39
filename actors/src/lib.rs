//! The rules of `peerbase-schema` with a mailbox, a clock, a disk and a socket.
//!
//! The supervision tree; a folder under `node` is a branch of it:
//! ```text
//! node (root supervisor)      a failing store stops it; the others are started again, 5 times in 60 s
//! ├── store                   one writer thread; every write passes it; fails with the disk
//! ├── membership              the gate: ledgers and intents in, rosters out; replays its ledgers
//! ├── group × N               one group: documents, tables, sessions; reads them back from the store
//! └── connection_manager      whom to dial, whom to keep
//!     ├── listener × L        accepts streams while permits last; started again
//!     └── connection × K      one link: handshake, frames; ends, and is dialled again
//! ```

// Changes made by hand are schema's, which knows itself by its full name.
#[cfg(test)]
extern crate schema as peerbase_schema;

pub mod call;
pub mod clock;
pub mod edit;
pub mod identity;
#[cfg(feature = "control")]
mod json;
pub mod meter;
pub mod node;
pub mod permits;
pub mod restart;
pub mod transport;
