//! The identity file: the secret keys of the user and of this device. It is never overwritten.
//!
//! Format of `identity.key`, 140 bytes: `peerbase` (8 bytes), version (4, little endian), seeds of the user's
//! and the device's signing keys and of the device's agreement key (32 each), and the hash of all bytes
//! before (32). Only its owner can read the file. It lies beside the store, not in it: a database can be
//! fetched from peers again, an identity cannot.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use schema::DeviceId;
use schema::id::hash;
use schema::key::{AgreementKey, SigningKey};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"peerbase";
const VERSION: u32 = 1;
const SEEDS_AT: usize = 12;
const CHECKSUM_AT: usize = SEEDS_AT + 3 * 32;
const FILE_BYTES: usize = CHECKSUM_AT + 32;

/// The secret keys of a user on one device. They are wiped when dropped and have no printable form.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Signs for the user: admits and removes devices and members.
    pub user: SigningKey,
    /// Signs for this device: ops, tips, handshakes.
    pub device: SigningKey,
    /// Agrees on the secrets of links for this device.
    pub agreement: AgreementKey,
}

/// Error of reading or making the identity file, which is unchanged then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The database exists but its identity file does not; restore the file from a backup. A new identity
    /// would be another user.
    #[error("identity file {} is missing beside its database", .path.display())]
    Missing {
        /// The expected path.
        path: PathBuf,
    },
    /// The file exists already and is not overwritten.
    #[error("identity file {} exists already", .path.display())]
    Exists {
        /// The path of the file.
        path: PathBuf,
    },
    /// The file was changed since it was written; restore it from a backup.
    #[error("identity file {} is damaged", .path.display())]
    Damaged {
        /// The path of the file.
        path: PathBuf,
    },
    /// Another version of this program wrote the file; use that version.
    #[error("identity file {} has version {found}, this program reads {supported}", .path.display())]
    Version {
        /// The path of the file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version that this program reads.
        supported: u32,
    },
    /// The file system refused.
    #[error("could not use identity file {}", .path.display())]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The file system's error.
        #[source]
        cause: io::Error,
    },
}

impl Identity {
    /// Generates an identity. `random` must fill its argument with unpredictable bytes.
    pub fn generate(random: &mut impl FnMut(&mut [u8])) -> Self {
        let mut seed = || {
            let mut seed = Zeroizing::new([0; 32]);
            random(&mut *seed);
            seed
        };
        Self {
            user: SigningKey::from_seed(*seed()),
            device: SigningKey::from_seed(*seed()),
            agreement: AgreementKey::from_seed(*seed()),
        }
    }

    /// Loads the identity; generates and saves it if there is neither a file nor a database.
    ///
    /// # Errors
    /// [`IdentityError::Missing`] if there is no file but `database_exists`; otherwise as
    /// [`load`](Self::load).
    pub fn open(
        path: &Path,
        database_exists: bool,
        random: &mut impl FnMut(&mut [u8]),
    ) -> Result<Self, IdentityError> {
        match Self::load(path) {
            Err(IdentityError::Missing { .. }) if !database_exists => {
                let identity = Self::generate(random);
                match identity.save(path) {
                    Err(IdentityError::Exists { .. }) => Self::load(path), // of a concurrent first open
                    saved => saved.map(|()| identity),
                }
            }
            loaded => loaded,
        }
    }

    /// Generates the keys of a new device for an existing user and saves the identity.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] if there is a file, of any user; [`IdentityError::Missing`] if only a
    /// database exists.
    pub fn restore(
        path: &Path,
        database_exists: bool,
        user: SigningKey,
        random: &mut impl FnMut(&mut [u8]),
    ) -> Result<Self, IdentityError> {
        if database_exists && !path.exists() {
            return Err(IdentityError::Missing { path: path.to_owned() });
        }
        let identity = Self { user, ..Self::generate(random) };
        identity.save(path)?;
        Ok(identity)
    }

    /// Reads the file. If other users of the machine can read it, its permissions are narrowed with a
    /// warning: a copied folder easily loses permissions, and an error would lock its owner out after a
    /// restore.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], [`IdentityError::Damaged`], [`IdentityError::Version`],
    /// [`IdentityError::Io`].
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let bytes = fs::read(path).map(Zeroizing::new).map_err(|cause| match cause.kind() {
            ErrorKind::NotFound => IdentityError::Missing { path: path.to_owned() },
            _ => io_error(path, cause),
        })?;
        close_to_others(path);
        Self::decode(&bytes, path)
    }

    /// Writes a new file, durably and atomically.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] if there is a file; it is not overwritten.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        // Named after the device: two first opens at once must not write into the same draft.
        let draft = path.with_extension(format!("{}.new", DeviceId(self.device.public()).short()));
        let written = write_new(&draft, &self.encode()).and_then(|()| publish(&draft, path));
        // The draft is useless after success and failure alike.
        let _ = fs::remove_file(&draft);
        written.map_err(|cause| match cause.kind() {
            ErrorKind::AlreadyExists => IdentityError::Exists { path: path.to_owned() },
            _ => io_error(path, cause),
        })
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES)); // growth would leave unwiped copies
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        for seed in [self.user.seed(), self.device.seed(), self.agreement.seed()] {
            bytes.extend_from_slice(&*seed);
        }
        let checksum = hash("identity file", &[&bytes]);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    fn decode(bytes: &[u8], path: &Path) -> Result<Self, IdentityError> {
        let damaged = || IdentityError::Damaged { path: path.to_owned() };
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(damaged)?;
        let (version, _) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let found = u32::from_le_bytes(*version);
        if found != VERSION {
            // Other versions have other formats, so the checksum cannot be checked first.
            return Err(IdentityError::Version { path: path.to_owned(), found, supported: VERSION });
        }
        let (content, checksum) = bytes.split_at_checked(CHECKSUM_AT).ok_or_else(damaged)?;
        if hash("identity file", &[content]) != checksum {
            return Err(damaged());
        }
        let (seeds, _) = content[SEEDS_AT..].as_chunks::<32>();
        let [user, device, agreement] = seeds else { return Err(damaged()) };
        Ok(Self {
            user: SigningKey::from_seed(*user),
            device: SigningKey::from_seed(*device),
            agreement: AgreementKey::from_seed(*agreement),
        })
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives the draft its final name, which must be free. A rename would overwrite a file, a hard link does not.
/// Without hard links the name is checked first; the database's lock keeps a second process out.
fn publish(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
        Err(_) if path.try_exists()? => return Err(ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(draft, path)?,
    }
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(unix)]
fn close_to_others(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let open = fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0);
    if open {
        let closed = fs::set_permissions(path, fs::Permissions::from_mode(0o600)).is_ok();
        tracing::warn!(path = %path.display(), closed, "others could read the identity file");
    }
}

