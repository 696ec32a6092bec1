//! Hashes that bind: a result to its task, a result to its worker, a worker to a permission.

use alloy_primitives::{Address, B256, Keccak256};
use primitives::{ResultDigest, ResultHash, ResultSeal, TaskId};

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
}
