//! After the program: the enclave stands for the digest, and the result becomes what the beneficiary asked for.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use alloy_primitives::{Address, B256, Bytes};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use primitives::{ResultDigest, TaskId};
use seal::result::{EncryptionKey, ResultError, encrypt};
use wire::link::Blame;
use wire::sms::{Session, Stage};
use zeroize::Zeroizing;

use super::{Mishap, entropy};

/// Brings the archive to where it is uploaded from, encrypted if the request asks for it; whether it was.
pub(super) async fn deliver(session: &Session, archive: &Path, to: &Path) -> Result<bool, Mishap> {
    let says =
        |name: &str| session.variable(Stage::PostCompute, name).map(|it| it.expose().as_str());
    if says("RESULT_ENCRYPTION") != Some("true") {
        let moved = tokio::fs::rename(archive, to).await;
        return moved
            .map(|()| false)
            .map_err(|error| Mishap::ours("POST_COMPUTE_OUT_FOLDER_ZIP_FAILED", &error));
    }
    let key =
        says("RESULT_ENCRYPTION_PUBLIC_KEY").filter(|key| !key.is_empty()).ok_or_else(|| {
            let detail = "the beneficiary has given none";
            Mishap::new("POST_COMPUTE_ENCRYPTION_PUBLIC_KEY_MISSING", detail, Blame::Input)
        })?;
    let key = EncryptionKey::from_base64_pem(key).map_err(|error| {
        let cause = "POST_COMPUTE_MALFORMED_ENCRYPTION_PUBLIC_KEY";
        Mishap::new(cause, error.to_string(), Blame::Input)
    })?;
    let (archive, to) = (archive.to_owned(), to.to_owned());
    let encrypting = tokio::task::spawn_blocking(move || {
        let from = File::open(archive).map_err(ResultError::Io)?;
        let to = BufWriter::new(File::create(to).map_err(ResultError::Io)?);
        encrypt(&key, from, to, &mut entropy())
    });
    let failed =
        |error: &dyn std::fmt::Display| Mishap::ours("POST_COMPUTE_ENCRYPTION_FAILED", error);
    let encrypted = encrypting.await.map_err(|error| failed(&error))?;
    encrypted.map(|()| true).map_err(|error| failed(&error))
}

/// The enclave's word that this digest came out of this task at this worker.
pub(super) fn sign(
    session: &Session,
    task: TaskId,
    worker: Address,
    challenge: Address,
    digest: ResultDigest,
) -> Result<Bytes, Mishap> {
    let says =
        |name: &str| session.variable(Stage::PostCompute, name).map(|it| it.expose().as_str());
    let other = |what: &str| {
        Mishap::new("POST_COMPUTE_INVALID_TEE_SIGNATURE", what.to_owned(), Blame::Worker)
    };
    let missing = || {
        let cause = "POST_COMPUTE_TEE_CHALLENGE_PRIVATE_KEY_MISSING";
        Mishap::new(cause, "the session has no key to sign with", Blame::Worker)
    };
    let key = says("SIGN_TEE_CHALLENGE_PRIVATE_KEY").ok_or_else(missing)?;
    let key: Zeroizing<B256Bytes> = Zeroizing::new(key_bytes(key).ok_or_else(missing)?);
    let signer = PrivateKeySigner::from_slice(key.as_slice()).map_err(|_| missing())?;
    if says("SIGN_WORKER_ADDRESS").and_then(|it| it.parse().ok()) != Some(worker) {
        return Err(other("the session is another worker's"));
    }
    if signer.address() != challenge {
        return Err(other("the session's key is not the one that the scheduler named"));
    }
    let message = seal::challenge::for_result(worker, task, digest);
    let signature = signer.sign_message_sync(message.as_slice()).map_err(|_| missing())?;
    Ok(Bytes::from(signature.as_bytes()))
}

type B256Bytes = [u8; 32];

fn key_bytes(text: &str) -> Option<B256Bytes> {
    text.parse::<B256>().ok().map(|key| key.0)
}
