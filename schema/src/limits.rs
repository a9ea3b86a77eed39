//! Every bound on what enters from outside, with its unit and its reason, and an assertion for each relation.
//!
//! A name ends with its unit, then `_MAX`: `_BYTES_MAX`. Numbers that only tune code of this device, and that
//! no peer feeds, stay beside that code.

mod document;
mod ledger;
mod link;
mod membership;
mod node;
mod session;
mod store;

pub use document::*;
pub use ledger::*;
pub use link::*;
pub use membership::*;
pub use node::*;
pub use session::*;
pub use store::*;
