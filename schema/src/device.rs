//! The keys of this device and its user's certificate for them.

use crate::id::{DeviceId, UserId};
use crate::key::{AgreementKey, SigningKey};
use crate::limits::LABEL_BYTES_MAX;
use crate::signed::Signed;
use crate::wire::device::DeviceCert;

/// The two keys of this device, and its user's certificate for them.
#[derive(Clone, Debug)]
pub struct DeviceIdentity {
    /// Signs tips, ops, records and handshakes.
    pub signing: SigningKey,
    /// Agrees on the secrets of links.
    pub agreement: AgreementKey,
    /// The certificate, signed by the device's user.
    pub certificate: Signed<DeviceCert>,
}

impl DeviceIdentity {
    /// Certifies a device with these keys. The label is truncated to [`LABEL_BYTES_MAX`] bytes.
    pub fn certify(user: &SigningKey, signing: SigningKey, agreement: AgreementKey, label: &str) -> Self {
        let end = (0..=LABEL_BYTES_MAX).rev().find(|end| label.is_char_boundary(*end)).expect("0 is one");
        let certificate = DeviceCert {
            version: 1,
            user: UserId(user.public()),
            device: DeviceId(signing.public()),
            agreement: agreement.public(),
            label: label[..end].to_owned(),
        };
        Self { signing, agreement, certificate: Signed::sign(certificate, user) }
    }

    /// Returns the device's id.
    pub fn device(&self) -> DeviceId {
        self.certificate.record().device
    }

    /// Returns the id of its user.
    pub fn user(&self) -> UserId {
        self.certificate.record().user
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signed::Record;

    fn laptop(label: &str) -> DeviceIdentity {
        let user = SigningKey::from_seed([1; 32]);
        DeviceIdentity::certify(
            &user,
            SigningKey::from_seed([2; 32]),
            AgreementKey::from_seed([3; 32]),
            label,
        )
    }

    #[test]
    fn a_label_is_truncated_between_characters() {
        let label = laptop(&"ä".repeat(100)).certificate.record().label.clone();
        assert_eq!(label, "ä".repeat(32));
        assert!(laptop(&label).certificate.envelope().payload.len() <= DeviceCert::BYTES_MAX);
    }
}
