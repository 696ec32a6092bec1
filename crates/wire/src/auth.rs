//! Logging in to an HTTP API with a wallet.
//!
//! ```text
//! client ── GET challenge ──▶ server   remembers the text, answers EIP-712 typed data
//! client    signs it
//! client ── Authorization: <hash>_<signature>_<address> ──▶ server   looks the hash up, recovers the signer, compares
//! ```
//!
//! The market and the scheduler use the same shapes with their own domain names. A wallet may hold several open
//! challenges, so that a client may do several things at once; each opens the door once and for a limited time.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes, Signature};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{Eip712Domain, SolStruct};
use rand::Rng;
use rand::distr::Alphanumeric;
use serde_json::{Value, json};

use crate::json::{Fields, ShapeError};

mod typed {
    alloy_sol_types::sol! {
        /// What the wallet signs.
        struct Challenge {
            string challenge;
        }
    }
}

/// A text to sign, within the domain of who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The domain's name: who asks.
    pub realm: String,
    /// The chain that the login is for.
    pub chain_id: u64,
    /// What is signed.
    pub text: String,
}

impl Challenge {
    /// A fresh challenge: `text` followed by 32 random letters and digits.
    pub fn fresh(realm: &str, chain_id: u64, text: &str) -> Self {
        let random: String =
            rand::rng().sample_iter(Alphanumeric).take(32).map(char::from).collect();
        Self { realm: realm.to_owned(), chain_id, text: format!("{text}{random}") }
    }

    /// The EIP-712 hash that is signed, which is also the challenge's name.
    pub fn hash(&self) -> B256 {
        let domain = Eip712Domain {
            name: Some(self.realm.clone().into()),
            version: Some("1".into()),
            chain_id: Some(alloy_primitives::U256::from(self.chain_id)),
            ..Eip712Domain::default()
        };
        typed::Challenge { challenge: self.text.clone() }.eip712_signing_hash(&domain)
    }

    /// The typed data that wallets take.
    pub fn to_json(&self) -> Value {
        let field = |name: &str, kind: &str| json!({"name": name, "type": kind});
        json!({
            "types": {
                "EIP712Domain": [
                    field("name", "string"), field("version", "string"), field("chainId", "uint256"),
                ],
                "Challenge": [field("challenge", "string")],
            },
            // The chain id is text here because the official API writes it so; typed data means the same.
            "domain": {"name": self.realm, "version": "1", "chainId": self.chain_id.to_string()},
            "primaryType": "Challenge",
            "message": {"challenge": self.text},
        })
    }

    /// Reads what [`Self::to_json`] writes, with the chain id as text or number.
    pub fn from_json(value: &Value) -> Result<Self, ShapeError> {
        let fields = Fields::of("challenge", value)?;
        let domain = Fields::of("domain", fields.value("domain")?)?;
        let message = Fields::of("message", fields.value("message")?)?;
        Ok(Self {
            realm: domain.text("name")?.to_owned(),
            chain_id: domain.number("chainId", 0)?,
            text: message.text("challenge")?.to_owned(),
        })
    }

    /// Signs it. The error is the signer's own text.
    pub fn sign(&self, signer: &PrivateKeySigner) -> Result<Authorization, String> {
        let hash = self.hash();
        let signature = signer.sign_hash_sync(&hash).map_err(|error| error.to_string())?;
        let signature = Bytes::from(signature.as_bytes());
        Ok(Authorization { hash, signature, wallet: signer.address() })
    }
}

/// A signed challenge, as the `Authorization` header carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Which challenge.
    pub hash: B256,
    /// The wallet's signature over it.
    pub signature: Bytes,
    /// The wallet.
    pub wallet: Address,
}

/// The text is not `<hash>_<signature>_<address>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an authorization is <hash>_<signature>_<address>")]
pub struct ParseAuthorizationError;

impl Authorization {
    /// Whether the wallet really signed the hash.
    pub fn is_genuine(&self) -> bool {
        signed_by(&self.hash, &self.signature) == Some(self.wallet)
    }
}

impl fmt::Display for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.hash, self.signature, self.wallet)
    }
}

impl FromStr for Authorization {
    type Err = ParseAuthorizationError;

