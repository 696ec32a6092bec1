//! Where hubs keep how many contributions a task had.
//!
//! Receipts prove that something happened, and cannot prove that nothing else did. How many workers contributed is a
//! number in the hub's storage; with a proof of that, the list is known to be whole.

use alloy_primitives::{B256, U256, keccak256};
use primitives::TaskId;
use serde::{Deserialize, Serialize};

/// How a hub keeps its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// The hub of this house: a task is one packed word.
    #[serde(rename = "gristmill-hub/1")]
    Gristmill,
    /// The original hub: a field a slot.
    #[serde(rename = "iexec-poco/5")]
    Original,
}

/// The namespace of this house's hub, and where in it tasks are; `contracts/snapshots/storage-layout.json` has both.
const GRISTMILL_BASE: B256 =
    alloy_primitives::b256!("fe88eda4e27b4947c08be7c8e1e6b6cc61ff84606710317a54649b069642fb00");
const GRISTMILL_TASKS: u64 = 16;
/// The same of the original.
const ORIGINAL_BASE: B256 =
    alloy_primitives::b256!("5862653c6982c162832160cf30593645e8487b257e44d77cdd6b51eee2651b00");
const ORIGINAL_TASKS: u64 = 15;
/// Where in a task the length of its list of contributors is.
const ORIGINAL_CONTRIBUTORS: u64 = 10;

const COMPLETED: u64 = 3;
const FAILED: u64 = 4;

/// What a hub keeps of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) completed: bool,
    pub(crate) failed: bool,
    pub(crate) contributions: u64,
}

impl Layout {
    /// All of them, the likelier first.
    pub const ALL: [Self; 2] = [Self::Gristmill, Self::Original];

    /// The slots that tell of a task.
    pub fn slots(self, task: TaskId) -> Vec<U256> {
        let (base, tasks) = match self {
            Self::Gristmill => (GRISTMILL_BASE, GRISTMILL_TASKS),
            Self::Original => (ORIGINAL_BASE, ORIGINAL_TASKS),
        };
        let mapping = U256::from_be_bytes(base.0).wrapping_add(U256::from(tasks));
        let mut key = [0u8; 64];
        key[..32].copy_from_slice(task.0.as_slice());
        key[32..].copy_from_slice(&mapping.to_be_bytes::<32>());
        let place = U256::from_be_bytes(keccak256(key).0);
        match self {
            Self::Gristmill => vec![place],
            Self::Original => {
                vec![place, place.wrapping_add(U256::from(ORIGINAL_CONTRIBUTORS))]
            }
        }
    }

    /// What the words in those slots mean; nothing if there is no such task.
    pub(crate) fn read(self, words: &[U256]) -> Option<Kept> {
        let (status, contributions) = match (self, words) {
            (Self::Gristmill, [word]) => {
                let part = |from: usize, bits: usize| -> u64 {
                    ((*word >> from) & ((U256::ONE << bits) - U256::ONE)).saturating_to()
                };
                // A task completed by one worker alone keeps that elsewhere.
                let alone = word.bit(254);
                (part(128, 3), if alone { 1 } else { part(131, 12) })
            }
            (Self::Original, [status, contributors]) => {
                (status.saturating_to(), contributors.saturating_to())
            }
            _ => return None,
        };
        let kept = Kept { completed: status == COMPLETED, failed: status == FAILED, contributions };
        (kept.completed || kept.failed).then_some(kept)
    }

    /// Whether words in those slots tell of a task that is over, so that a proof of them is worth having.
    pub fn tells(self, words: &[U256]) -> bool {
        self.read(words).is_some()
    }
}
