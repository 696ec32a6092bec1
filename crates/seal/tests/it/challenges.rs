//! What is signed, byte for byte.

use alloy_primitives::{Address, B256};
use alloy_signer::SignerSync;
use primitives::{ResultDigest, TaskId};
use seal::challenge::{self, SecretId};

use crate::{address, bytes, signer, text, word};

/// The message is the official one, and so is the signature of it.
fn check(who: &str, message: B256, expected: &str, signature: &str) {
    assert_eq!(message, word(expected), "{expected}");
    let signed = signer(who).sign_message_sync(message.as_slice()).expect("signs");
    assert_eq!(signed.as_bytes().as_slice(), bytes(signature).as_ref(), "{signature}");
    let recovered = signed.recover_address_from_prehash(&challenge::signed_hash(message));
    assert_eq!(recovered.expect("recovers"), signer(who).address());
}

fn check_secret(id: &SecretId, of: &str) {
    let message = challenge::to_set(id, text(&format!("{of}.value")).as_bytes());
    check("owner", message, &format!("{of}.challenge"), &format!("{of}.authorization"));
}

#[test]
fn secrets_are_set_with_the_official_messages() {
    let owner = address("addresses.owner");
    check_secret(&SecretId::Dataset(address("dataset")), "web3");
    check_secret(&SecretId::Named { owner, name: text("web2.name") }, "web2");
    check_secret(&SecretId::Requester { owner, key: text("requester.name") }, "requester");
    check_secret(&SecretId::App(address("app")), "appdev");
    assert_eq!(challenge::reserved::RESULT_ENCRYPTION_KEY, text("web2.name"));
    assert_eq!(challenge::APP_SECRET_INDEX, text("appdev.index"));
}

#[test]
fn pools_workers_and_enclaves_sign_the_official_messages() {
    let (worker, enclave) = (address("addresses.worker"), address("addresses.enclave"));
    let (task, digest) = (TaskId(word("task")), ResultDigest(word("digest")));
    check(
        "poolOwner",
        challenge::for_task(task),
        "schedulerChallenge.hash",
        "schedulerChallenge.signatureByPoolOwner",
    );
    let message = challenge::for_worker(worker, task, enclave);
    let signatures = ["signatureByPoolOwner", "sessionAuthorizationByWorker"];
    for (who, signature) in ["poolOwner", "worker"].into_iter().zip(signatures) {
        check(
            who,
            message,
            "workerpoolAuthorization.hash",
            &format!("workerpoolAuthorization.{signature}"),
        );
    }
    check(
        "enclave",
        challenge::from_enclave(task, worker),
        "enclaveToWorker.hash",
        "enclaveToWorker.authorization",
    );
    check(
        "enclave",
        challenge::for_result(worker, task, digest),
        "result.message",
        "result.enclaveSignature",
    );
}

fn check_name(key: &str, expected: bool) {
    let id = SecretId::Requester { owner: Address::ZERO, key: key.to_owned() };
    assert_eq!(id.is_well_named(), expected, "{key}");
}

#[test]
fn requesters_keys_are_short_and_plain() {
    check_name("a", true);
    check_name("Az-09_", true);
    check_name(&"a".repeat(64), true);
    check_name(&"a".repeat(65), false);
    check_name("", false);
    check_name("a b", false);
    check_name("ä", false);
    check_name("a.b", false);
}

#[test]
fn a_message_fits_one_secret_and_one_value_only() {
    let (one, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
    let named = |owner, name: &str| SecretId::Named { owner, name: name.to_owned() };
    let ids = [
        named(one, "a"),
        named(one, "b"),
        named(other, "a"),
        SecretId::Dataset(one),
        SecretId::App(one),
    ];
    let mut messages: Vec<B256> = ids.iter().map(|id| challenge::to_set(id, b"v")).collect();
    messages.push(challenge::to_set(&ids[0], b"w"));
    let count = messages.len();
    messages.sort();
    messages.dedup();
    assert_eq!(messages.len(), count);
}
