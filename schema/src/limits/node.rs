//! Deadlines of actors.

use std::time::Duration;

/// Time in which an actor must answer.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Time in which a branch must stop before it is killed.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);
