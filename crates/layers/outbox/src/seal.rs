//! Encryption at rest: AES-256-GCM (NIST SP 800-38D) under a key of its own for each opening.
//!
//! `2 u8 | key id 8 B | salt 16 B | counter u64 | sealed`, the tag of 16 bytes at its end and all before it authenticated.
//!
//! Who opens the outbox draws a salt and derives a key from it and the secret (HKDF-SHA256, RFC 5869); the nonce is a
//! counter. So no pair of key and nonce comes twice, as long as no salt of 128 bits does, however much is written and
//! whatever backup is restored. Random nonces of 96 bits alone would be good for some 2^32 packets, and nonces from the
//! packet's number would repeat where a torn end is cut off and its numbers are given again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use bytes::{Buf, Bytes};
use haul_core::{Error, ErrorKind, Result};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};

use crate::secret::SecretKey;

pub(crate) const SEALED: u8 = 2;

/// Bytes of what stands before the sealed part.
const HEAD: usize = 1 + ID + SALT + 8;

/// Most bytes that sealing adds.
pub(crate) const OVERHEAD: usize = HEAD + 16;

const ID: usize = 8;
const SALT: usize = 16;

/// Derived keys of earlier openings that are kept.
const KEPT: usize = 64;

/// Which key sealed something; it tells nothing about the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyId(pub(crate) [u8; ID]);

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

pub(crate) struct Seal {
    secret: Prk,
    id: KeyId,
    salt: [u8; SALT],
    key: LessSafeKey,
    counter: AtomicU64,
    /// By salt.
    others: Mutex<HashMap<[u8; SALT], LessSafeKey>>,
}

impl Seal {
    /// Errors: `Internal` if the operating system gives no random bytes.
    pub(crate) fn new(secret: &SecretKey) -> Result<Self> {
        let secret = Salt::new(HKDF_SHA256, b"haul outbox").extract(secret.bytes());
        let mut id = KeyId([0; ID]);
        struct Short;
        impl KeyType for Short {
            fn len(&self) -> usize {
                ID
            }
        }
        secret
            .expand(&[b"id"], Short)
            .and_then(|okm| okm.fill(&mut id.0))
            .map_err(|_| failed("derive a key"))?;
        let mut salt = [0; SALT];
        SystemRandom::new().fill(&mut salt).map_err(|_| failed("draw a salt"))?;
        let key = derive(&secret, &salt)?;
        Ok(Self { secret, id, salt, key, counter: AtomicU64::new(0), others: Mutex::default() })
    }

    pub(crate) fn id(&self) -> KeyId {
        self.id
    }

    pub(crate) fn seal(&self, plain: &[u8]) -> Result<Bytes> {
        let counter = self.counter.fetch_add(1, Relaxed);
        let mut out = Vec::with_capacity(plain.len() + OVERHEAD);
        out.push(SEALED);
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&counter.to_be_bytes());
        let head: [u8; HEAD] = out[..].try_into().expect("it is as long as its parts");
        out.extend_from_slice(plain);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(counter), Aad::from(head), &mut out[HEAD..])
            .map_err(|_| failed("seal a packet"))?;
        out.extend_from_slice(tag.as_ref());
        Ok(out.into())
    }

    /// Errors: `Unauthorized` for what another key sealed; `Codec` for what was changed since.
    pub(crate) fn open(&self, mut sealed: Bytes) -> Result<Bytes> {
        if sealed.len() < OVERHEAD {
            return Err(Error::new(ErrorKind::Codec, "malformed sealed record: it ends inside its head"));
        }
        let head: [u8; HEAD] = sealed[..HEAD].try_into().expect("its length was checked");
        let id = sealed_by(&sealed).expect("its length was checked");
        if id != self.id {
            return Err(other_key(id, Some(self.id)));
        }
        sealed.advance(1 + ID);
        let mut salt = [0; SALT];
        sealed.copy_to_slice(&mut salt);
        let counter = sealed.get_u64();
        let mut text = sealed.to_vec();
        let opened = |key: &LessSafeKey, text: &mut [u8]| {
            key.open_in_place(nonce(counter), Aad::from(head), text)
                .map(|plain| plain.len())
                .map_err(|_| Error::new(ErrorKind::Codec, "a sealed record was changed since it was written"))
        };
        let len = match salt == self.salt {
            true => opened(&self.key, &mut text)?,
            false => {
                let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
                if others.len() >= KEPT && !others.contains_key(&salt) {
                    others.clear();
                }
                let key = match others.entry(salt) {
                    std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                    std::collections::hash_map::Entry::Vacant(new) => {
                        new.insert(derive(&self.secret, &salt)?)
                    }
                };
                opened(key, &mut text)?
            }
        };
        text.truncate(len);
        Ok(text.into())
    }
}

/// Which key sealed `record`; `None` if it is not sealed.
pub(crate) fn sealed_by(record: &[u8]) -> Option<KeyId> {
    let id = record.strip_prefix(&[SEALED])?.first_chunk()?;
    Some(KeyId(*id))
}

/// What needs another key than was given.
pub(crate) fn other_key(needs: KeyId, given: Option<KeyId>) -> Error {
    let message = match given {
        Some(given) => format!("it is sealed with key {needs}, and the key given is {given}"),
        None => format!("it is sealed with key {needs}, and no key is given"),
    };
    Error::new(ErrorKind::Unauthorized, message)
}

fn derive(secret: &Prk, salt: &[u8]) -> Result<LessSafeKey> {
    let okm = secret.expand(&[b"seal", salt], &AES_256_GCM).map(UnboundKey::from);
    okm.map(LessSafeKey::new).map_err(|_| failed("derive a key"))
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn failed(doing: &'static str) -> Error {
    Error::new(ErrorKind::Internal, "the cryptographic library refused").while_doing(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digit: char) -> SecretKey {
        SecretKey::parse(&digit.to_string().repeat(64)).unwrap()
    }

    #[test]
    fn what_was_sealed_is_opened_by_the_same_secret_at_another_opening() {
        let (now, later) = (Seal::new(&key('a')).unwrap(), Seal::new(&key('a')).unwrap());
        let sealed = now.seal(b"payload").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"payload"));
        assert_eq!(later.open(sealed.clone()).unwrap(), &b"payload"[..]);
        assert_eq!(now.open(sealed.clone()).unwrap(), &b"payload"[..]);
        assert_eq!(sealed.len(), 7 + OVERHEAD);
    }

    #[test]
    fn the_same_is_never_sealed_the_same() {
        let seals = [Seal::new(&key('a')).unwrap(), Seal::new(&key('a')).unwrap()];
        let heads: std::collections::HashSet<_> =
            seals.iter().flat_map(|seal| (0..100).map(|_| seal.seal(b"x").unwrap().slice(..HEAD))).collect();
        assert_eq!(heads.len(), 200);
    }

    #[test]
    fn another_key_is_named_and_a_changed_byte_is_found_wherever_it_is() {
        let seal = Seal::new(&key('a')).unwrap();
        let sealed = seal.seal(b"payload").unwrap();
        let why = Seal::new(&key('b')).unwrap().open(sealed.clone()).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::Unauthorized);
        assert!(why.to_string().contains(&seal.id().to_string()), "{why}");
        for at in 1..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert!(seal.open(changed.into()).is_err(), "byte {at}");
        }
        for len in 0..sealed.len() {
            assert!(seal.open(sealed.slice(..len)).is_err(), "cut to {len}");
        }
    }
}
