//! Which devices a user certified and which it took back; both are signed by the user key and hold in every group.

use bincode::{Decode, Encode};

use crate::codec::DecodeError;
use crate::id::{DeviceId, UserId};
use crate::key::{AgreementKey, SigningKey};
use crate::limits::LABEL_BYTES_MAX;
use crate::signed::{Record, Signed, SignedError};

/// A user vouches for a device (AUTHORITY 3.0). Anybody can certify any key, so a device's user is never read from
/// the device id alone: ask with the pair.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeviceCert {
    /// The record's version, 1.
    pub version: u8,
    /// Who vouches.
    pub user: UserId,
    /// The device's verifying key.
    pub device: DeviceId,
    /// The device's X25519 key, which its links prove.
    pub agreement: [u8; 32],
    /// What its user calls it, at most [`LABEL_BYTES_MAX`] bytes.
    pub label: String,
}

impl Record for DeviceCert {
    const KIND: &'static str = "cert";
    const BYTES_MAX: usize = 256;

    fn signer(&self) -> Result<[u8; 32], SignedError> {
        if self.version != 1 {
            return Err(malformed(Self::KIND, format!("version {}", self.version)));
        }
        if self.label.len() > LABEL_BYTES_MAX {
            return Err(malformed(Self::KIND, format!("label of {} bytes", self.label.len())));
        }
        Ok(self.user.0)
    }
}

/// A user takes a device back, for ever and in every group. It closes connections; what the device wrote stays
/// until a group's ledger cuts it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UserDeviceRevocation {
    /// The record's version, 1.
    pub version: u8,
    /// Whose device it is.
    pub user: UserId,
    /// The device that is out.
    pub device: DeviceId,
}

impl Record for UserDeviceRevocation {
    const KIND: &'static str = "device-revocation";
    const BYTES_MAX: usize = 128;

    fn signer(&self) -> Result<[u8; 32], SignedError> {
        if self.version != 1 {
            return Err(malformed(Self::KIND, format!("version {}", self.version)));
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
            version: 1,
            user: UserId(user.public()),
            device: DeviceId(signing.public()),
            agreement: agreement.public(),
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

/// Well-formed bytes that break a rule of their kind.
pub(crate) fn malformed(kind: &'static str, what: String) -> SignedError {
    SignedError::Payload { kind, cause: DecodeError::Malformed { what } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(label: &str) -> DeviceCert {
        let ada = SigningKey::from_seed([1; 32]);
        DeviceCert {
            version: 1,
            user: UserId(ada.public()),
            device: DeviceId([2; 32]),
            agreement: [3; 32],
            label: label.into(),
        }
    }

    #[test]
    fn a_certificate_holds_when_its_user_signed_it() {
        let [ada, ben] = [1, 9].map(|seed| SigningKey::from_seed([seed; 32]));
        let signed = Signed::sign(certificate("laptop"), &ada);
        assert_eq!(Signed::<DeviceCert>::verify(signed.envelope().clone()), Ok(signed));

        let forged = Signed::sign(certificate("laptop"), &ben);
        assert!(Signed::<DeviceCert>::verify(forged.envelope().clone()).is_err());
    }

    #[test]
    fn a_long_label_and_an_unknown_version_are_refused() {
        let ada = SigningKey::from_seed([1; 32]);
        for odd in [certificate(&"x".repeat(65)), DeviceCert { version: 2, ..certificate("x") }] {
            let signed = Signed::sign(odd, &ada);
            let refused = Signed::<DeviceCert>::verify(signed.envelope().clone());
            assert!(matches!(refused, Err(SignedError::Payload { kind: "cert", .. })), "{refused:?}");
        }
        let longest = Signed::sign(certificate(&"x".repeat(64)), &ada);
        assert!(Signed::<DeviceCert>::verify(longest.envelope().clone()).is_ok());
    }

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
    fn a_label_is_cut_between_characters() {
        let label = laptop(&"ä".repeat(100)).certificate.record().label.clone();
        assert_eq!(label, "ä".repeat(32));
        assert!(laptop(&label).certificate.envelope().payload.len() <= DeviceCert::BYTES_MAX);
    }
}
