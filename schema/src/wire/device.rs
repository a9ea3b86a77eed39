//! Which devices a user certified and which it took back, signed by the user key and good in every group; and where a
//! device is reached, signed by its own key for one group.

use bincode::{Decode, Encode};

use crate::codec::DecodeError;
use crate::id::{DeviceId, GroupId, UserId};
use crate::limits::{ADDRESS_BYTES_MAX, DEVICE_ADDRESSES_MAX, LABEL_BYTES_MAX};
use crate::signed::{Record, SignedError};

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

/// Where a device is reached, by its own word and for the members of one group. Of several the newest counts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeviceRecord {
    /// The record's version, 1.
    pub version: u8,
    /// Whom it is for.
    pub group: GroupId,
    /// Who says it.
    pub device: DeviceId,
    /// Grows with each record of the device.
    pub counter: u64,
    /// Where it may be dialled, the best first, at most [`DEVICE_ADDRESSES_MAX`]: hints, not promises.
    pub addresses: Vec<String>,
}

impl DeviceRecord {
    /// Whether a text may stand in a record: 1 to [`ADDRESS_BYTES_MAX`] bytes without blanks and control characters.
    /// Whether anybody can dial it is for transports to say.
    pub fn is_address(text: &str) -> bool {
        let odd = |character: char| character.is_control() || character.is_whitespace();
        !text.is_empty() && text.len() <= ADDRESS_BYTES_MAX && !text.chars().any(odd)
    }
}

impl Record for DeviceRecord {
    const KIND: &'static str = "device-record";
    const BYTES_MAX: usize = 96 + DEVICE_ADDRESSES_MAX * (ADDRESS_BYTES_MAX + 3);

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

/// Well-formed bytes that break a rule of their kind.
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
