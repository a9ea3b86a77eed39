//! `Noise_XX_25519_AESGCM_SHA256`: the state machine is `snow`'s, the primitives are ours.
//!
//! ```text
//! -> e    <- e, ee, s, es    -> s, se
//! ```

use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use super::LinkRole;
use super::record::{RecordCipher, Records};
use super::resolver::Resolver;
use crate::key::AgreementKey;
use crate::limits::HANDSHAKE_BYTES_MAX;

const PROTOCOL: &str = "Noise_XX_25519_AESGCM_SHA256";

/// The message does not belong to this handshake: it has other keys, another protocol or network, or is
/// changed.
pub(super) struct Mismatch;

/// One side of one Noise handshake.
pub(super) struct Noise(Box<HandshakeState>);

/// The result of the three messages.
pub(super) struct Split {
    /// The handshake's hash, which binds all messages.
    pub(super) h: [u8; 32],
    pub(super) peer_static: [u8; 32],
    pub(super) records: Records,
}

impl Noise {
    /// `ephemeral` is fresh randomness; a second use would reveal both links.
    pub(super) fn new(
        role: LinkRole,
        agreement: &AgreementKey,
        ephemeral: Zeroizing<[u8; 32]>,
        prologue: &[u8],
    ) -> Self {
        let secret = agreement.seed();
        let builder = Builder::with_resolver(
            PROTOCOL.parse().expect("a known suite"),
            Box::new(Resolver { ephemeral }),
        )
        .local_private_key(&*secret)
        .and_then(|builder| builder.prologue(prologue))
        .expect("each is set once");
        let state = match role {
            LinkRole::Initiator => builder.build_initiator(),
            LinkRole::Responder => builder.build_responder(),
        };
        Self(Box::new(state.expect("XX needs no more than a static key")))
    }

    /// Returns our next message with `payload`.
    pub(super) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, Mismatch> {
        let mut message = vec![0; HANDSHAKE_BYTES_MAX];
        let length = self.0.write_message(payload, &mut message).map_err(|_| Mismatch)?;
        message.truncate(length);
        Ok(message)
    }

    /// Handles the peer's next message, and returns its payload.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, Mismatch> {
        let mut payload = vec![0; message.len()];
        let length = self.0.read_message(message, &mut payload).map_err(|_| Mismatch)?;
        payload.truncate(length);
        Ok(payload)
    }

    /// Handles the peer's next message, whose payload must be empty.
    pub(super) fn read_bare(&mut self, message: &[u8]) -> Result<(), Mismatch> {
        if self.read(message)?.is_empty() { Ok(()) } else { Err(Mismatch) }
    }

    /// Noise §5.2, Split; fails before the three messages are exchanged.
    pub(super) fn split(mut self) -> Result<Split, Mismatch> {
        if !self.0.is_handshake_finished() {
            return Err(Mismatch);
        }
        let peer_static = self.0.get_remote_static().and_then(|key| key.try_into().ok()).ok_or(Mismatch)?;
        let h = self.0.get_handshake_hash().try_into().map_err(|_| Mismatch)?;
        let (initiators, responders) = self.0.dangerously_get_raw_split();
        let (initiators, responders) = (Zeroizing::new(initiators), Zeroizing::new(responders));
        let (sending, receiving) =
            if self.0.is_initiator() { (&initiators, &responders) } else { (&responders, &initiators) };
        let records = Records { send: RecordCipher::new(sending), receive: RecordCipher::new(receiving) };
        Ok(Split { h, peer_static, records })
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER_PERMISSIVE;
    use serde_json::Value;

    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        HEXLOWER_PERMISSIVE.decode(value.as_str().unwrap().as_bytes()).unwrap()
    }

    fn side(vector: &Value, role: LinkRole) -> Noise {
        let prefix = if role == LinkRole::Initiator { "init" } else { "resp" };
        let part = |name: &str| bytes(&vector[format!("{prefix}_{name}")]);
        let key = |name: &str| <[u8; 32]>::try_from(part(name)).unwrap();
        Noise::new(role, &AgreementKey::from_seed(key("static")), key("ephemeral").into(), &part("prologue"))
    }

    /// Cacophony's and snow's vectors: handshake messages, hash, and records both ways.
    #[test]
    fn the_published_noise_vectors_hold() {
        let vectors: Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
        let vectors = vectors["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 2);
        for vector in vectors {
            assert_eq!(vector["protocol_name"], PROTOCOL);
            let mut ends = [side(vector, LinkRole::Initiator), side(vector, LinkRole::Responder)];
            let messages = vector["messages"].as_array().unwrap();
            let (handshake, records) = messages.split_at(3);
            for (at, message) in handshake.iter().enumerate() {
                let (payload, expected) = (bytes(&message["payload"]), bytes(&message["ciphertext"]));
                assert_eq!(ends[at % 2].write(&payload).ok(), Some(expected.clone()), "message {at}");
                assert_eq!(ends[1 - at % 2].read(&expected).ok(), Some(payload), "message {at}");
            }

            let mut ends = ends.map(|end| end.split().ok().unwrap());
            assert_eq!(ends[0].h, ends[1].h);
            if let Some(hash) = vector.get("handshake_hash") {
                assert_eq!(ends[0].h.to_vec(), bytes(hash));
            }
            assert!(records.len() >= 2, "both ways");
            for (at, message) in records.iter().enumerate() {
                let (payload, expected) = (bytes(&message["payload"]), bytes(&message["ciphertext"]));
                let sender = 1 - at % 2;
                let mut sealed = payload.clone();
                let tag = ends[sender].records.send.seal(&mut sealed).unwrap();
                assert_eq!([&sealed[..], &tag].concat(), expected, "record {at}");
                let mut record = expected.clone();
                assert_eq!(ends[1 - sender].records.receive.open(&mut record).unwrap(), payload);
            }
        }
    }

    #[test]
    fn a_key_that_everybody_can_agree_with_is_refused() {
        let key = AgreementKey::from_seed([1; 32]);
        let mut responder = Noise::new(LinkRole::Responder, &key, [2; 32].into(), b"");
        // The ephemeral of small order shows itself at the first agreement.
        assert!(responder.read(&[0; 32]).is_ok());
        assert!(responder.write(&[]).is_err());
    }
}
