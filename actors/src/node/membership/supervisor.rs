//! The groups that the node runs, as membership starts and stops them.

use schema::GroupId;

/// Starts and stops the actors of groups; the node implements it.
pub(crate) trait GroupSupervisor: Send + Sync {
    /// Starts a group unless it runs. Does not wait.
    fn start_group(&self, group: GroupId);
    /// Stops a group. Does not wait.
    fn stop_group(&self, group: GroupId);
}
