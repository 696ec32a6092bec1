//! Handing secrets to an enclave.
//!
//! ```text
//! enclave                                         vault
//!   draws a key pair
//!   evidence, which holds H(session ‖ public key) ─────▶ verifies it: is it an enclave, and does it mean this key?
//!   opens it with the private key ◀──────────────────── the session, sealed to the public key
//! ```
//!
//! Evidence is what the machine says about itself; the only place of it that an enclave may choose, its *report data*,
//! holds the session and the key. So a session goes to no other key than the one that the evidence vouches for, and
//! evidence for one session opens no other.
//!
//! [`Evidence`] and [`Verifier`] know one kind: a *simulated* enclave, whose evidence anybody can write and which
//! therefore proves nothing but that the caller follows the protocol. Evidence of real machines is another kind and
//! another verifier; the rest stays as it is.
//!
//! Sealing is ECIES: a key agreement on secp256k1 with a key used once, HKDF-SHA-256, AES-256-GCM.

use alloy_primitives::{B256, FixedBytes};
use k256::elliptic_curve::sec1::ToEncodedPoint;
use k256::{ProjectivePoint, PublicKey, SecretKey};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{Entropy, Secret, entropy};

const CONTEXT: &[u8] = b"gristmill provisioning 1";

/// Why a session is not handed out, or does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError {
    /// The public key is not a point of the curve.
    #[error("the enclave's public key is not one")]
    PublicKey,
    /// The evidence is of another kind than is taken here.
    #[error("evidence of this kind is not taken here")]
    Kind,
    /// The evidence is for another session or another key.
    #[error("the evidence is for another session or another key")]
    Unbound,
    /// What was sealed was altered, or sealed to somebody else.
    #[error("what was sealed does not open with this key")]
    Altered,
}

/// The public half of an enclave's key: a compressed point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnclavePublicKey(pub FixedBytes<33>);

impl EnclavePublicKey {
    fn point(self) -> Result<PublicKey, ProvisionError> {
        PublicKey::from_sec1_bytes(self.0.as_slice()).map_err(|_| ProvisionError::PublicKey)
    }

    fn of(point: &PublicKey) -> Result<Self, ProvisionError> {
        let bytes = point.to_encoded_point(true);
        let bytes =
            FixedBytes::try_from(bytes.as_bytes()).map_err(|_| ProvisionError::PublicKey)?;
        Ok(Self(bytes))
    }
}

/// The key that an enclave draws for one session.
pub struct EnclaveKey {
    secret: SecretKey,
    public: EnclavePublicKey,
}

impl EnclaveKey {
    /// A new one.
    pub fn generate(entropy: &mut impl Entropy) -> Self {
        loop {
            // Almost every 32 bytes are a key; those that are not are drawn again.
            if let Some(key) = SecretKey::from_slice(entropy::draw::<32>(entropy).as_slice())
                .ok()
                .and_then(|secret| {
                    let public = EnclavePublicKey::of(&secret.public_key()).ok()?;
                    Some(Self { secret, public })
                })
            {
                return key;
            }
        }
    }

    /// The half that is told.
    pub fn public(&self) -> EnclavePublicKey {
        self.public
    }

    /// Opens what was sealed to this key for that session.
    pub fn open(&self, session: &str, sealed: &Sealed) -> Result<Secret<Vec<u8>>, ProvisionError> {
        let shared = agree(&self.secret, &sealed.sender.point()?);
        let cipher = cipher(&shared, sealed.sender, self.public, session)?;
        let mut inner = Zeroizing::new(sealed.ciphertext.clone());
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let len = cipher
            .open_in_place(nonce, Aad::from(CONTEXT), &mut inner)
            .map_err(|_| ProvisionError::Altered)?
            .len();
        inner.truncate(len);
        Ok(Secret::new(std::mem::take(&mut *inner)))
    }
}

/// Something sealed to an enclave's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key that was used once.
    pub sender: EnclavePublicKey,
    /// The ciphertext with its tag.
    pub ciphertext: Vec<u8>,
}

