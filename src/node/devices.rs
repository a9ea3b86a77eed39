//! Lists and revokes this user's devices.

use actors::node::membership::Device;
use schema::DeviceId;

use super::Node;
use crate::error::GroupError;

impl Node {
    /// Lists this user's devices that are known here, by id, revoked ones included.
    ///
    /// # Errors
    /// [`GroupError::Call`] if the node is closed or does not answer.
    pub async fn devices(&self) -> Result<Vec<Device>, GroupError> {
        Ok(self.handle().membership().devices().await?)
    }

    /// Revokes a lost or stolen device of this user, in all groups and for good. A second call changes
    /// nothing.
    ///
    /// It gets no more rows from this device, nor from any other that receives the revocation, even if its
    /// user is removed and admitted again. It keeps the rows that it has, and the rows that it wrote stay in
    /// the groups. A thief who also has the user's key can certify another device: a [recovery
    /// key](Self::make_recovery) helps against that.
    ///
    /// In groups where this user is an Admin, a cut also ends what the device may write, group by group,
    /// which takes as long as reading the rows that it wrote. If the node ends meanwhile or this returns an
    /// error, call it again: it goes on from there. The revocation itself reaches all groups at the latest
    /// when the node is opened again.
    ///
    /// # Errors
    /// [`GroupError::UnknownDevice`] if no certificate of the device is known here, [`GroupError::OwnDevice`]
    /// for this device.
    pub async fn revoke_device(&self, device: DeviceId) -> Result<(), GroupError> {
        Ok(self.handle().membership().revoke_device(device).await?)
    }
}
