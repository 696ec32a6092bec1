//! Proofs in Merkle-Patricia tries: made for a block's list, checked for any.

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_rlp::Decodable as _;
use alloy_trie::{
    EMPTY_ROOT_HASH, HashBuilder, Nibbles,
    nodes::{RlpNode, TrieNode},
    proof::ProofRetainer,
};

use crate::Refused;

/// The trie of a list, as blocks have it of their transactions and receipts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// Its root.
    pub root: B256,
    /// For each index that was asked for, the nodes from the root to it.
    pub proofs: Vec<Vec<Bytes>>,
}

/// Makes the trie of a block's list of encoded entries, with proofs of some of them.
pub fn ordered(entries: &[Vec<u8>], indices: &[usize]) -> Ordered {
    let targets: Vec<Nibbles> = indices.iter().map(|index| index_path(*index)).collect();
    let mut keyed: Vec<(Nibbles, &Vec<u8>)> =
        entries.iter().enumerate().map(|(index, entry)| (index_path(index), entry)).collect();
    keyed.sort_by_key(|(path, _)| *path);
    let mut builder =
        HashBuilder::default().with_proof_retainer(ProofRetainer::new(targets.clone()));
    for (path, entry) in keyed {
        builder.add_leaf(path, entry);
    }
    let root = builder.root();
    let nodes = builder.take_proof_nodes();
    let proof = |path: &Nibbles| {
        nodes.matching_nodes_sorted(path).into_iter().map(|(_, node)| node).collect()
    };
    Ordered { root, proofs: targets.iter().map(proof).collect() }
}

/// The value that is proven to be under a key, or that there is none. Every node must be needed.
pub(crate) fn value(
    root: B256,
    key: &Nibbles,
    proof: &[Bytes],
    what: &str,
) -> Result<Option<Vec<u8>>, Refused> {
    let unproven = || Refused::Unproven(what.to_owned());
    let (mut expected, mut path, mut found) =
        (Some(RlpNode::word_rlp(&root)), Nibbles::new(), None);
    if root == EMPTY_ROOT_HASH && proof.is_empty() {
        return Ok(None);
    }
    for bytes in proof {
        // Also refuses nodes after the end of the way.
        let sealed = expected.take().ok_or_else(unproven)?;
        if sealed != RlpNode::word_rlp(&keccak256(bytes)) {
            return Err(unproven());
        }
        let mut node = whole(bytes).ok_or_else(unproven)?;
        // Short nodes are inside of the one that was just shown.
        loop {
            let child = match node {
                TrieNode::EmptyRoot => None,
                TrieNode::Leaf(leaf) => {
                    found = (path.join(&leaf.key) == *key).then_some(leaf.value);
                    None
                }
                TrieNode::Extension(extension) => {
                    path.extend(&extension.key);
                    key.starts_with(&path).then_some(extension.child)
                }
                TrieNode::Branch(branch) => {
                    let nibble = key.get(path.len()).ok_or_else(unproven)?;
                    path.push(nibble);
                    let branch = branch.as_ref();
                    let found = branch.children().find(|(at, _)| *at == nibble);
                    found.and_then(|(_, child)| child.cloned())
                }
            };
            match child {
                None => break,
                Some(child) if child.is_hash() => {
                    expected = Some(child);
                    break;
                }
                Some(child) => node = whole(&child).ok_or_else(unproven)?,
            }
        }
    }
    match expected {
        None => Ok(found),
        Some(_) => Err(unproven()),
    }
}

/// The key of a list's entry.
pub(crate) fn index_path(index: usize) -> Nibbles {
    Nibbles::unpack(alloy_rlp::encode(index))
}

/// The key of an account or a slot.
pub(crate) fn hashed_path(key: impl AsRef<[u8]>) -> Nibbles {
    Nibbles::unpack(keccak256(key))
}

fn whole(mut bytes: &[u8]) -> Option<TrieNode> {
    let node = TrieNode::decode(&mut bytes).ok()?;
    bytes.is_empty().then_some(node)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is in a list is proven to be at its index, and at no other; and what is beyond its end is not there.
        #[test]
        fn an_entry_is_proven_at_its_index_only(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 40..60), 1..300),
            at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(entries.len());
            let all: Vec<usize> = (0..=entries.len()).collect();
            let ordered = ordered(&entries, &all);
            prop_assert_eq!(ordered.root, alloy_trie::root::ordered_trie_root_encoded(&entries));
            let found = value(ordered.root, &index_path(at), &ordered.proofs[at], "it").unwrap();
            prop_assert_eq!(found.as_ref(), Some(&entries[at]));
            let beyond = &ordered.proofs[entries.len()];
            prop_assert_eq!(value(ordered.root, &index_path(entries.len()), beyond, "it").unwrap(), None);
            let other = (at + 1) % entries.len();
            if other != at {
                let moved = value(ordered.root, &index_path(other), &ordered.proofs[at], "it");
                prop_assert!(moved.is_err() || moved.unwrap() != Some(entries[at].clone()));
            }
        }

        /// A proof with a node more, a node less or a bit changed proves nothing.
        #[test]
        fn a_changed_proof_proves_nothing(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 40..60), 1..40),
            at in any::<prop::sample::Index>(),
            node in any::<prop::sample::Index>(),
            bit in any::<prop::sample::Index>(),
        ) {
            let at = at.index(entries.len());
            let ordered = ordered(&entries, &[at]);
            let proof = &ordered.proofs[0];
            let check = |proof: &[Bytes]| value(ordered.root, &index_path(at), proof, "it");
            let (mut more, mut flipped) = (proof.clone(), proof.clone());
            more.push(proof[node.index(proof.len())].clone());
            prop_assert!(check(&more).is_err());
            prop_assert!(check(&proof[..proof.len() - 1]).is_err());
            let node = node.index(proof.len());
            let mut bytes = flipped[node].to_vec();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            flipped[node] = bytes.into();
            prop_assert!(check(&flipped).is_err());
        }
    }
}
