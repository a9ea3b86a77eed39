//! Placeholder.

pub mod identity;
pub mod node;
