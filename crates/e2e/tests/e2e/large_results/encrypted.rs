//! A large result of a confidential task, which only its beneficiary can read.
//!
//! The enclave is simulated; what is carried, encrypted and decrypted is not.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, KeyIvInit};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chain::calls::{self, NewApp};
use chain::{Client, Task, TaskStatus, Wallet};
use orders::{AppOrder, DatasetOrder, Quartet, RequestOrder, WorkerpoolOrder, task_id};
use primitives::{Nrlc, Tag};
use rsa::pkcs8::{DecodePrivateKey, EncodePublicKey};
use rsa::{Pkcs1v15Encrypt, RsaPrivateKey, RsaPublicKey};
use sandbox::archive::{Bounds, read_file, verify};
use seal::Secret;
use seal::challenge::{SecretId, reserved};
use seal::result::{KEY_FILE, RESULT_FILE};
use serde_json::Value;
use testkit::{Apart, ApartConfig, eventually, programs};
use wire::ipfs::IpfsClient;
use wire::scheduler::SchedulerClient;
use wire::sms::{SmsClient, Write as How};

use super::{MIB, MORE_MEMORY, large_mb, peaks};
use crate::{at, gristmill};

/// Of a gigabyte, encrypting alone takes minutes in such a build.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
const PAUSE: Duration = Duration::from_millis(100);
const SMALL: u64 = 16 * MIB;
/// In the gate: encrypting is slow in a build that is not optimised.
const MB_DEFAULT: u64 = 64;
/// Whose tasks have more time.
const CATEGORY: u64 = 1;
const PARAMS: &str = r#"{"iexec_result_encryption":true}"#;
const BLOCK: usize = 16;
const PIECE: usize = 64 << 10;

/// A market with an enclave, and one who has a program and buys its results.
struct Stage {
    market: Apart,
    client: Client,
    requester: Wallet,
    gateway: IpfsClient,
    key: RsaPrivateKey,
}

impl Stage {
    async fn set() -> Result<Self> {
        let config = ApartConfig { workers: 1, vault: true, faults: None };
        let market = Apart::start_with(&gristmill()?, config).await?;
        market.set("vault.simulate_tee", "true");
        market.set("worker.simulate_tee", "true");
        for name in ["vault", "worker-0"] {
            market.stop(name).await?;
            market.restart(name).await?;
        }
        let client = market.client().await?;
        let requester = Wallet::new(&client, market.stranger(0)?.0).await?;
        let (stored, key) = keys()?;
        let name = reserved::RESULT_ENCRYPTION_KEY.to_owned();
        let id = SecretId::Named { owner: requester.address(), name };
        let vault = SmsClient::new(&market.vault()?)?;
        vault.put(&id, &Secret::new(stored), How::Create, requester.signer()).await?;
        let gateway = IpfsClient::new(&market.direct("gateway")?)?;
        Ok(Self { market, client, requester, gateway, key })
    }

    /// Buys a result of that size, and waits for it.
    async fn buy(&self, size: u64) -> Result<Task> {
        let program = programs::bulk(size)?;
        let stored = self.gateway.add_bytes("bulk.wasm", program.into()).await?;
        let new = NewApp {
            owner: self.requester.address(),
            name: format!("bulk of {size}"),
            kind: "WASM".into(),
            multiaddr: stored.location().into_bytes().into(),
            ..NewApp::default()
        };
        let app = new.address(&self.client).await?;
        self.requester.execute(calls::create_app(&self.client.contracts(), new)).await?;
        let quartet = self.orders(app)?;
        let deal = quartet.deal_id(&self.client.domain(), U256::ZERO);
        chain::deposit_and_match(&self.requester, Nrlc::ZERO, &quartet).await?;
        let task = task_id(deal, U256::ZERO);
        let scheduler =
            SchedulerClient::new(&self.market.direct("scheduler")?, self.client.chain_id())?;
        let done = async {
            loop {
                if let Ok(state) = self.client.task(task).await
                    && state.status == TaskStatus::Completed
                {
                    return Ok(state);
                }
                let failure = scheduler.task(task).await?.and_then(|model| model.failure);
                ensure!(failure.is_none(), "{failure:?}");
                tokio::time::sleep(PAUSE).await;
            }
        };
        let Ok(done) = tokio::time::timeout(PATIENCE, done).await else {
            anyhow::bail!("task {task} does not end: {:?}", scheduler.task(task).await?);
        };
        done
    }

