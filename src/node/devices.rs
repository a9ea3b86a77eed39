//! This user's devices, and taking one back that was lost.

use actors::node::membership::Device;
use schema::DeviceId;

use super::Node;
use crate::error::GroupError;

impl Node {
    /// This user's devices as far as they are known here, by id; those that were taken back too.
    ///
    /// # Errors
    /// [`GroupError::Call`] when the node is closed or does not answer.
    pub async fn devices(&self) -> Result<Vec<Device>, GroupError> {
        Ok(self.handle().membership().devices().await?)
    }

    /// Takes a device of this user back: one that was lost or stolen. It cannot be undone, and a second time changes
    /// nothing.
    ///
    /// From here on it gets no more rows from this device, nor from any other that has heard of it, in any group, even
    /// where its user is removed and let in again; what it has, it keeps. What it wrote stays in the groups. A thief who
    /// has this user's key as well is another matter: that is what a [recovery key](Self::make_recovery) is for.
    ///
    /// Where this user is an Admin, what the device writes is ended too, group by group. Should that end half-way, because
    /// the node did or this returned an error, call it again, and it goes on from there. That the device is out is said
    /// in all groups then at the latest when the node is opened again.
    ///
    /// # Errors
    /// [`GroupError::UnknownDevice`] when no certificate of it is here, [`GroupError::OwnDevice`] for this device.
    pub async fn revoke_device(&self, device: DeviceId) -> Result<(), GroupError> {
        Ok(self.handle().membership().revoke_device(device).await?)
    }
}