    fn from_str(text: &str) -> Result<Self, ParseAuthorizationError> {
        let mut parts = text.trim().split('_');
        let (Some(hash), Some(signature), Some(wallet), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ParseAuthorizationError);
        };
        Ok(Self {
            hash: hash.parse().map_err(|_| ParseAuthorizationError)?,
            signature: signature.parse().map_err(|_| ParseAuthorizationError)?,
            wallet: wallet.parse().map_err(|_| ParseAuthorizationError)?,
        })
    }
}

/// Who signed that hash; nothing if it is no signature.
pub fn signed_by(hash: &B256, signature: &[u8]) -> Option<Address> {
    orders::signature::signer(*hash, &Signature::try_from(signature).ok()?)
}

/// The challenges that are open, of all wallets. Bounded: each wallet holds a few, all wallets together a fixed
/// number, of which the oldest go first.
#[derive(Debug)]
pub struct OpenChallenges {
    lifetime: Duration,
    per_wallet_max: usize,
    total_max: usize,
    /// Oldest first, so that what has expired is found at the front. What was redeemed stays until its turn.
    by_age: VecDeque<(Instant, Address, B256)>,
    by_wallet: HashMap<Address, Vec<(B256, Challenge)>>,
}

impl OpenChallenges {
    /// None open.
    pub fn new(lifetime: Duration, per_wallet_max: usize, total_max: usize) -> Self {
        Self {
            lifetime,
            per_wallet_max: per_wallet_max.max(1),
            total_max: total_max.max(1),
            by_age: VecDeque::new(),
            by_wallet: HashMap::new(),
        }
    }

    /// Opens `fresh` for `wallet` at the moment `now`. A wallet that holds as many as it may gets its newest again:
    /// anybody may ask for anybody's challenge, so asking must not close what the wallet is about to use.
    pub fn open(&mut self, wallet: Address, fresh: Challenge, now: Instant) -> Challenge {
        self.expire(now);
        let held = self.by_wallet.entry(wallet).or_default();
        if let Some((_, newest)) = held.last().filter(|_| held.len() >= self.per_wallet_max) {
            return newest.clone();
        }
        let hash = fresh.hash();
        held.push((hash, fresh.clone()));
        self.by_age.push_back((now, wallet, hash));
        while self.by_age.len() > self.total_max {
            self.drop_oldest();
        }
        fresh
    }

    /// The wallet that this authorization proves, if it answers an open challenge. The challenge is open no more.
    pub fn redeem(&mut self, authorization: &Authorization, now: Instant) -> Option<Address> {
        // A wrong signature does not close the challenge: else anybody could close those of others.
        if !self.is_open(authorization, now) || !authorization.is_genuine() {
            return None;
        }
        self.close(authorization, now)
    }

    /// Whether the challenge that this answers is open; whether the answer is right is another question.
    pub fn is_open(&mut self, authorization: &Authorization, now: Instant) -> bool {
        self.expire(now);
        let held = self.by_wallet.get(&authorization.wallet);
        held.is_some_and(|held| held.iter().any(|(hash, _)| *hash == authorization.hash))
    }

    /// Closes the challenge that this answers and gives its wallet, if it was still open: of several that close one
    /// challenge, one gets the wallet. For whoever has seen that the answer [`Authorization::is_genuine`].
    pub fn close(&mut self, authorization: &Authorization, now: Instant) -> Option<Address> {
        self.expire(now);
        let wallet = authorization.wallet;
        let held = self.by_wallet.get_mut(&wallet)?;
        let at = held.iter().position(|(hash, _)| *hash == authorization.hash)?;
        held.remove(at);
        if held.is_empty() {
            self.by_wallet.remove(&wallet);
        }
        Some(wallet)
    }

    /// Like [`Self::redeem`], but the challenge stays open for its lifetime.
    pub fn check(&mut self, authorization: &Authorization, now: Instant) -> Option<Address> {
        let open = self.is_open(authorization, now);
        (open && authorization.is_genuine()).then_some(authorization.wallet)
    }

