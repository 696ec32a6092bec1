//! Hashes that bind: a result to its task, a result to its worker, a worker to a permission.

use alloy_primitives::{Address, B256, Keccak256, U256};
use primitives::{DealId, ResultDigest, ResultHash, ResultSeal, TaskId};

/// What a worker contributes: `keccak256(task ‖ digest)`. The same for all who found the same.
pub fn result_hash(task: TaskId, digest: ResultDigest) -> ResultHash {
    ResultHash(joined(&[task.0.as_slice(), digest.0.as_slice()]))
}

/// Shows later that the worker knew the digest when contributing: `keccak256(worker ‖ task ‖ digest)`. It cannot be made
/// from another worker's hash or seal, so results cannot be copied.
pub fn result_seal(worker: Address, task: TaskId, digest: ResultDigest) -> ResultSeal {
    ResultSeal(joined(&[worker.as_slice(), task.0.as_slice(), digest.0.as_slice()]))
}

/// What the workerpool's owner signs (as an Ethereum message, EIP-191) to let a worker contribute:
/// `keccak256(worker ‖ task ‖ enclave challenge)`. The challenge is zero without an enclave.
pub fn authorization_hash(worker: Address, task: TaskId, enclave_challenge: Address) -> B256 {
    joined(&[worker.as_slice(), task.0.as_slice(), enclave_challenge.as_slice()])
}

/// What the workerpool's owner signs (EIP-191) to let a worker settle these tasks of a deal with one transaction:
/// `keccak256(worker ‖ deal ‖ keccak256(index ‖ index ‖ …))`, indices as 32-byte words in the order of the transaction.
/// It packs 84 bytes where [`authorization_hash`] packs 72, so neither can stand for the other.
pub fn settlement_hash(worker: Address, deal: DealId, indices: &[U256]) -> B256 {
    let mut list = Keccak256::new();
    for index in indices {
        list.update(index.to_be_bytes::<32>());
    }
    let list = list.finalize();
    joined(&[worker.as_slice(), deal.0.as_slice(), list.as_slice()])
}

fn joined(parts: &[&[u8]]) -> B256 {
    let mut hasher = Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;

    #[test]
    fn commitments_are_packed_hashes() {
        let (task, digest) = (TaskId(B256::repeat_byte(1)), ResultDigest(B256::repeat_byte(2)));
        let worker = Address::repeat_byte(3);
        let packed = |parts: &[&[u8]]| keccak256(parts.concat());
        assert_eq!(result_hash(task, digest).0, packed(&[&[1; 32], &[2; 32]]));
        assert_eq!(result_seal(worker, task, digest).0, packed(&[&[3; 20], &[1; 32], &[2; 32]]));
        assert_eq!(
            authorization_hash(worker, task, Address::ZERO),
            packed(&[&[3; 20], &[1; 32], &[0; 20]])
        );
    }

    #[test]
    fn a_settlement_names_worker_deal_and_indices_in_order() {
        let (worker, deal) = (Address::repeat_byte(3), DealId(B256::repeat_byte(1)));
        let word = |last: u8| [[0; 31].as_slice(), &[last]].concat();
        let packed = |list: &[Vec<u8>]| {
            keccak256([&[3; 20][..], &[1; 32], keccak256(list.concat()).as_slice()].concat())
        };
        let hash = |indices: &[u64]| {
            let indices: Vec<_> = indices.iter().copied().map(U256::from).collect();
            settlement_hash(worker, deal, &indices)
        };
        assert_eq!(hash(&[7, 9]), packed(&[word(7), word(9)]));
        assert_eq!(hash(&[]), packed(&[]));
        assert_ne!(hash(&[7, 9]), hash(&[9, 7]));
    }
}
