//! Records about devices: certificates and revocations, signed by the user key and valid in every group, and
//! device records, signed by the device for one group.

use bincode::{Decode, Encode};

use crate::codec::DecodeError;
use crate::id::{DeviceId, GroupId, UserId};
use crate::limits::{
    ADDRESS_BYTES_MAX, CERTIFICATE_BYTES_MAX, DEVICE_ADDRESSES_MAX, DEVICE_RECORD_BYTES_MAX,
    DEVICE_REVOCATION_BYTES_MAX, LABEL_BYTES_MAX,
};
use crate::signed::{Record, SignedError};

/// A user's certificate for the keys of a device (authority 3.0). Any user can certify any key, so a device
/// id alone does not determine a user: look up the pair.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct DeviceCert {
    /// Version of the record, 1.
    pub version: u8,
    /// The user who signs.
    pub user: UserId,
    /// The device's verifying key.
    pub device: DeviceId,
    /// The device's X25519 key, proven by the handshake of each of its links.
    pub agreement: [u8; 32],
    /// The user's name for the device, at most [`LABEL_BYTES_MAX`] bytes of UTF-8.
    pub label: String,
}

impl Record for DeviceCert {
    const KIND: &'static str = "cert";
    const BYTES_MAX: usize = CERTIFICATE_BYTES_MAX;

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

/// A user's revocation of a device, for ever and in every group. It ends the device's links; changes that the
/// device wrote stay accepted until a group's ledger cuts them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct UserDeviceRevocation {
    /// Version of the record, 1.
    pub version: u8,
    /// The user who signs.
    pub user: UserId,
    /// The revoked device.
    pub device: DeviceId,
}

impl Record for UserDeviceRevocation {
    const KIND: &'static str = "device-revocation";
    const BYTES_MAX: usize = DEVICE_REVOCATION_BYTES_MAX;

    fn signer(&self) -> Result<[u8; 32], SignedError> {
        if self.version != 1 {
            return Err(malformed(Self::KIND, format!("version {}", self.version)));
        }
        Ok(self.user.0)
    }
}

/// A device's addresses, signed by the device for the members of one group. The highest counter wins.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct DeviceRecord {
    /// Version of the record, 1.
    pub version: u8,
    /// The group whose members may read it.
    pub group: GroupId,
    /// The device that signs.
    pub device: DeviceId,
    /// Grows with each record of the device.
    pub counter: u64,
    /// Addresses to dial, the best first, at most [`DEVICE_ADDRESSES_MAX`]; they may be out of date.
    pub addresses: Vec<String>,
}

impl DeviceRecord {
    /// Returns true if `text` may stand in a record: 1 to [`ADDRESS_BYTES_MAX`] bytes without blanks and
    /// control characters. A transport decides if it can be dialled.
    pub fn is_address(text: &str) -> bool {
        let odd = |character: char| character.is_control() || character.is_whitespace();
        !text.is_empty() && text.len() <= ADDRESS_BYTES_MAX && !text.chars().any(odd)
    }
}

impl Record for DeviceRecord {
    const KIND: &'static str = "device-record";
    const BYTES_MAX: usize = DEVICE_RECORD_BYTES_MAX;

    fn signer(&self) -> Result<[u8; 32], SignedError> {
        if self.version != 1 {
            return Err(malformed(Self::KIND, format!("version {}", self.version)));
        }
        if self.addresses.len() > DEVICE_ADDRESSES_MAX {
            return Err(malformed(Self::KIND, format!("{} addresses", self.addresses.len())));
        }
        if let Some(odd) = self.addresses.iter().find(|address| !Self::is_address(address)) {
            return Err(malformed(Self::KIND, format!("address {odd:?}")));
        }
        Ok(self.device.0)
    }
}

/// The error for a record that decodes and violates a rule of its kind.
pub(crate) fn malformed(kind: &'static str, what: String) -> SignedError {
    SignedError::Payload { kind, cause: DecodeError::Malformed { what } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;
    use crate::signed::Signed;

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

    fn record(addresses: Vec<String>) -> DeviceRecord {
        let device = DeviceId(SigningKey::from_seed([1; 32]).public());
        DeviceRecord { version: 1, group: GroupId([4; 32]), device, counter: u64::MAX, addresses }
    }

    #[test]
    fn a_record_holds_when_its_device_signed_it() {
        let [phone, other] = [1, 9].map(|seed| SigningKey::from_seed([seed; 32]));
        let signed = Signed::sign(record(vec!["ws://192.168.1.7:7654".into()]), &phone);
        assert_eq!(Signed::<DeviceRecord>::verify(signed.envelope().clone()), Ok(signed));

        let forged = Signed::sign(record(vec![]), &other);
        assert!(Signed::<DeviceRecord>::verify(forged.envelope().clone()).is_err());
    }

    #[test]
    fn more_longer_and_unprintable_addresses_are_refused() {
        let phone = SigningKey::from_seed([1; 32]);
        let longest = Signed::sign(record(vec!["x".repeat(ADDRESS_BYTES_MAX); 8]), &phone);
        assert!(longest.envelope().payload.len() <= DeviceRecord::BYTES_MAX);
        assert!(Signed::<DeviceRecord>::verify(longest.envelope().clone()).is_ok());

        let newer = DeviceRecord { version: 2, ..record(vec![]) };
        let odd =
            [vec!["x".into(); 9], vec!["x".repeat(301)], vec!["".into()], vec!["ws://\u{1b}[31m".into()]];
        for odd in odd.map(record).into_iter().chain([newer]) {
            let payload = crate::codec::encode(&odd);
            let signature = phone.sign(DeviceRecord::KIND, &payload);
            let refused = Signed::<DeviceRecord>::verify(crate::signed::Envelope { payload, signature });
            assert!(
                matches!(refused, Err(SignedError::Payload { kind: "device-record", .. })),
                "{refused:?}"
            );
        }
    }
}