/// Seals a session's content to an enclave's key.
pub fn seal_to(
    recipient: EnclavePublicKey,
    session: &str,
    content: &[u8],
    entropy: &mut impl Entropy,
) -> Result<Sealed, ProvisionError> {
    let once = EnclaveKey::generate(entropy);
    let shared = agree(&once.secret, &recipient.point()?);
    let cipher = cipher(&shared, once.public, recipient, session)?;
    let mut inner = Zeroizing::new(content.to_vec());
    // The key is used for this one message, so the nonce may be anything.
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    cipher
        .seal_in_place_append_tag(nonce, Aad::from(CONTEXT), &mut *inner)
        .map_err(|_| ProvisionError::Altered)?;
    Ok(Sealed { sender: once.public, ciphertext: std::mem::take(&mut *inner) })
}

/// What an enclave puts into its evidence: `SHA-256(context ‖ length of session ‖ session ‖ public key)`.
pub fn report_data(session: &str, key: EnclavePublicKey) -> B256 {
    let mut hasher = Sha256::new();
    hasher.update(CONTEXT);
    hasher.update((session.len() as u64).to_be_bytes());
    hasher.update(session);
    hasher.update(key.0);
    B256::from_slice(&hasher.finalize())
}

/// What a machine says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// Of a software enclave. It proves nothing.
    SimulatedTdx {
        /// What the enclave chose: [`report_data`].
        report_data: B256,
    },
}

impl Evidence {
    /// The evidence of a software enclave for a session.
    pub fn simulated(session: &str, key: EnclavePublicKey) -> Self {
        Self::SimulatedTdx { report_data: report_data(session, key) }
    }
}

/// What is known of an enclave after its evidence was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    /// Whether no hardware stands behind it.
    pub simulated: bool,
}

/// Which evidence is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verifier {
    /// None.
    Nothing,
    /// That of software enclaves; for development.
    SimulatedTdx,
}

impl Verifier {
    /// Whether the evidence vouches for that key in that session. What is sealed to such a key can be sealed.
    pub fn verify(
        self,
        evidence: &Evidence,
        session: &str,
        key: EnclavePublicKey,
    ) -> Result<Claims, ProvisionError> {
        key.point()?;
        match (self, evidence) {
            (Self::Nothing, _) => Err(ProvisionError::Kind),
            (Self::SimulatedTdx, Evidence::SimulatedTdx { report_data: found }) => {
                if *found == report_data(session, key) {
                    Ok(Claims { simulated: true })
                } else {
                    Err(ProvisionError::Unbound)
                }
            }
        }
    }
}

/// What both keys give together: the x coordinate.
fn agree(secret: &SecretKey, public: &PublicKey) -> Zeroizing<[u8; 32]> {
    let scalar = secret.to_nonzero_scalar();
    let point = (ProjectivePoint::from(*public.as_affine()) * *scalar).to_affine();
    let mut shared = Zeroizing::new([0; 32]);
    // A public key is never the point at infinity and the group has prime order, so the product has an x.
    if let Some(x) = point.to_encoded_point(false).x() {
        shared.copy_from_slice(x);
    }
    shared
}

fn cipher(
    shared: &[u8; 32],
    sender: EnclavePublicKey,
    recipient: EnclavePublicKey,
    session: &str,
) -> Result<LessSafeKey, ProvisionError> {
    struct Bytes32;
    impl KeyType for Bytes32 {
        fn len(&self) -> usize {
            32
        }
    }
    let info = [sender.0.as_slice(), recipient.0.as_slice(), session.as_bytes()];
    let secret = Salt::new(HKDF_SHA256, CONTEXT).extract(shared);
    let mut key = Zeroizing::new([0; 32]);
    secret
        .expand(&info, Bytes32)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .map_err(|_| ProvisionError::Altered)?;
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| ProvisionError::Altered)?;
    Ok(LessSafeKey::new(key))
}