#[cfg(not(unix))]
fn close_to_others(_: &Path) {}

fn io_error(path: &Path, cause: io::Error) -> IdentityError {
    IdentityError::Io { path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> impl FnMut(&mut [u8]) {
        let mut next = 0_u8;
        move |bytes| {
            next += 1;
            bytes.fill(next);
        }
    }

    fn publics(identity: &Identity) -> [[u8; 32]; 3] {
        [identity.user.public(), identity.device.public(), identity.agreement.public()]
    }

    #[test]
    fn the_first_open_generates_the_identity_and_later_ones_load_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");

        let made = Identity::open(&path, false, &mut counting()).unwrap();
        let found = Identity::open(&path, true, &mut |_| panic!("nothing is generated twice")).unwrap();

        assert_eq!(publics(&found), publics(&made));
        assert_ne!(made.user.public(), made.device.public());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn a_database_without_its_identity_gets_no_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        let opened = Identity::open(&path, true, &mut counting());
        assert!(matches!(opened, Err(IdentityError::Missing { .. })), "{opened:?}");
        assert!(!path.exists());
    }

    #[test]
    fn an_identity_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        let ada = Identity::open(&path, false, &mut counting()).unwrap();

        let ben = Identity::generate(&mut |bytes| bytes.fill(99));
        assert!(matches!(ben.save(&path), Err(IdentityError::Exists { .. })));

        assert_eq!(publics(&Identity::load(&path).unwrap()), publics(&ada));
    }

    #[test]
    fn a_restored_user_gets_a_new_device_and_replaces_no_identity() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        let user = || SigningKey::from_seed([7; 32]);
        let restore = |known| Identity::restore(&path, known, user(), &mut counting());

        assert!(
            matches!(restore(true), Err(IdentityError::Missing { .. })),
            "the database belongs to another identity"
        );
        let restored = restore(false).unwrap();

        assert_eq!(restored.user.public(), user().public());
        assert_ne!(restored.device.public(), user().public());
        assert_eq!(publics(&Identity::load(&path).unwrap()), publics(&restored));
        for known in [false, true] {
            assert!(matches!(restore(known), Err(IdentityError::Exists { .. })));
        }
    }

    #[test]
    fn concurrent_first_opens_agree_on_one_identity() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("identity.key");
            let open = |n| Identity::open(&path, false, &mut |bytes| bytes.fill(n)).unwrap();
            let opened: Vec<_> = std::thread::scope(|scope| {
                let openers = [1, 2, 3, 4].map(|n| scope.spawn(move || open(n)));
                openers.into_iter().map(|opener| opener.join().unwrap()).collect()
            });
            assert!(opened.iter().all(|identity| publics(identity) == publics(&opened[0])));
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn every_damaged_byte_is_detected_and_the_file_stays_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        Identity::open(&path, false, &mut counting()).unwrap();
        let good = fs::read(&path).unwrap();
        assert_eq!(good.len(), FILE_BYTES);

        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            let opened = Identity::open(&path, false, &mut counting());
            match opened {
                Err(IdentityError::Version { .. }) => assert!((8..12).contains(&at), "byte {at}"),
                Err(IdentityError::Damaged { .. }) => assert!(!(8..12).contains(&at), "byte {at}"),
                other => panic!("byte {at}: {other:?}"),
            }
            assert_eq!(fs::read(&path).unwrap(), bad);
        }
        for cut in 0..good.len() {
            assert!(
                matches!(Identity::decode(&good[..cut], &path), Err(IdentityError::Damaged { .. })),
                "{cut}"
            );
        }
        let longer = [&good[..], b"x"].concat();
        assert!(matches!(Identity::decode(&longer, &path), Err(IdentityError::Damaged { .. })));
    }

    #[test]
    fn a_later_version_is_distinguished_from_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        fs::write(&path, [&MAGIC[..], &2_u32.to_le_bytes(), b"of another shape"].concat()).unwrap();
        let loaded = Identity::load(&path);
        assert!(matches!(loaded, Err(IdentityError::Version { found: 2, supported: 1, .. })), "{loaded:?}");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;

        Identity::open(&path, false, &mut counting()).unwrap();
        assert_eq!(mode(), 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        Identity::load(&path).unwrap();
        assert_eq!(mode(), 0o600, "the permissions of a copy are narrowed again");
    }

    #[test]
    fn secrets_have_no_printable_form() {
        let printed = format!("{:?}", Identity::generate(&mut counting()));
        assert_eq!(
            printed,
            "Identity { user: SigningKey(secret), device: SigningKey(secret), \
             agreement: AgreementKey(secret) }"
        );
    }
}
