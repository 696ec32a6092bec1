//! Who signed a hash, by the contract's own reading of signatures.
//!
//! Accepted: 65 bytes `r ‖ s ‖ v` with v 27 or 28, or 64 bytes `r ‖ yParityAndS` (EIP-2098); in both, s in the lower half.
//! Signatures by contracts (ERC-1271) and on-chain signatures need a chain and are decided elsewhere.

use std::sync::LazyLock;

use alloy_primitives::{Address, B256, Signature, U256};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, Secp256k1, VerifyOnly};

/// Why a signature names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Neither 64 nor 65 bytes. The contract reverts with `invalid-signature-format`.
    #[error("a signature is 64 or 65 bytes, not {0}")]
    Length(usize),
    /// The last of 65 bytes is neither 27 nor 28.
    #[error("the recovery byte of a signature is 27 or 28, not {0}")]
    RecoveryByte(u8),
    /// s lies in the upper half: another form of a valid signature, refused so that each has one form only.
    #[error("the signature's s lies in the upper half of the curve's order")]
    HighS,
    /// No key gives this signature for this hash.
    #[error("the signature fits no key")]
    NoKey,
}

/// Half of secp256k1's order: the highest s that is accepted.
const HALF_ORDER: U256 = U256::from_limbs([
    0xdfe9_2f46_681b_20a0,
    0x5d57_6e73_57a4_501d,
    0xffff_ffff_ffff_ffff,
    0x7fff_ffff_ffff_ffff,
]);

/// The account whose key signed `hash`.
pub fn recover(hash: B256, sign: &[u8]) -> Result<Address, SignatureError> {
    let signature = parse(sign)?;
    signer(hash, &signature).ok_or(SignatureError::NoKey)
}

/// The account whose key gave that signature, whatever the form it was in.
pub fn signer(hash: B256, signature: &Signature) -> Option<Address> {
    // Bitcoin's library, which the chain has linked already, recovers a key in a quarter of the time that others take.
    static CURVE: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);
    let signature = signature.normalized_s();
    let mut compact = [0; 64];
    compact[..32].copy_from_slice(&signature.r().to_be_bytes::<32>());
    compact[32..].copy_from_slice(&signature.s().to_be_bytes::<32>());
    let parity = if signature.v() { RecoveryId::One } else { RecoveryId::Zero };
    let signature = RecoverableSignature::from_compact(&compact, parity).ok()?;
    let key = CURVE.recover_ecdsa(Message::from_digest(hash.0), &signature).ok()?;
    Some(Address::from_raw_public_key(&key.serialize_uncompressed()[1..]))
}

/// Whether `account`'s key signed `hash`. The zero account never did.
pub fn is_signed_by(account: Address, hash: B256, sign: &[u8]) -> bool {
    !account.is_zero() && recover(hash, sign) == Ok(account)
}

fn parse(sign: &[u8]) -> Result<Signature, SignatureError> {
    let word = |bytes: &[u8]| U256::from_be_slice(bytes);
    let (r, s, odd) = match sign.len() {
        65 => match sign[64] {
            v @ (27 | 28) => (word(&sign[..32]), word(&sign[32..64]), v == 28),
            v => return Err(SignatureError::RecoveryByte(v)),
        },
        64 => {
            let both = word(&sign[32..]);
            (word(&sign[..32]), both & (U256::MAX >> 1), both.bit(255))
        }
        length => return Err(SignatureError::Length(length)),
    };
    if s > HALF_ORDER {
        return Err(SignatureError::HighS);
    }
    Ok(Signature::new(r, s, odd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;
    use alloy_signer::SignerSync;
    use alloy_signer_local::PrivateKeySigner;
    use proptest::prelude::*;

    fn order() -> U256 {
        HALF_ORDER * U256::from(2) + U256::ONE
    }

    fn signed() -> (Address, B256, Signature) {
        let signer = PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap();
        let hash = keccak256("hash");
        (signer.address(), hash, signer.sign_hash_sync(&hash).unwrap())
    }

    #[test]
    fn both_lengths_name_the_signer() {
        let (signer, hash, signature) = signed();
        assert_eq!(recover(hash, &signature.as_bytes()), Ok(signer));
        assert_eq!(recover(hash, &signature.as_erc2098()), Ok(signer));
        assert!(is_signed_by(signer, hash, &signature.as_bytes()));
        assert!(!is_signed_by(signer, keccak256("other"), &signature.as_bytes()));
    }

    #[test]
    fn other_forms_are_refused_by_name() {
        let (_, hash, signature) = signed();
        let bytes = signature.as_bytes();
        assert_eq!(recover(hash, &[]), Err(SignatureError::Length(0)));
        assert_eq!(recover(hash, &bytes[..63]), Err(SignatureError::Length(63)));
        let mut low_v = bytes;
        low_v[64] -= 27;
        assert_eq!(recover(hash, &low_v), Err(SignatureError::RecoveryByte(low_v[64])));
        let flipped = Signature::new(signature.r(), order() - signature.s(), !signature.v());
        assert_eq!(recover(hash, &flipped.as_bytes()), Err(SignatureError::HighS));
        let mut nobody = [0u8; 65];
        nobody[64] = 27;
        assert_eq!(recover(hash, &nobody), Err(SignatureError::NoKey));
        assert!(!is_signed_by(Address::ZERO, hash, &nobody));
    }

    proptest! {
        /// Another implementation of the same curve says the same of any numbers, and of true signatures.
        #[test]
        fn another_implementation_agrees(
            r in any::<[u8; 32]>(),
            s in any::<[u8; 32]>(),
            odd in any::<bool>(),
            hash in any::<[u8; 32]>(),
            key in 1u8..0xff,
        ) {
            let signer = PrivateKeySigner::from_bytes(&B256::repeat_byte(key)).unwrap();
            let signed = signer.sign_hash_sync(&hash.into()).unwrap();
            let other_form = Signature::new(signed.r(), order() - signed.s(), !signed.v());
            let (r, s) = (U256::from_be_bytes(r), U256::from_be_bytes(s));
            let anything = [(r, s), (r, U256::ZERO), (U256::ZERO, s), (order(), s), (r, order())];
            let anything = anything.map(|(r, s)| Signature::new(r, s, odd));
            for signature in [signed, other_form].iter().chain(&anything) {
                let theirs = signature.recover_address_from_prehash(&hash.into()).ok();
                prop_assert_eq!(super::signer(hash.into(), signature), theirs, "{:?}", signature);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 60..70)) {
            let _ = recover(B256::repeat_byte(1), &bytes);
        }
    }
}
