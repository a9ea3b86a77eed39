//! Noise's four primitives, for the `snow` crate: X25519, AES-256-GCM, SHA-256, and randomness that was
//! passed in.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use sha2::{Digest, Sha256};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// Bytes that AES-GCM adds to a message.
pub(super) const TAG_BYTES: usize = 16;

/// Provides `snow` with the primitives of this one suite.
pub(super) struct Resolver {
    /// The ephemeral key of the one handshake that this resolver serves.
    pub(super) ephemeral: Zeroizing<[u8; 32]>,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Seed(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(X25519::default()) as _)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::new(Sha(Sha256::new())) as _)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::AESGCM).then(|| Box::new(AesGcm::new(&[0; 32])) as _)
    }
}

/// XX draws one key for each side; a second draw fails, so that no key is used twice.
struct Seed(Option<Zeroizing<[u8; 32]>>);

impl Random for Seed {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        let seed = self.0.take().filter(|seed| seed.len() == bytes.len()).ok_or(Error::Rng)?;
        bytes.copy_from_slice(&*seed);
        Ok(())
    }
}

/// RFC 7748 §5; `snow` asks for a public key more often than it sets a secret one.
struct X25519 {
    secret: StaticSecret,
    public: [u8; 32],
}

impl X25519 {
    fn put(&mut self, secret: [u8; 32]) {
        self.secret = secret.into();
        self.public = PublicKey::from(&self.secret).to_bytes();
    }
}

impl Default for X25519 {
    fn default() -> Self {
        Self { secret: [0; 32].into(), public: [0; 32] }
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        self.put(secret.try_into().expect("priv_len says 32"));
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), Error> {
        let mut secret = Zeroizing::new([0; 32]);
        random.try_fill_bytes(&mut *secret)?;
        self.put(*secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    // `snow` passes buffers that fit the largest curve: only the first 32 bytes are a key.
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let (public, _) = public.split_first_chunk::<32>().ok_or(Error::Dh)?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(*public));
        // A point of small order would make the secret one that everybody knows.
        if !shared.was_contributory() {
            return Err(Error::Dh);
        }
        out.first_chunk_mut::<32>().ok_or(Error::Dh)?.copy_from_slice(shared.as_bytes());
        Ok(())
    }
}

struct Sha(Sha256);

impl Hash for Sha {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Sha256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&self.0.finalize_reset());
    }
}

/// The bytes were not sealed under this key and number.
#[derive(Debug)]
pub(super) struct Tampered;

/// AES-256-GCM as Noise §12.4 uses it. Works in place.
pub(super) struct AesGcm(Box<Aes256Gcm>);

impl AesGcm {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Box::new(Aes256Gcm::new(key.into())))
    }

    pub(super) fn seal(&self, number: u64, associated: &[u8], content: &mut [u8]) -> [u8; TAG_BYTES] {
        let sealed = self.0.encrypt_inout_detached(&nonce(number), associated, content.into());
        sealed.expect("a message is shorter than 64 GiB").into()
    }

    pub(super) fn open(
        &self,
        number: u64,
        associated: &[u8],
        content: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Tampered> {
        let tag: &Tag = tag.into();
        self.0.decrypt_inout_detached(&nonce(number), associated, content.into(), tag).map_err(|_| Tampered)
    }

    /// Noise §4.2, REKEY: the old key cannot be recovered from the new one.
    pub(super) fn next(&self) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        self.seal(u64::MAX, &[], &mut *key);
        Self::new(&key)
    }
}

/// Noise §12.4: 32 zero bits, then the number, big endian.
fn nonce(number: u64) -> Nonce<aes_gcm::aes::cipher::consts::U12> {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce.into()
}

impl Cipher for AesGcm {
    fn name(&self) -> &'static str {
        "AESGCM"
    }

    fn set(&mut self, key: &[u8; 32]) {
        *self = Self::new(key);
    }

    fn encrypt(&self, nonce: u64, associated: &[u8], content: &[u8], out: &mut [u8]) -> usize {
        let (sealed, rest) = out.split_at_mut(content.len());
        sealed.copy_from_slice(content);
        let tag = self.seal(nonce, associated, sealed);
        rest[..TAG_BYTES].copy_from_slice(&tag);
        content.len() + TAG_BYTES
    }

    fn decrypt(&self, nonce: u64, associated: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let (content, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Error::Decrypt)?;
        let out = out.get_mut(..content.len()).ok_or(Error::Decrypt)?;
        out.copy_from_slice(content);
        self.open(nonce, associated, out, tag).map_err(|Tampered| Error::Decrypt)?;
        Ok(content.len())
    }
}
