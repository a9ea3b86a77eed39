//! A device, certified by its user: who it is, how to agree on secrets with it, what people call it.
//!
//! Shape: authority 3.0, `DeviceCert`; self-certifying and global.

use bincode::{Decode, Encode};

use crate::codec::DecodeError;
use crate::key::{AgreementKey, SigningKey};
use crate::limits::LABEL_BYTES_MAX;
use crate::signed::{Record, Signed, SignedError};
use crate::{DeviceId, UserId};

/// The only version of a certificate so far.
const VERSION: u8 = 1;

/// A user's statement that a device is theirs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeviceCert {
    /// Format version, 1.
    pub v: u8,
    /// Whose device.
    pub user: UserId,
    /// The device: its signing key.
    pub device: DeviceId,
    /// The device's X25519 public key.
    pub dh: [u8; 32],
    /// What people call it, at most `LABEL_BYTES_MAX` bytes.
    pub label: String,
}

impl Record for DeviceCert {
    const KIND: &'static str = "cert";
    /// Version, three keys, and the longest label with its length.
    const BYTES_MAX: usize = 1 + 3 * 32 + 1 + LABEL_BYTES_MAX;

    fn signer(&self) -> Result<[u8; 32], SignedError> {
        if self.v != VERSION {
            let what = format!("version {} where {VERSION} is known", self.v);
            return Err(SignedError::Payload { kind: Self::KIND, cause: DecodeError::Malformed { what } });
        }
        Ok(self.user.0)
    }
}

/// What a device proves itself with: its two keys and its user's word for them.
#[derive(Clone, Debug)]
pub struct DeviceIdentity {
    /// Signs what the device says.
    pub signing: SigningKey,
    /// Agrees on link secrets.
    pub agreement: AgreementKey,
    /// By the device's user.
    pub certificate: Signed<DeviceCert>,
}

impl DeviceIdentity {
    /// Has `user` certify a device with these keys. A label is cut to `LABEL_BYTES_MAX` bytes.
    pub fn certify(user: &SigningKey, signing: SigningKey, agreement: AgreementKey, label: &str) -> Self {
        let end = (0..=LABEL_BYTES_MAX).rev().find(|end| label.is_char_boundary(*end)).expect("0 is one");
        let certificate = DeviceCert {
            v: VERSION,
            user: UserId(user.public()),
            device: DeviceId(signing.public()),
            dh: agreement.public(),
            label: label[..end].to_owned(),
        };
        Self { signing, agreement, certificate: Signed::sign(certificate, user) }
    }

    /// The device.
    pub fn device(&self) -> DeviceId {
        self.certificate.record().device
    }

    /// Its user.
    pub fn user(&self) -> UserId {
        self.certificate.record().user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_certificate_is_verified_by_the_users_key_alone() {
        let ada = laptop("Ada's laptop");

        let seen = Signed::<DeviceCert>::verify(ada.certificate.envelope().clone()).unwrap();

        assert_eq!(seen.record(), ada.certificate.record());
        assert_eq!((seen.record().user, seen.record().device), (ada.user(), ada.device()));
    }

    #[test]
    fn the_certificate_has_not_moved() {
        let ada = laptop("x");
        let bytes = &ada.certificate.envelope().payload;
        assert_eq!((bytes.len(), bytes[0], &bytes[97..]), (99, 1, &b"\x01x"[..]));
    }

    #[test]
    fn a_label_is_cut_between_characters() {
        let label = laptop(&"ä".repeat(100)).certificate.record().label.clone();
        assert_eq!(label, "ä".repeat(32));
        assert!(laptop(&label).certificate.envelope().payload.len() <= DeviceCert::BYTES_MAX);
    }

    #[test]
    fn an_unknown_version_and_a_long_label_are_no_certificate() {
        let user = SigningKey::from_seed([1; 32]);
        let good = laptop("x").certificate.record().clone();
        let later = DeviceCert { v: 2, ..good.clone() };
        let long = DeviceCert { label: "x".repeat(LABEL_BYTES_MAX + 1), ..good };

        for wrong in [later, long] {
            let payload = crate::codec::encode(&wrong);
            let signature = user.sign(DeviceCert::KIND, &payload);
            let verdict = Signed::<DeviceCert>::verify(crate::signed::Envelope { payload, signature });
            assert!(matches!(verdict, Err(SignedError::Payload { kind: "cert", .. })), "{verdict:?}");
        }
    }
}
