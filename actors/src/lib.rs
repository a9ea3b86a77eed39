//! Runs the rules of `peerbase-schema`: gives them a mailbox, a clock, a disk and a socket.
//!
//! An inner crate of `peerbase`, without semver: depend on `peerbase` alone.
//!
//! The supervision tree; a folder under `node` is a branch of it:
//! ```text
//! node (root supervisor)      a failing store stops it; the others are started again, 5 times in 60 s
//! ├── store                   one writer thread for every write; fails with the disk
//! ├── membership              the gate: ledgers and intents in, rosters out; replays its ledgers
//! ├── group × N               one group: documents, tables, sessions; reads them back from the store
//! └── connection_manager      dials, listens, keeps one link per device
//!     ├── listener × L        accepts streams while permits are available; started again
//!     └── connection × K      one link: handshake, frames; dialled again after its end
//! ```

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
pub mod watchdog;
