//! Storage engines: those that come with the crate, and the traits to implement another.
//!
//! [`NodeBuilder::engine`](crate::NodeBuilder::engine) takes anything that implements [`OpenEngine`];
//! [`SledOptions`] is the default.

#[doc(inline)]
pub use actors::node::store::SledOptions;
#[doc(inline)]
pub use actors::node::store::engine::{
    Batch, Engine, Entry, KEY_BYTES_MAX, Mode, OpenEngine, Scan, Space, VALUE_BYTES_MAX, Write,
};
#[doc(inline)]
pub use actors::node::store::memory::{MemoryDisk, MemoryEngine};

pub use crate::error::{StoreError, StoreOpenError};
