//! Results that only their beneficiary can read.
//!
//! The beneficiary keeps an RSA public key with the secrets, as base64 of its PEM text. A result becomes a zip with
//! exactly two files at its root:
//!
//! ```text
//! aes-key.rsa         RSAES-PKCS1-v1_5 of a fresh 32-byte key
//! iexec_out.zip.aes   16-byte initialisation vector ‖ AES-256-CBC, PKCS#7 (the zip of the result)
//! ```
//!
//! Padding, names and cipher are what the official clients read. The cipher has no authentication: that a result is the
//! one agreed on is shown by its digest on the chain, not by this.
//!
//! Decrypting is the beneficiary's business and needs the private key; it is not here.

use std::io::{self, Read, Seek, Write};

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockEncryptMut, KeyIvInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs8::DecodePublicKey;
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Encrypt, RsaPublicKey};
use zeroize::Zeroizing;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::{Entropy, entropy};

/// The file with the encrypted key.
pub const KEY_FILE: &str = "aes-key.rsa";
/// The file with the encrypted result.
pub const RESULT_FILE: &str = "iexec_out.zip.aes";

/// The weakest key that is taken, in bits.
const KEY_BITS_MIN: usize = 2048;
/// The strongest key that is taken; the official clients read no `aes-key.rsa` beyond 1,000 bytes.
const KEY_BITS_MAX: usize = 8000;
/// Bytes encrypted at a time; whole blocks.
const PIECE_LEN: usize = 64 * 1024;
const BLOCK_LEN: usize = 16;

/// Why a result cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// The beneficiary's key is not base64 of a PEM public key.
    #[error("the key for results is not base64 of an RSA public key in PEM")]
    Key,
    /// The key is too weak, or stronger than clients can read.
    #[error("a key for results has {KEY_BITS_MIN} to {KEY_BITS_MAX} bits, not {0}")]
    KeySize(usize),
    /// The key takes no message.
    #[error("the key for results cannot encrypt")]
    Unusable,
    /// The result could not be read, or the encrypted one not written.
    #[error("the result cannot be read or written")]
    Io(#[source] io::Error),
}

/// The key that a beneficiary's results are encrypted for.
pub struct EncryptionKey(RsaPublicKey);

impl EncryptionKey {
    /// Reads it as the beneficiary keeps it: base64 of PEM text (`BEGIN PUBLIC KEY`).
    pub fn from_base64_pem(text: &str) -> Result<Self, ResultError> {
        let pem = STANDARD.decode(text.trim()).map_err(|_| ResultError::Key)?;
        Self::from_pem(std::str::from_utf8(&pem).map_err(|_| ResultError::Key)?)
    }

    /// Reads PEM text.
    pub fn from_pem(pem: &str) -> Result<Self, ResultError> {
        let begin = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----");
        let body = begin.and_then(|rest| rest.strip_suffix("-----END PUBLIC KEY-----"));
        let body: String = body
            .ok_or(ResultError::Key)?
            .chars()
            .filter(|letter| !letter.is_whitespace())
            .collect();
        let der = STANDARD.decode(body).map_err(|_| ResultError::Key)?;
        let key = RsaPublicKey::from_public_key_der(&der).map_err(|_| ResultError::Key)?;
        let bits = key.n().bits();
        if !(KEY_BITS_MIN..=KEY_BITS_MAX).contains(&bits) {
            return Err(ResultError::KeySize(bits));
        }
        Ok(Self(key))
    }
}

/// Writes the encrypted form of `result`, which is the zip of a result, to `to`, piece by piece.
pub fn encrypt(
    key: &EncryptionKey,
    result: impl Read,
    to: impl Write + Seek,
    entropy: &mut impl Entropy,
) -> Result<(), ResultError> {
    let (secret, iv) = (entropy::draw::<32>(entropy), entropy::draw::<BLOCK_LEN>(entropy));
    let wrapped = key
        .0
        .encrypt(&mut Adapter(entropy), Pkcs1v15Encrypt, secret.as_slice())
        .map_err(|_| ResultError::Unusable)?;
    let mut zip = ZipWriter::new(to);
    // Encrypted bytes do not get smaller. Results beyond 4 GiB need the wide form of the zip's fields.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    zip.start_file(KEY_FILE, options).map_err(unwritten)?;
    zip.write_all(&wrapped).map_err(ResultError::Io)?;
    zip.start_file(RESULT_FILE, options.large_file(true)).map_err(unwritten)?;
    encrypt_stream(&secret, &iv, result, &mut zip).map_err(ResultError::Io)?;
    zip.finish().map_err(unwritten)?;
    Ok(())
}

/// [`encrypt`] in memory.
pub fn encrypt_bytes(
    key: &EncryptionKey,
    result: &[u8],
    entropy: &mut impl Entropy,
) -> Result<Vec<u8>, ResultError> {
    let mut to = io::Cursor::new(Vec::new());
    encrypt(key, result, &mut to, entropy)?;
    Ok(to.into_inner())
}

fn encrypt_stream(
    key: &[u8; 32],
    iv: &[u8; BLOCK_LEN],
    mut from: impl Read,
    to: &mut impl Write,
) -> io::Result<()> {
    let mut cipher = cbc::Encryptor::<aes::Aes256>::new(key.into(), iv.into());
    to.write_all(iv)?;
    let mut piece = Zeroizing::new(vec![0; PIECE_LEN]);
    loop {
        let len = read_full(&mut from, &mut piece)?;
        let whole_len = if len == PIECE_LEN { len } else { len / BLOCK_LEN * BLOCK_LEN };
        for block in piece[..whole_len].as_chunks_mut::<BLOCK_LEN>().0 {
            cipher.encrypt_block_mut(block.into());
        }
        to.write_all(&piece[..whole_len])?;
        if len < PIECE_LEN {
            let last = cipher.encrypt_padded_vec_mut::<Pkcs7>(&piece[whole_len..len]);
            return to.write_all(&last);
        }
    }
}

/// Fills the buffer, or less at the end.
fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match from.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn unwritten(error: zip::result::ZipError) -> ResultError {
    ResultError::Io(io::Error::other(error))
}

/// Our chance in the form that `rsa` takes. It uses it for padding.
struct Adapter<'a, E>(&'a mut E);

impl<E: Entropy> rsa::rand_core::RngCore for Adapter<'_, E> {
    fn next_u32(&mut self) -> u32 {
        u32::from_le_bytes(*entropy::draw(self.0))
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(*entropy::draw(self.0))
    }

    fn fill_bytes(&mut self, into: &mut [u8]) {
        self.0.fill(into);
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        self.0.fill(into);
        Ok(())
    }
}

impl<E: Entropy> rsa::rand_core::CryptoRng for Adapter<'_, E> {}
