//! What a workerpool says of its own past and of its workers: a text with a date that its owner has signed. The book keeps the
//! last one of each workerpool and hands it on, so that anybody can check who said it; nobody vouches for it.
//!
//! ```text
//! scheduler ── SignedClaim::of ──▶ PUT /workerpools/{address}/claim ──▶ book ──▶ `claimed`, beside `trackRecord`
//! ```

use alloy_primitives::{Address, Bytes, eip191_hash_message};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::UnixMillis;
use crate::json::{Fields, ShapeError};
use crate::scheduler::Reputation;

/// The longest text; ours is a fourth of it.
const TEXT_BYTES_MAX: usize = 4_096;

/// The past of a workerpool in its scheduler's own words. A figure here is worth less than any of a
/// [`TrackRecord`](super::TrackRecord), which is the chain's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// What the fields mean: [`Claim::VERSION`].
    pub version: u32,
    /// The chain that the workerpool is on.
    pub chain_id: u64,
    /// The workerpool.
    #[serde(with = "crate::json::text")]
    pub workerpool: Address,
    /// When it was signed.
    pub issued_at: UnixMillis,
    /// The least share of tasks of one worker that a second one confirms, in parts per million.
    pub canary_rate_ppm: u32,
    /// Canaries that its workers passed.
    pub canaries_passed: u64,
    /// Canaries that they failed.
    pub canaries_failed: u64,
    /// How its tasks ended, all workers together.
    pub total: Reputation,
    /// The workers that were there when it was signed; at most [`Machines::GROUPS_MAX`] groups, the largest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<Machines>,
}

/// Workers that are alike, as their operators describe them; nobody can check where a machine is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Machines {
    /// How many.
    pub workers: u32,
    /// Whether they have GPUs.
    pub gpu: bool,
    /// Where they are, in their operator's words, if they say so in at most [`Machines::REGION_BYTES_MAX`] plain letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl Machines {
    /// The most groups of a claim.
    pub const GROUPS_MAX: usize = 16;
    /// The longest name of a region.
    pub const REGION_BYTES_MAX: usize = 64;

    /// Whether a claim has room for that name of a region: it is short, and JSON writes it as it is.
    pub fn is_region(name: &str) -> bool {
        let plain = |letter: char| !letter.is_control() && !matches!(letter, '"' | '\\');
        !name.is_empty() && name.len() <= Self::REGION_BYTES_MAX && name.chars().all(plain)
    }

    /// Whether they are there; letter case aside.
    pub fn are_in(&self, region: &str) -> bool {
        self.region.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(region))
    }
}

impl Claim {
    /// The only version there is.
    pub const VERSION: u32 = 1;

    /// What the book tells.
    pub fn to_json(&self) -> Result<Value, ShapeError> {
        serde_json::to_value(self).map_err(|error| ShapeError(error.to_string()))
    }

    /// Reads what the book tells.
    pub fn from_json(value: &Value) -> Result<Self, ShapeError> {
        let read = Self::deserialize(value);
        let claim = read.map_err(|error| ShapeError(format!("claim is unreadable: {error}")))?;
        match claim.version {
            Self::VERSION => Ok(claim),
            other => Err(ShapeError(format!("claim is of version {other}, not {}", Self::VERSION))),
        }
    }
}

/// A claim as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedClaim {
    /// The claim as JSON, byte for byte.
    pub text: String,
    /// Of that text, by EIP-191 (`personal_sign`).
    pub signature: Bytes,
}

impl SignedClaim {
    /// Signs a claim.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn of(claim: &Claim, signer: &PrivateKeySigner) -> Result<Self, alloy_signer::Error> {
        let text = serde_json::to_string(claim).map_err(alloy_signer::Error::other)?;
        let signature = signer.sign_message_sync(text.as_bytes())?;
        Ok(Self { text, signature: signature.as_bytes().to_vec().into() })
    }

    /// What is claimed, and by whom.
    ///
    /// # Errors
    /// It is too long, no claim of this version, or not signed.
    pub fn read(&self) -> Result<(Claim, Address), ShapeError> {
        if self.text.len() > TEXT_BYTES_MAX {
            return Err(ShapeError(format!("claim is longer than {TEXT_BYTES_MAX} bytes")));
        }
        let value = serde_json::from_str(&self.text);
        let value = value.map_err(|error| ShapeError(format!("claim is no JSON: {error}")))?;
        let signer = orders::recover(eip191_hash_message(&self.text), &self.signature);
        let signer = signer.map_err(|_| ShapeError("claim is not signed".to_owned()))?;
        Ok((Claim::from_json(&value)?, signer))
    }

    /// As it travels.
    pub fn to_json(&self) -> Value {
        json!({"claim": self.text, "signature": self.signature.to_string()})
    }

    /// Reads what travels.
    pub fn from_json(value: &Value) -> Result<Self, ShapeError> {
        let from = Fields::of("body", value)?;
        Ok(Self { text: from.text("claim")?.to_owned(), signature: from.bytes("signature")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim {
            version: Claim::VERSION,
            chain_id: 65_535,
            workerpool: Address::repeat_byte(7),
            issued_at: UnixMillis(1_700_000_000_000),
            canary_rate_ppm: 50_000,
            canaries_passed: 9,
            canaries_failed: 1,
            total: Reputation { completed: 40, run_seconds_median: Some(3), ..Default::default() },
            machines: vec![Machines { workers: 2, gpu: true, region: Some("eu-west".into()) }],
        }
    }

    #[test]
    fn what_was_signed_is_read_and_anything_else_is_another_signer_or_nothing() {
        let signer = PrivateKeySigner::random();
        let signed = SignedClaim::of(&claim(), &signer).expect("signs");
        assert_eq!(signed.read(), Ok((claim(), signer.address())));
        assert_eq!(SignedClaim::from_json(&signed.to_json()), Ok(signed.clone()));

        let text = signed.text.replace("\"completed\":40", "\"completed\":41");
        let better = SignedClaim { text, ..signed.clone() }.read();
        assert!(
            better.is_ok_and(|(claim, by)| claim.total.completed == 41 && by != signer.address())
        );
        let text =
            signed.text.replace(r#","machines":[{"workers":2,"gpu":true,"region":"eu-west"}]"#, "");
        let silent = SignedClaim { text, ..signed.clone() }.read();
        assert!(silent.is_ok_and(|(claim, _)| claim.machines.is_empty()), "it may be left out");
        let unsigned = SignedClaim { signature: Bytes::new(), ..signed.clone() };
        assert_eq!(unsigned.read(), Err(ShapeError("claim is not signed".into())));
        let text = signed.text.replace("\"version\":1", "\"version\":2");
        let newer = SignedClaim { text, ..signed.clone() }.read();
        assert_eq!(newer, Err(ShapeError("claim is of version 2, not 1".into())));
        let text = signed.text + &" ".repeat(TEXT_BYTES_MAX);
        assert!(SignedClaim { text, signature: signed.signature }.read().is_err());
    }
}
