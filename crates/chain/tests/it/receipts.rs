//! Receipts collected from the embedded chain, and checked without it.

use ::receipts::{Fate, Receipt, Refused, SignedBy, anchors, verify};
use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_signer::SignerSync;
use chain::calls::{self, Settlement};
use chain::{ProofError, Wallet};
use orders::task_id;
use primitives::{DealId, Nrlc, ResultDigest, TaskId};
use verdict::{result_hash, result_seal, settlement_hash};

use crate::market::{Market, RESULTS};

const DIGEST: ResultDigest = ResultDigest(B256::repeat_byte(7));

impl Market {
    async fn done_by_one(&self, worker: &Wallet, task: TaskId) {
        let done = calls::contribute_and_finalize(
            self.client.hub(),
            task,
            DIGEST,
            Bytes::from_static(RESULTS),
            Bytes::new(),
            self.authorization(worker.address(), task),
        );
        worker.execute(done).await.unwrap();
    }

    async fn initialize(&self, deal: DealId) -> TaskId {
        let opening = calls::initialize_array(self.client.hub(), &[(deal, U256::ZERO)]);
        self.scheduler.execute(opening).await.unwrap();
        task_id(deal, U256::ZERO)
    }
}

/// The file of a receipt that verifies, and the hash that it is trusted by.
async fn file(market: &Market, task: TaskId) -> (Receipt, Vec<u8>, Vec<B256>) {
    let collected = market.client.receipt_of(task).await.unwrap();
    assert!(collected.notes.is_empty(), "{:?}", collected.notes);
    let bytes = collected.receipt.to_text().into_bytes();
    let mut trusted = Vec::new();
    for anchor in anchors(&bytes).unwrap() {
        let hash = market.client.block_hash(anchor.number).await.unwrap();
        assert_eq!(hash, Some(anchor.hash));
        trusted.push(anchor.hash);
    }
    (collected.receipt, bytes, trusted)
}

#[tokio::test]
async fn one_worker_s_task_is_proven_and_any_changed_bit_is_refused() {
    let market = Market::open().await;
    let worker = market.worker(3).await;
    let quartet = market.quartet(1, 1);
    let deal = market.buy(&quartet, Nrlc::from_rlc(11)).await;
    let task = market.initialize(deal).await;
    let early = market.client.receipt_of(task).await.unwrap_err();
    assert!(matches!(early, ProofError::NotOver), "{early}");
    let none = market.client.receipt_of(TaskId(B256::ZERO)).await.unwrap_err();
    assert!(matches!(none, ProofError::NoTask), "{none}");
    market.done_by_one(&worker, task).await;

    let (receipt, bytes, trusted) = file(&market, task).await;
    let verified = verify(&bytes, &trusted).unwrap();
    let claims = &receipt.claims;
    assert_eq!((claims.task, claims.fate, claims.digest), (task.0, Fate::Completed, DIGEST.0));
    assert_eq!(claims.results, Bytes::from_static(RESULTS));
    assert_eq!(claims.contributions[0].worker, worker.address());
    assert_eq!(claims.contributions[0].seal, Some(result_seal(worker.address(), task, DIGEST).0));
    assert!(verified.complete);
    let signers: Vec<SignedBy> = verified.signatures.iter().map(|(_, by)| *by).collect();
    let people = [&market.owner, &market.scheduler, &market.requester];
    assert_eq!(signers, people.map(|wallet| SignedBy::Account(wallet.address())));
    let strange = verify(&bytes, &[B256::ZERO]).unwrap_err();
    assert!(matches!(strange, Refused::Untrusted { .. }), "{strange}");

    // Some hundreds of the file's bits, anywhere.
    for round in 0u64..400 {
        let chance = U256::from_be_bytes(keccak256(round.to_be_bytes()).0);
        let at: usize = (chance % U256::from(bytes.len())).to();
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (chance.byte(31) % 8);
        assert!(verify(&changed, &trusted).is_err(), "byte {at}: {:?}", &bytes[at..at + 1]);
    }
}