    fn expire(&mut self, now: Instant) {
        let lifetime = self.lifetime;
        let expired =
            |(opened, ..): &(Instant, Address, B256)| now.duration_since(*opened) > lifetime;
        while self.by_age.front().is_some_and(expired) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, wallet, hash)) = self.by_age.pop_front() else { return };
        if let Some(held) = self.by_wallet.get_mut(&wallet) {
            held.retain(|(open, _)| *open != hash);
            if held.is_empty() {
                self.by_wallet.remove(&wallet);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    const LIFETIME: Duration = Duration::from_secs(300);

    fn wallet(key: u8) -> PrivateKeySigner {
        PrivateKeySigner::from_bytes(&B256::repeat_byte(key)).expect("a valid key")
    }

    fn opened(
        challenges: &mut OpenChallenges,
        signer: &PrivateKeySigner,
        now: Instant,
    ) -> Challenge {
        let challenge = Challenge::fresh("iExec Gateway", 65535, "Sign this: ");
        challenges.open(signer.address(), challenge, now)
    }

    #[test]
    fn the_typed_data_and_the_header_keep_their_shape() {
        let challenge =
            Challenge { realm: "iExec Gateway".into(), chain_id: 421_614, text: "hello".into() };
        expect![[r#"{"domain":{"chainId":"421614","name":"iExec Gateway","version":"1"},"message":{"challenge":"hello"},"primaryType":"Challenge","types":{"Challenge":[{"name":"challenge","type":"string"}],"EIP712Domain":[{"name":"name","type":"string"},{"name":"version","type":"string"},{"name":"chainId","type":"uint256"}]}}"#]]
        .assert_eq(&challenge.to_json().to_string());
        let header = challenge.sign(&wallet(1)).expect("signs").to_string();
        assert_eq!(header.split('_').map(str::len).collect::<Vec<_>>(), [66, 132, 42]);
        assert!(header.parse::<Authorization>().expect("reads").is_genuine());
        assert_eq!(Challenge::from_json(&challenge.to_json()), Ok(challenge));
    }

    #[test]
    fn several_challenges_of_a_wallet_open_the_door_once_each() {
        let (now, alice) = (Instant::now(), wallet(1));
        let mut challenges = OpenChallenges::new(LIFETIME, 8, 100);
        let both =
            [1, 2].map(|_| opened(&mut challenges, &alice, now).sign(&alice).expect("signs"));
        for authorization in &both {
            assert_eq!(challenges.redeem(authorization, now), Some(alice.address()));
            assert_eq!(challenges.redeem(authorization, now), None, "a replay");
        }
    }

    #[test]
    fn the_wrong_wallet_and_the_late_one_stay_outside() {
        let (now, alice, eve) = (Instant::now(), wallet(1), wallet(2));
        let mut challenges = OpenChallenges::new(LIFETIME, 8, 100);
        let challenge = opened(&mut challenges, &alice, now);
        let forged =
            Authorization { wallet: alice.address(), ..challenge.sign(&eve).expect("signs") };
        assert_eq!(challenges.redeem(&forged, now), None);
        let honest = challenge.sign(&alice).expect("signs");
        assert_eq!(challenges.redeem(&honest, now + LIFETIME * 2), None, "expired");
    }

    #[test]
    fn a_flood_of_challenges_is_bounded_and_closes_none_that_are_open() {
        let (now, alice) = (Instant::now(), wallet(1));
        let mut challenges = OpenChallenges::new(LIFETIME, 2, 10);
        let first = opened(&mut challenges, &alice, now).sign(&alice).expect("signs");
        for _ in 0..50 {
            opened(&mut challenges, &alice, now);
        }
        assert_eq!(challenges.check(&first, now), Some(alice.address()));
        for key in 2..50 {
            opened(&mut challenges, &wallet(key), now);
        }
        assert!(challenges.by_age.len() <= 10 && challenges.by_wallet.len() <= 10);
        assert_eq!(challenges.check(&first, now), None, "the oldest go when all are too many");
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "\\PC{0,200}|(0x[0-9a-f]{0,140}_?){0,4}") {
            let genuine = text.parse::<Authorization>().map(|read| read.is_genuine());
            prop_assert!(genuine != Ok(true));
        }
    }
}
