//! Every byte that crosses a link.

pub mod auth;
pub mod device;
pub mod group;
pub mod hello;
pub mod ledger;
pub mod link;
pub mod session;
pub mod sync_message;
pub mod ticket;
