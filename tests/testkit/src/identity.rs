//! Users and their devices, from seeds.

use schema::device::DeviceIdentity;
use schema::id::hash;
use schema::key::{AgreementKey, SigningKey};

/// The only device of a user.
pub fn identity(seed: u8) -> DeviceIdentity {
    device_of(&[seed], &[seed])
}

/// One of a user's devices.
pub fn device_of(user: &[u8], device: &[u8]) -> DeviceIdentity {
    let signing = SigningKey::from_seed(hash("device", &[device]));
    let agreement = AgreementKey::from_seed(hash("agreement", &[device]));
    DeviceIdentity::certify(&user_key(user), signing, agreement, "made by hand")
}

/// The signing key of a user.
pub fn user_key(user: &[u8]) -> SigningKey {
    SigningKey::from_seed(hash("user", &[user]))
}
