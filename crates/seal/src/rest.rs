//! Secrets in a database.
//!
//! ```text
//! box = version 1 (1 byte) ‖ key's name (8) ‖ nonce (12) ‖ AES-256-GCM ciphertext ‖ tag (16)
//! authenticated with it: what kind of secret, whose, its name, and how often it was changed
//! ```
//!
//! So a box that was altered, or put in the place of another or of its own past, does not open. A [`Keyring`] has one
//! key that seals and any number of older ones that still open, by which keys are changed: read with any, write with the
//! new one, until none is left of the old.
//!
//! Nonces are drawn by lot; 2^32 boxes under one key are far more than a vault will hold.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::{Entropy, Secret, entropy};

const FORMAT: u8 = 1;
const NAME_LEN: usize = 8;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const HEADER_LEN: usize = 1 + NAME_LEN + NONCE_LEN;
const KEY_LEN: usize = 32;

/// Bytes that a box is longer than what is in it.
pub const OVERHEAD_LEN: usize = HEADER_LEN + TAG_LEN;

/// Why a box does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// The key is not 32 bytes in base64 or hexadecimal.
    #[error("a storage key is 32 bytes, in base64 or in hexadecimal")]
    Key,
    /// It was sealed with a key that is not on the ring.
    #[error("sealed with a storage key that is not at hand")]
    UnknownKey,
    /// It is not a box, or not this one: altered, or of another name or time.
    #[error("does not open: it was altered, or it belongs to something else")]
    Altered,
}

/// What a box is bound to. None of it is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label<'a> {
    /// What kind of thing it is; a word of the caller's.
    pub kind: &'a str,
    /// Whose.
    pub owner: &'a [u8],
    /// Its name among those of its kind and owner.
    pub name: &'a str,
    /// How often it was changed.
    pub version: u64,
}

impl Label<'_> {
    /// The parts with their lengths, so that no two labels read the same.
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = b"gristmill at rest".to_vec();
        for part in [self.kind.as_bytes(), self.owner, self.name.as_bytes()] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes
    }
}

/// A key that seals secrets for keeping.
pub struct StorageKey {
    bytes: Secret<[u8; KEY_LEN]>,
    name: [u8; NAME_LEN],
}

impl StorageKey {
    /// Reads 32 bytes in base64 or in hexadecimal, with or without `0x`. Space around them does not count.
    pub fn parse(text: &str) -> Result<Self, RestError> {
        let text = text.trim();
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let bytes = if digits.len() == 2 * KEY_LEN {
            alloy_primitives::hex::decode(digits).map_err(|_| RestError::Key)
        } else {
            STANDARD.decode(text).map_err(|_| RestError::Key)
        };
        let bytes = Zeroizing::new(bytes?);
        let bytes = <[u8; KEY_LEN]>::try_from(bytes.as_slice()).map_err(|_| RestError::Key)?;
        Ok(Self::from_bytes(Secret::new(bytes)))
    }

    /// A new one.
    pub fn generate(entropy: &mut impl Entropy) -> Self {
        Self::from_bytes(Secret::new(*entropy::draw(entropy)))
    }

    /// As [`Self::parse`] reads it.
    pub fn to_base64(&self) -> Secret<String> {
        Secret::new(STANDARD.encode(self.bytes.expose()))
    }

    fn from_bytes(bytes: Secret<[u8; KEY_LEN]>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"gristmill name of a storage key");
        hasher.update(bytes.expose());
        let mut name = [0; NAME_LEN];
        name.copy_from_slice(&hasher.finalize()[..NAME_LEN]);
        Self { bytes, name }
    }

    fn cipher(&self) -> Result<LessSafeKey, RestError> {
        let key = UnboundKey::new(&AES_256_GCM, self.bytes.expose()).map_err(|_| RestError::Key)?;
        Ok(LessSafeKey::new(key))
    }
}

/// One key that seals, and older ones that only open.
pub struct Keyring {
    current: StorageKey,
    older: Vec<StorageKey>,
}

impl Keyring {
    /// A ring of these keys.
    pub fn new(current: StorageKey, older: Vec<StorageKey>) -> Self {
        Self { current, older }
    }

    /// Puts a secret into a box, with the current key.
    pub fn seal(
        &self,
        label: Label<'_>,
        secret: &[u8],
        entropy: &mut impl Entropy,
    ) -> Result<Vec<u8>, RestError> {
        let nonce = *entropy::draw::<NONCE_LEN>(entropy);
        let mut inner = Zeroizing::new(Vec::with_capacity(secret.len() + TAG_LEN));
        inner.extend_from_slice(secret);
        self.current
            .cipher()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(label.to_bytes()),
                &mut *inner,
            )
            .map_err(|_| RestError::Altered)?;
        Ok([&[FORMAT], self.current.name.as_slice(), nonce.as_slice(), inner.as_slice()].concat())
    }

    /// Opens a box that was sealed under exactly this label.
    pub fn open(&self, label: Label<'_>, sealed: &[u8]) -> Result<Secret<Vec<u8>>, RestError> {
        let (header, inner) = sealed.split_at_checked(HEADER_LEN).ok_or(RestError::Altered)?;
        if header[0] != FORMAT {
            return Err(RestError::Altered);
        }
        let key = self.key_of(&header[1..=NAME_LEN]).ok_or(RestError::UnknownKey)?;
        let nonce = Nonce::try_assume_unique_for_key(&header[1 + NAME_LEN..])
            .map_err(|_| RestError::Altered)?;
        let mut inner = Zeroizing::new(inner.to_vec());
        let secret_len = key
            .cipher()?
            .open_in_place(nonce, Aad::from(label.to_bytes()), &mut inner)
            .map_err(|_| RestError::Altered)?
            .len();
        let mut inner = std::mem::take(&mut *inner);
        inner[secret_len..].zeroize();
        inner.truncate(secret_len);
        Ok(Secret::new(inner))
    }

    /// Whether the box was sealed with the key that seals now.
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        sealed.get(1..=NAME_LEN) == Some(self.current.name.as_slice())
    }

    fn key_of(&self, name: &[u8]) -> Option<&StorageKey> {
        std::iter::once(&self.current).chain(&self.older).find(|key| key.name == name)
    }
}
