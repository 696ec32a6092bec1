//! The rules of secrecy, against values that the official clients and services made.

mod challenges;
mod datasets;
mod provisioning;
mod rest;
mod results;
mod secrets;

use alloy_primitives::{Address, B256, Bytes};
use alloy_signer_local::PrivateKeySigner;
use serde_json::Value;

/// Values of the official software, of fixed keys.
fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors.json")).expect("is JSON")
}

/// The text at a path such as `web3.value`.
fn text(path: &str) -> String {
    let pointer = format!("/{}", path.replace('.', "/"));
    vectors().pointer(&pointer).and_then(Value::as_str).expect("is there").to_owned()
}

fn word(path: &str) -> B256 {
    text(path).parse().expect("32 bytes")
}

fn address(path: &str) -> Address {
    text(path).parse().expect("an address")
}

fn bytes(path: &str) -> Bytes {
    text(path).parse().expect("bytes")
}

fn signer(name: &str) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&word(&format!("keys.{name}"))).expect("a key")
}

/// Chance that everybody can foretell: each byte is the last one's successor, from `start`.
fn fixed(start: u8) -> impl FnMut(&mut [u8]) {
    let mut next = start;
    move |into: &mut [u8]| {
        for byte in into {
            *byte = next;
            next = next.wrapping_add(1);
        }
    }
}
