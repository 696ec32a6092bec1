//! Handing a session to an enclave.

use alloy_primitives::{B256, FixedBytes};
use seal::provision::{
    EnclaveKey, EnclavePublicKey, Evidence, ProvisionError, Sealed, Verifier, seal_to,
};

use crate::fixed;

fn enclave(start: u8) -> EnclaveKey {
    EnclaveKey::generate(&mut fixed(start))
}

fn refusal(key: &EnclaveKey, session: &str, sealed: &Sealed) -> Option<ProvisionError> {
    key.open(session, sealed).err()
}

#[test]
fn what_is_sealed_opens_with_the_key_and_in_the_session_it_was_sealed_for() {
    let key = enclave(1);
    let sealed = seal_to(key.public(), "one", b"content", &mut fixed(100)).expect("seals");
    let opened = key.open("one", &sealed).map(|content| content.expose().clone());
    assert_eq!(opened, Ok(b"content".to_vec()));
    assert!(!sealed.ciphertext.windows(7).any(|window| window == b"content"));
    assert_eq!(refusal(&key, "two", &sealed), Some(ProvisionError::Altered));
    assert_eq!(refusal(&enclave(2), "one", &sealed), Some(ProvisionError::Altered));
    for place in 0..sealed.ciphertext.len() {
        let mut altered = sealed.clone();
        altered.ciphertext[place] ^= 1;
        assert_eq!(refusal(&key, "one", &altered), Some(ProvisionError::Altered));
    }
}

fn check(
    verifier: Verifier,
    evidence: &Evidence,
    key: EnclavePublicKey,
    expected: Result<bool, ProvisionError>,
) {
    let claims = verifier.verify(evidence, "one", key);
    assert_eq!(claims.map(|claims| claims.simulated), expected);
}

#[test]
fn evidence_counts_for_its_own_session_and_key() {
    let key = enclave(1).public();
    let evidence = Evidence::simulated("one", key);
    check(Verifier::SimulatedTdx, &evidence, key, Ok(true));
    check(Verifier::Nothing, &evidence, key, Err(ProvisionError::Kind));
    check(Verifier::SimulatedTdx, &evidence, enclave(2).public(), Err(ProvisionError::Unbound));
    check(
        Verifier::SimulatedTdx,
        &Evidence::simulated("two", key),
        key,
        Err(ProvisionError::Unbound),
    );
    let invented = Evidence::SimulatedTdx { report_data: B256::ZERO };
    check(Verifier::SimulatedTdx, &invented, key, Err(ProvisionError::Unbound));
}

#[test]
fn what_is_no_point_of_the_curve_is_no_key() {
    for bytes in [[0; 33], [2; 33].map(|byte| byte * 127), [5; 33]] {
        let key = EnclavePublicKey(FixedBytes(bytes));
        if seal_to(key, "one", b"", &mut fixed(1)).is_ok() {
            continue;
        }
        check(
            Verifier::SimulatedTdx,
            &Evidence::simulated("one", key),
            key,
            Err(ProvisionError::PublicKey),
        );
    }
    let zero = EnclavePublicKey(FixedBytes([0; 33]));
    assert_eq!(seal_to(zero, "one", b"", &mut fixed(1)), Err(ProvisionError::PublicKey));
}
