//! Opening sealed bytes: AES-256-CTR with Poly1305-AES, and scrypt for passwords. Nothing here can seal.
//!
//! Every length is checked before it is used, as all of it may come from a hostile repository.

use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key as Raw, Nonce, Tag, aead::AeadInPlace};

use super::{format::KeyFile, format::MasterKey, id};

/// Bytes before the sealed ones.
const NONCE: usize = 16;
/// Bytes after the sealed ones.
const MAC: usize = 16;
/// How many bytes longer sealed bytes are than plain ones.
pub(crate) const OVERHEAD: usize = NONCE + MAC;

/// Bytes that the password function may use at a time by computing several of its `p` parts together. restic takes 32 MiB
/// for each.
const TOGETHER: u64 = 64 << 20;

/// A repository's key, or one derived from a password.
#[derive(Clone)]
pub(crate) struct Key(Aes256CtrPoly1305Aes);

/// Why a key file's password function cannot be computed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KdfError {
    /// Not scrypt.
    #[error("the password function {0:?} is unknown")]
    Unknown(String),
    /// More work or memory than any backup tool asks for.
    #[error("scrypt parameters N={0}, r={1}, p={2} are not ones a backup tool writes")]
    Parameters(u64, u64, u64),
    /// The system gives no threads.
    #[error("the password function cannot be computed: {0}")]
    Threads(String),
}

impl Key {
    /// The key a password gives with the parameters of `file`.
    pub(crate) fn derive(password: &[u8], file: &KeyFile) -> Result<Self, KdfError> {
        if file.kdf != "scrypt" {
            return Err(KdfError::Unknown(file.kdf.clone()));
        }
        let mut bytes = [0; 64];
        stretch(password, &file.salt, (file.n, file.r, file.p), &mut bytes)?;
        Ok(Self(Aes256CtrPoly1305Aes::new(Raw::from_slice(&bytes))))
    }

    /// The key a key file holds; `None` if its parts have wrong lengths.
    pub(crate) fn from_master(master: &MasterKey) -> Option<Self> {
        let bytes = [master.encrypt.as_slice(), &master.mac.k, &master.mac.r].concat();
        let whole = master.encrypt.len() == 32 && master.mac.k.len() == 16 && master.mac.r.len() == 16;
        whole.then(|| Self(Aes256CtrPoly1305Aes::new(Raw::from_slice(&bytes))))
    }

    /// Opens `sealed` in place; `None` if it is too short or its MAC does not hold, and then `sealed` is unchanged.
    pub(crate) fn open<'a>(&self, sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        if sealed.len() < OVERHEAD {
            return None;
        }
        let (nonce, rest) = sealed.split_at_mut(NONCE);
        let (plain, tag) = rest.split_at_mut(rest.len() - MAC);
        self.0.decrypt_in_place_detached(Nonce::from_slice(nonce), &[], plain, Tag::from_slice(tag)).ok()?;
        Some(plain)
    }
}

fn stretch(password: &[u8], salt: &[u8], (n, r, p): (u64, u64, u64), out: &mut [u8]) -> Result<(), KdfError> {
    let refused = || KdfError::Parameters(n, r, p);
    // 256 MiB and about a minute at most: restic calibrates to half a second and 60 MiB.
    let memory = n.checked_mul(r).and_then(|blocks| blocks.checked_mul(128)).ok_or_else(refused)?;
    let work = n.checked_mul(r).and_then(|blocks| blocks.checked_mul(p)).ok_or_else(refused)?;
    if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 || memory > 256 << 20 || work > 1 << 28 {
        return Err(refused());
    }
    let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| refused())?;
    let (r, p) = (u32::try_from(r).map_err(|_| refused())?, u32::try_from(p).map_err(|_| refused())?);
    let params = scrypt::Params::new(log_n, r, p).map_err(|_| refused())?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let threads = u64::from(p).min(cores).min(TOGETHER / memory.max(1)).max(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(usize::try_from(threads).unwrap_or(1)).build();
    pool.map_err(|error| KdfError::Threads(error.to_string()))?
        .install(|| scrypt::scrypt(password, salt, &params, out))
        .map_err(|_| refused())
}

/// A short fingerprint of a password, salted with the repository's id: equal passwords are recognised, none is revealed.
pub(crate) fn fingerprint(password: &[u8], repository: &str) -> String {
    let mut bytes = [0; 8];
    let salt = format!("backproof:{repository}");
    // The parameters are constants within the bounds, so an error cannot come; an empty fingerprint says "unknown".
    stretch(password, salt.as_bytes(), (1 << 15, 8, 1), &mut bytes).map_or_else(|_| String::new(), |()| id::hex(&bytes))
}

#[cfg(test)]
mod tests {
    use aes256ctr_poly1305aes::aead::AeadInPlace;

    use super::*;

    fn key() -> Key {
        Key(Aes256CtrPoly1305Aes::new(Raw::from_slice(&[7; 64])))
    }

    #[test]
    fn opens_what_was_sealed_and_leaves_damage_unchanged() {
        let mut sealed = vec![9; NONCE];
        let mut plain = b"hello".to_vec();
        let tag = key().0.encrypt_in_place_detached(Nonce::from_slice(&[9; NONCE]), &[], &mut plain).unwrap();
        sealed.extend(plain);
        sealed.extend(tag);
        assert_eq!(key().open(&mut sealed.clone()).as_deref(), Some(&b"hello"[..]));
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            let before = damaged.clone();
            assert!(key().open(&mut damaged).is_none(), "{at}");
            assert_eq!(damaged, before);
        }
        for short in 0..OVERHEAD {
            assert!(key().open(&mut vec![0; short]).is_none());
        }
    }

    #[test]
    fn hostile_parameters_are_refused_before_any_memory_is_taken() {
        for parameters in [
            (0, 8, 1),
            (1, 8, 1),
            (3, 8, 1),
            (1 << 40, 8, 1),
            (32768, 0, 1),
            (32768, 8, 0),
            (32768, 8, u64::MAX),
            (u64::MAX, 2, 1),
            (1 << 20, 64, 1),
        ] {
            assert!(stretch(b"p", b"s", parameters, &mut [0; 64]).is_err(), "{parameters:?}");
        }
        assert!(stretch(b"p", b"s", (16, 1, 1), &mut [0; 64]).is_ok());
    }

    #[test]
    fn fingerprints_tell_passwords_and_repositories_apart() {
        let one = fingerprint(b"a", "r");
        assert_eq!((one.len(), &one), (16, &fingerprint(b"a", "r")));
        assert_ne!(one, fingerprint(b"b", "r"));
        assert_ne!(one, fingerprint(b"a", "s"));
    }
}
