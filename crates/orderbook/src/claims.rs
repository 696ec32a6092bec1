//! What workerpools say of their own past and their workers. It is shown beside what the chain says, and decides nothing here.
//!
//! Only the owner's word is taken, only a newer one than what is known, and only for as long as it is fresh. Nothing of it is
//! written down: a scheduler repeats itself, so a restarted book knows it again soon.

use std::collections::HashMap;
use std::sync::Arc;

use alloy_primitives::Address;
use chain::AssetKind;
use parking_lot::Mutex;
use wire::UnixMillis;
use wire::market::{ApiError, Claim, Machines, SignedClaim};

use crate::book::Book;

/// Workerpools of which something is remembered; then the oldest word is forgotten.
const CLAIMS_MAX: usize = 4_096;
/// How long a word is good for.
const FRESH_MS: u64 = 24 * 60 * 60 * 1_000;
/// How far the clock of a scheduler may be ahead.
const AHEAD_MS: u64 = 5 * 60 * 1_000;

/// The last word of each workerpool.
#[derive(Default)]
pub(crate) struct Claims {
    known: Mutex<HashMap<Address, Known>>,
}

struct Known {
    claim: Arc<Claim>,
    signed: SignedClaim,
}

impl Claims {
    /// What a workerpool said, if it is fresh.
    pub(crate) fn of(&self, workerpool: Address, now: UnixMillis) -> Option<Arc<Claim>> {
        let known = self.known.lock();
        let claim = known.get(&workerpool).map(|known| Arc::clone(&known.claim));
        claim.filter(|claim| is_fresh(claim, now))
    }

    /// Which workerpools say which workers they have.
    pub(crate) fn machines(&self, now: UnixMillis) -> Vec<(Address, Vec<Machines>)> {
        let known = self.known.lock();
        let fresh = known.iter().filter(|(_, known)| is_fresh(&known.claim, now));
        let told = fresh.map(|(workerpool, known)| (*workerpool, known.claim.machines.clone()));
        told.filter(|(_, machines)| !machines.is_empty()).collect()
    }

    /// The same as it was signed.
    pub(crate) fn signed(&self, workerpool: Address, now: UnixMillis) -> Option<SignedClaim> {
        let known = self.known.lock();
        let fresh = known.get(&workerpool).filter(|known| is_fresh(&known.claim, now));
        fresh.map(|known| known.signed.clone())
    }

    /// A workerpool has another owner, who said nothing yet.
    pub(crate) fn forget(&self, workerpool: Address) {
        self.known.lock().remove(&workerpool);
    }

    /// Remembers a word that is the owner's.
    ///
    /// # Errors
    /// It is no newer than what is known.
    pub(crate) fn put(&self, claim: Claim, signed: SignedClaim) -> Result<(), ApiError> {
        let mut known = self.known.lock();
        let before = known.get(&claim.workerpool);
        if before.is_some_and(|before| before.claim.issued_at >= claim.issued_at) {
            return Err(refused("a claim of that date or a later one is known"));
        }
        if before.is_none() && known.len() >= CLAIMS_MAX {
            let oldest = known.iter().min_by_key(|(_, known)| known.claim.issued_at);
            if let Some(oldest) = oldest.map(|(workerpool, _)| *workerpool) {
                known.remove(&oldest);
            }
        }
        known.insert(claim.workerpool, Known { claim: Arc::new(claim), signed });
        Ok(())
    }
}

/// Takes in what a workerpool says of itself.
///
/// # Errors
/// It is not of the right shape, of another workerpool or chain, of another time, or not the owner's.
pub(crate) async fn accept(
    book: &Book,
    workerpool: Address,
    signed: SignedClaim,
    now: UnixMillis,
) -> Result<(), ApiError> {
    let (claim, signer) = signed.read()?;
    if claim.workerpool != workerpool || claim.chain_id != book.ledger.chain_id() {
        return Err(refused("the claim is of another workerpool"));
    }
    if claim.issued_at.0 > now.0.saturating_add(AHEAD_MS) || !is_fresh(&claim, now) {
        return Err(refused("the claim is not of today"));
    }
    let owner = book.memory.owner(AssetKind::Workerpool, workerpool).await?;
    let owner = owner.ok_or_else(|| refused("Resource not deployed"))?;
    if signer != owner {
        return Err(refused("only the workerpool's owner can speak for it"));
    }
    book.claims.put(claim, signed)
}

fn is_fresh(claim: &Claim, now: UnixMillis) -> bool {
    now.0.saturating_sub(claim.issued_at.0) < FRESH_MS
}

fn refused(why: &str) -> ApiError {
    ApiError::Refused(why.to_owned())
}