    fn orders(&self, app: Address) -> Result<Quartet> {
        let (tag, volume, category) = (Tag::TEE | Tag::TDX, U256::ONE, U256::from(CATEGORY));
        let (domain, workerpool) = (self.client.domain(), self.market.workerpool()?);
        let salt = B256::random();
        let app_order = AppOrder { app, volume, tag, salt, ..AppOrder::default() };
        let offer = WorkerpoolOrder {
            workerpool,
            volume,
            tag,
            category,
            trust: U256::ONE,
            salt,
            ..WorkerpoolOrder::default()
        };
        let request = RequestOrder {
            app,
            requester: self.requester.address(),
            beneficiary: self.requester.address(),
            volume,
            tag,
            category,
            trust: U256::ONE,
            params: PARAMS.to_owned(),
            salt,
            ..RequestOrder::default()
        };
        let (app_hash, offer_hash) = (app_order.hash(&domain).0, offer.hash(&domain).0);
        let (request_hash, requester) = (request.hash(&domain).0, self.requester.signer());
        Ok(Quartet {
            app: app_order.signed(sign(requester, app_hash)?),
            dataset: DatasetOrder::none(),
            workerpool: offer.signed(sign(&self.market.owner()?, offer_hash)?),
            request: request.signed(sign(requester, request_hash)?),
        })
    }
}

fn sign(signer: &PrivateKeySigner, hash: B256) -> Result<Bytes> {
    Ok(signer.sign_hash_sync(&hash)?.as_bytes().to_vec().into())
}

/// A beneficiary's pair: the public half as vaults keep it. Made for tests, and known to everybody.
fn keys() -> Result<(String, RsaPrivateKey)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../seal/tests/vectors.json");
    let known: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let text = |name: &str| known[name].as_str().with_context(|| name.to_owned());
    let lines = text("rsaPrivatePem")?.lines().filter(|line| !line.starts_with("-----"));
    let key = RsaPrivateKey::from_pkcs8_der(&STANDARD.decode(lines.collect::<String>())?)?;
    let public = STANDARD.encode(RsaPublicKey::from(&key).to_public_key_der()?);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{public}\n-----END PUBLIC KEY-----\n");
    Ok((STANDARD.encode(pem), key))
}

/// Decrypts what was delivered, as its beneficiary does, in memory of one piece.
fn decrypt(delivered: &Path, key: &RsaPrivateKey, to: &Path) -> Result<()> {
    let wrapped = read_file(delivered, KEY_FILE, 1_000, &Bounds::default())?.context("a key")?;
    let secret = key.decrypt(Pkcs1v15Encrypt, &wrapped).map_err(anyhow::Error::msg)?;
    let mut zip = zip::ZipArchive::new(std::io::BufReader::new(File::open(delivered)?))?;
    let mut from = zip.by_name(RESULT_FILE)?;
    let mut left = from.size().checked_sub(BLOCK as u64).context("a vector")?;
    let mut start = [0; BLOCK];
    from.read_exact(&mut start)?;
    let mut cipher = cbc::Decryptor::<aes::Aes256>::new_from_slices(&secret, &start)?;
    let mut to = std::io::BufWriter::new(File::create(to)?);
    let mut piece = vec![aes::Block::default(); PIECE / BLOCK];
    while left > PIECE as u64 {
        for block in &mut piece {
            from.read_exact(block)?;
        }
        cipher.decrypt_blocks_mut(&mut piece);
        for block in &piece {
            to.write_all(block)?;
        }
        left -= PIECE as u64;
    }
    let mut last = Vec::new();
    from.read_to_end(&mut last)?;
    let last = cipher.decrypt_padded_mut::<Pkcs7>(&mut last);
    to.write_all(last.ok().context("the padding")?)?;
    to.flush()?;
    Ok(())
}

#[tokio::test]
async fn a_large_encrypted_result_is_its_beneficiarys_in_flat_memory() -> Result<()> {
    let mb = large_mb(MB_DEFAULT)?;
    let (size, begun) = (mb * 1_000_000, std::time::Instant::now());
    let stage = Stage::set().await?;
    stage.buy(SMALL).await?;
    let before = peaks(&stage.market).await?;
    let task = stage.buy(size).await?;
    let after = peaks(&stage.market).await?;
    println!("bought, computed, encrypted and carried in {:?}", begun.elapsed());
    for ((name, was), (_, is)) in before.into_iter().zip(after) {
        println!("{name}: {} MB for 16 MiB, {} MB for {mb} MB", was / 1_000_000, is / 1_000_000);
        ensure!(was > 0 && is <= was + MORE_MEMORY, "{name}: {was} bytes before, {is} for {size}");
    }

    let dir = tempfile::tempdir()?;
    let (delivered, clear) = (dir.path().join("delivered"), dir.path().join("clear"));
    let results: Value = serde_json::from_slice(&task.results)?;
    let location = at(&results, "/location")?.as_str().context("a location")?.to_owned();
    let bytes = stage.gateway.fetch_to_file(&location, &delivered, u64::MAX).await?;
    ensure!(bytes > size, "{bytes} bytes were delivered of {size}");
    ensure!(verify(&delivered, &Bounds::default()).is_err(), "it is nobody's to check as it is");
    decrypt(&delivered, &stage.key, &clear)?;
    let verified = verify(&clear, &Bounds::default())?;
    ensure!(verified.digest == task.digest, "{} is not {}", verified.digest, task.digest);
    eventually("no orphans", async || Ok(stage.market.orphans()?.is_empty().then_some(()))).await
}