#[tokio::test]
async fn an_agreement_is_proven_with_everybody_who_took_part() {
    let market = Market::open().await;
    let hub = market.client.hub();
    let workers = [market.worker(3).await, market.worker(4).await];
    let deal = market.buy(&market.quartet(4, 1), Nrlc::from_rlc(11)).await;
    let task = market.initialize(deal).await;
    for worker in &workers {
        let address = worker.address();
        let (hash, seal) = (result_hash(task, DIGEST), result_seal(address, task, DIGEST));
        let call = calls::contribute(hub, task, hash, seal, market.authorization(address, task));
        worker.execute(call).await.unwrap();
    }
    for worker in &workers {
        worker.execute(calls::reveal(hub, task, DIGEST)).await.unwrap();
    }
    let end = calls::finalize(hub, task, Bytes::from_static(RESULTS), Bytes::new());
    market.scheduler.execute(end).await.unwrap();

    let (receipt, bytes, trusted) = file(&market, task).await;
    assert!(verify(&bytes, &trusted).unwrap().complete);
    // Later, when much else has happened in the hub, it is the same still.
    for index in 5..9 {
        market.worker(index).await;
    }
    assert_eq!(file(&market, task).await.1, bytes);
    let told: Vec<_> =
        receipt.claims.contributions.iter().map(|it| (it.worker, it.accurate)).collect();
    assert_eq!(told, [&workers[0], &workers[1]].map(|it| (it.address(), Some(true))));

    // One who took part is left out: the hub's own count tells.
    let mut less = receipt.evidence.clone();
    less.transactions.remove(2);
    assert!(Receipt::of(less).is_err());
    // Another deal's index, another order: nothing follows any more.
    let mut other = receipt.evidence.clone();
    other.index = U256::from(1);
    assert!(Receipt::of(other).is_err());
    let mut other = receipt.evidence.clone();
    other.orders.app.price += U256::from(1);
    assert!(matches!(Receipt::of(other), Err(Refused::OtherOrder(_))));
    let mut other = receipt.evidence.clone();
    other.orders.app.sign = Bytes::new();
    assert!(Receipt::of(other).is_ok(), "a signature may be left out");
    let mut other = receipt.evidence;
    other.orders.app.sign = other.orders.request.sign.clone();
    assert!(matches!(Receipt::of(other), Err(Refused::OtherSignature(_))));
}

#[tokio::test]
async fn a_task_of_a_batch_is_proven_by_itself() {
    const TASKS: u64 = 5;
    let market = Market::open().await;
    let worker = market.worker(3).await;
    market.fund(market.requester.address(), 11 * TASKS).await;
    let deal = market.buy(&market.quartet(1, TASKS), Nrlc::from_rlc(11 * TASKS)).await;
    let indices: Vec<U256> = (0..TASKS).map(U256::from).collect();
    let hash = settlement_hash(worker.address(), deal, &indices);
    let signature = market.scheduler.signer().sign_message_sync(hash.as_slice()).unwrap();
    let items = indices.iter().map(|index| Settlement {
        index: *index,
        digest: ResultDigest(B256::from(*index + U256::from(1))),
        results: Bytes::from_static(RESULTS),
    });
    let authorization = Bytes::from(signature.as_bytes().to_vec());
    let call = calls::settle(market.client.hub(), deal, items.collect(), authorization);
    worker.execute(call).await.unwrap();

    let (receipt, bytes, trusted) = file(&market, task_id(deal, U256::from(3))).await;
    assert!(verify(&bytes, &trusted).unwrap().complete);
    assert_eq!(receipt.claims.digest, B256::from(U256::from(4)));
    assert_eq!(receipt.claims.contributions.len(), 1);
    assert_eq!(receipt.claims.volume, U256::from(TASKS));
}
