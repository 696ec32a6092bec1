//! Encrypted datasets.
//!
//! A file is a 16-byte initialisation vector followed by AES-256-CBC with PKCS#7 padding. The cipher proves nothing about
//! who wrote the file: the SHA-256 of the encrypted file, which the dataset's owner put on the chain, does. So what
//! [`Decryptor::update`] gives out must not be used before [`Decryptor::finish`] has agreed.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use alloy_primitives::B256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::{Entropy, Secret, entropy};

/// Bytes of a block, and of the initialisation vector.
const BLOCK_LEN: usize = 16;

type Decrypt = cbc::Decryptor<aes::Aes256>;
type Encrypt = cbc::Encryptor<aes::Aes256>;

/// Why a dataset cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatasetError {
    /// The key is not base64 of 32 bytes.
    #[error("a dataset's key is 32 bytes in base64")]
    Key,
    /// The file is not the one that was registered.
    #[error("the file's SHA-256 is {found}, not {expected}")]
    Checksum {
        /// What the chain says.
        expected: B256,
        /// What the file has.
        found: B256,
    },
    /// The file is not whole blocks, or does not end as one encrypted with this key does.
    #[error("the file cannot be decrypted with this key")]
    Undecryptable,
}

/// What a dataset is encrypted with.
pub struct DatasetKey(Secret<[u8; 32]>);

impl DatasetKey {
    /// Reads it as it is kept: standard base64. Space around it is not part of it.
    pub fn from_base64(text: &str) -> Result<Self, DatasetError> {
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| DatasetError::Key)?);
        let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| DatasetError::Key)?;
        Ok(Self(Secret::new(key)))
    }

    /// A new one.
    pub fn generate(entropy: &mut impl Entropy) -> Self {
        Self(Secret::new(*entropy::draw::<32>(entropy)))
    }

    /// As it is kept.
    pub fn to_base64(&self) -> Secret<String> {
        Secret::new(STANDARD.encode(self.0.expose()))
    }
}

/// Decrypts a file as it arrives, in pieces of any size.
pub struct Decryptor<'a> {
    key: &'a DatasetKey,
    checksum: Sha256,
    /// Set when the whole initialisation vector has arrived.
    cipher: Option<Decrypt>,
    /// What has arrived and was not decrypted: the initialisation vector at first, later up to one block, because the
    /// last block is padded and which one is the last shows only at the end.
    held: Vec<u8>,
}

impl<'a> Decryptor<'a> {
    /// Nothing has arrived.
    pub fn new(key: &'a DatasetKey) -> Self {
        Self { key, checksum: Sha256::new(), cipher: None, held: Vec::new() }
    }

    /// Takes in the next piece of the file and appends what it says to `plain`.
    pub fn update(&mut self, piece: &[u8], plain: &mut Vec<u8>) {
        self.checksum.update(piece);
        self.held.extend_from_slice(piece);
        if self.cipher.is_none() {
            let Some((iv, rest)) = self.held.split_first_chunk::<BLOCK_LEN>() else { return };
            self.cipher = Some(Decrypt::new(self.key.0.expose().into(), iv.into()));
            self.held = rest.to_vec();
        }
        let Some(cipher) = &mut self.cipher else { return };
        let ready_len = self.held.len().saturating_sub(1) / BLOCK_LEN * BLOCK_LEN;
        for block in self.held[..ready_len].as_chunks_mut::<BLOCK_LEN>().0 {
            cipher.decrypt_block_mut(block.into());
            plain.extend_from_slice(block);
            block.zeroize();
        }
        self.held.drain(..ready_len);
    }

    /// The file is complete: appends the last of it. The file must have that SHA-256, if one is given.
    pub fn finish(
        mut self,
        expected: Option<B256>,
        plain: &mut Vec<u8>,
    ) -> Result<(), DatasetError> {
        let found = B256::from_slice(&self.checksum.finalize_reset());
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(DatasetError::Checksum { expected, found });
        }
        let cipher = self.cipher.take().ok_or(DatasetError::Undecryptable)?;
        let last = cipher.decrypt_padded_mut::<Pkcs7>(&mut self.held);
        plain.extend_from_slice(last.map_err(|_| DatasetError::Undecryptable)?);
        self.held.zeroize();
        Ok(())
    }
}

/// Decrypts a whole file.
pub fn decrypt(
    key: &DatasetKey,
    file: &[u8],
    expected: Option<B256>,
) -> Result<Secret<Vec<u8>>, DatasetError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(file.len()));
    let mut decryptor = Decryptor::new(key);
    decryptor.update(file, &mut plain);
    decryptor.finish(expected, &mut plain)?;
    Ok(Secret::new(std::mem::take(&mut *plain)))
}

/// Encrypts a whole file; gives back the file to publish. Its [`checksum`] goes on the chain.
pub fn encrypt(key: &DatasetKey, plain: &[u8], entropy: &mut impl Entropy) -> Vec<u8> {
    let iv = entropy::draw::<BLOCK_LEN>(entropy);
    encrypt_with(key.0.expose(), &iv, plain)
}

/// SHA-256 of an encrypted file.
pub fn checksum(file: &[u8]) -> B256 {
    B256::from_slice(&Sha256::digest(file))
}

/// `iv ‖ ciphertext`; results are encrypted in the same way.
pub(crate) fn encrypt_with(key: &[u8; 32], iv: &[u8; BLOCK_LEN], plain: &[u8]) -> Vec<u8> {
    let cipher = Encrypt::new(key.into(), iv.into());
    let mut file = iv.to_vec();
    file.extend(cipher.encrypt_padded_vec_mut::<Pkcs7>(plain));
    file
}
