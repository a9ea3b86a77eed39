//! The supervision tree: rules with a mailbox, a clock, a disk and a socket.

pub mod admission;
pub mod call;
pub mod clock;
pub mod node;
pub mod restart;
pub mod transport;
