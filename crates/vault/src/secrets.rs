//! Setting secrets.

use alloy_primitives::{Address, Bytes};
use seal::Secret;
use seal::challenge::{self, SecretId};
use wire::sms::{SECRET_BYTES_MAX, SmsError, Write};

use crate::guard::Guard;
use crate::safe::{Place, Safe};

/// Sets a secret, if its owner has signed for exactly this. The sequence of the checks is part of the protocol.
pub(crate) async fn put(
    guard: &Guard,
    safe: &Safe,
    id: &SecretId,
    value: &Secret<String>,
    how: Write,
    authorization: &Bytes,
) -> Result<(), SmsError> {
    let outcome = checked_put(guard, safe, id, value, how, authorization).await;
    match &outcome {
        Ok(()) => tracing::info!(target: "vault::audit", secret = ?id, ?how, "a secret is set"),
        Err(error) => {
            tracing::info!(target: "vault::audit", secret = ?id, ?how, %error, "a secret is refused");
        }
    }
    outcome
}

async fn checked_put(
    guard: &Guard,
    safe: &Safe,
    id: &SecretId,
    value: &Secret<String>,
    how: Write,
    authorization: &Bytes,
) -> Result<(), SmsError> {
    let value = value.expose().as_bytes();
    let Some(owner) = owner_of(guard, id).await? else { return Err(SmsError::Unauthorized) };
    if !guard.signed(owner, challenge::to_set(id, value), authorization).await? {
        return Err(SmsError::Unauthorized);
    }
    if !id.is_well_named() {
        return Err(SmsError::BadKey);
    }
    if value.len() > SECRET_BYTES_MAX {
        return Err(SmsError::TooLarge);
    }
    let place = Place::from(id);
    match how {
        Write::Create if safe.add(&place, value, 0).await? => Ok(()),
        Write::Create => Err(SmsError::Exists),
        Write::Replace if safe.replace(&place, value).await? => Ok(()),
        Write::Replace => Err(SmsError::Absent),
    }
}

async fn owner_of(guard: &Guard, id: &SecretId) -> Result<Option<Address>, SmsError> {
    match id.signer() {
        Some(owner) => Ok(Some(owner)),
        None => Ok(guard.owner_of(id.address()).await?),
    }
}
