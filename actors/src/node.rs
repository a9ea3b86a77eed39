//! Root: starts, orders and stops every branch.

pub mod connection_manager;
