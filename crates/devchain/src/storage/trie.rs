//! A Merkle-Patricia trie whose nodes are kept one by one, by their paths.
//!
//! A change opens only the nodes on the way to it, so it costs the depth of the trie, however large that is. Because a
//! node is found by where it is and not by its hash, no node is ever left over: what moves or goes is overwritten or
//! removed. What lies where is decided by the content alone, so that taking changes back is just another change.
//!
//! ```text
//!   changes ─▶ open the nodes on the way ─▶ tree in memory, unopened children by hash ─▶ seal: encode, hash ─▶ Update
//! ```
//! Keys all have the same length and are spread by hashing; that, and what is a key, is the caller's business. Nodes
//! shorter than a hash are part of their parent, as the format demands.

use std::collections::BTreeMap;

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_rlp::{Decodable as _, Encodable as _};
use alloy_trie::{
    EMPTY_ROOT_HASH, Nibbles, TrieMask,
    nodes::{BranchNode, ExtensionNode, LeafNode, RlpNode, TrieNode},
};

use super::StorageError;

/// Where nodes are.
pub(crate) trait Nodes {
    /// The encoded node at that path, if one begins there.
    fn node(&self, path: &Nibbles) -> Result<Option<Vec<u8>>, StorageError>;
}

/// A key and its new value; nothing: it goes.
pub(crate) type Change = (Nibbles, Option<Vec<u8>>);

/// What a set of changes makes of a trie.
#[derive(Debug)]
pub(crate) struct Update {
    /// The new root hash.
    pub(crate) root: B256,
    /// Nodes by path: written, or removed. Each written one was hashed once.
    pub(crate) nodes: BTreeMap<Nibbles, Option<Vec<u8>>>,
}

/// The root hash of a trie as it is kept.
pub(crate) fn root(nodes: &impl Nodes) -> Result<B256, StorageError> {
    let root = nodes.node(&Nibbles::new())?;
    Ok(root.map_or(EMPTY_ROOT_HASH, keccak256))
}

/// Applies changes, which are sorted by key and have each key once.
pub(crate) fn update(nodes: &impl Nodes, changes: &[Change]) -> Result<Update, StorageError> {
    let mut work = Work { nodes, opened: BTreeMap::new() };
    let top = Nibbles::new();
    let before = match work.nodes.node(&top)? {
        Some(bytes) => {
            work.opened.insert(top, None);
            Some(decode(&bytes)?)
        }
        None => None,
    };
    let root = match work.apply(&top, before, changes)? {
        Some(node) => {
            work.seal(&top, node);
            work.opened.get(&top).and_then(Option::as_ref).map_or(EMPTY_ROOT_HASH, keccak256)
        }
        None => EMPTY_ROOT_HASH,
    };
    Ok(Update { root, nodes: work.opened })
}

/// The nodes from the root towards a key: a proof of its value, or that it has none.
pub(crate) fn prove(nodes: &impl Nodes, key: &Nibbles) -> Result<Vec<Bytes>, StorageError> {
    let mut proof = Vec::new();
    let mut path = Nibbles::new();
    let Some(mut bytes) = nodes.node(&path)? else { return Ok(proof) };
    loop {
        proof.push(Bytes::copy_from_slice(&bytes));
        let mut node = decode(&bytes)?;
        // Short nodes are inside of the one that was just shown.
        let next = loop {
            let child = match node {
                Node::Leaf(..) => break None,
                Node::Extension(rest, child) => {
                    path.extend(&rest);
                    if !key.starts_with(&path) {
                        break None;
                    }
                    *child
                }
                Node::Branch(mut children) => {
                    let Some(nibble) = key.get(path.len()) else { break None };
                    path.push(nibble);
                    std::mem::take(&mut children[usize::from(nibble)])
                }
            };
            match child {
                Child::Sealed(sealed) if sealed.is_hash() => break Some(load(nodes, &path)?),
                Child::Sealed(sealed) => node = decode(&sealed)?,
                Child::Open(open) => node = *open,
                Child::None => break None,
            }
        };
        match next {
            Some(found) => bytes = found,
            None => return Ok(proof),
        }
    }
}

/// A node in memory.
#[derive(Debug)]
enum Node {
    Leaf(Nibbles, Vec<u8>),
    /// Leads to a branch, always.
    Extension(Nibbles, Box<Child>),
    Branch(Box<[Child; 16]>),
}

#[derive(Debug, Default)]
enum Child {
    #[default]
    None,
    /// Not looked into: a hash, or a node shorter than one.
    Sealed(RlpNode),
    Open(Box<Node>),
}

impl From<Option<Node>> for Child {
    fn from(node: Option<Node>) -> Self {
        node.map_or(Self::None, |node| Self::Open(Box::new(node)))
    }
}

struct Work<'a, N> {
    nodes: &'a N,
    /// Paths that were opened, with what is to be there now.
    opened: BTreeMap<Nibbles, Option<Vec<u8>>>,
}

impl<N: Nodes> Work<'_, N> {
    /// Looks into a child. Its place counts as empty until something is sealed there.
    fn open(&mut self, path: &Nibbles, child: Child) -> Result<Option<Node>, StorageError> {
        match child {
            Child::None => Ok(None),
            Child::Open(node) => Ok(Some(*node)),
            Child::Sealed(sealed) if sealed.is_hash() => {
                let bytes = load(self.nodes, path)?;
                self.opened.insert(*path, None);
                decode(&bytes).map(Some)
            }
            Child::Sealed(sealed) => decode(&sealed).map(Some),
        }
    }

    fn apply(
        &mut self,
        path: &Nibbles,
        node: Option<Node>,
        changes: &[Change],
    ) -> Result<Option<Node>, StorageError> {
        if changes.is_empty() {
            return Ok(node);
        }
        match node {
            None => Ok(build(path.len(), &kept(changes))),
            Some(Node::Leaf(rest, value)) => {
                let key = path.join(&rest);
                let mut entries = kept(changes);
                if let Err(place) = changes.binary_search_by(|(one, _)| one.cmp(&key)) {
                    let before = changes[..place].iter().filter(|(_, new)| new.is_some()).count();
                    entries.insert(before, (key, &value));
                }
                Ok(build(path.len(), &entries))
            }
            Some(Node::Extension(rest, child)) => {
                self.apply_to_extension(path, &rest, *child, changes)
            }
            Some(Node::Branch(children)) => self.apply_to_branch(path, children, changes),
        }
    }

    fn apply_to_extension(
        &mut self,
        path: &Nibbles,
        rest: &Nibbles,
        child: Child,
        changes: &[Change],
    ) -> Result<Option<Node>, StorageError> {
        let end = path.join(rest);
        let shared = changes.iter().map(|(key, _)| key.common_prefix_length(&end)).min();
        let shared = shared.unwrap_or(end.len());
        if shared == end.len() {
            let inner = self.open(&end, child)?;
            let inner = self.apply(&end, inner, changes)?;
            return Ok(prepend(rest, inner));
        }
        // Some change leaves the way before its end: a branch belongs there, if the change is more than a removal.
        let ahead = shared - path.len();
        let (before, after) = (rest.slice(..ahead), rest.slice(ahead + 1..));
        let mut children: Box<[Child; 16]> = Box::default();
        children[usize::from(rest.get_unchecked(ahead))] = if after.is_empty() {
            child
        } else {
            Child::Open(Box::new(Node::Extension(after, Box::new(child))))
        };
        let branch = self.apply_to_branch(&path.join(&before), children, changes)?;
        Ok(prepend(&before, branch))
    }

    fn apply_to_branch(
        &mut self,
        path: &Nibbles,
        mut children: Box<[Child; 16]>,
        changes: &[Change],
    ) -> Result<Option<Node>, StorageError> {
        for group in changes.chunk_by(|(one, _), (other, _)| {
            one.get_unchecked(path.len()) == other.get_unchecked(path.len())
        }) {
            let nibble = group[0].0.get_unchecked(path.len());
            let mut below = *path;
            below.push(nibble);
            let child = &mut children[usize::from(nibble)];
            let node = self.open(&below, std::mem::take(child))?;
            *child = self.apply(&below, node, group)?.into();
        }
        let mut present = (0u8..).zip(children.iter()).filter(|(_, it)| !matches!(it, Child::None));
        match (present.next(), present.next()) {
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Ok(Some(Node::Branch(children))),
            (Some((nibble, _)), None) => {
                // A branch with one way is none.
                let step = Nibbles::from_nibbles([nibble]);
                let child = std::mem::take(&mut children[usize::from(nibble)]);
                let node = self.open(&path.join(&step), child)?;
                Ok(prepend(&step, node))
            }
        }
    }

    /// Encodes a node with everything below it that is open, and says where.
    fn seal(&mut self, path: &Nibbles, node: Node) -> RlpNode {
        let node = match node {
            Node::Leaf(rest, value) => TrieNode::Leaf(LeafNode::new(rest, value)),
            Node::Extension(rest, child) => {
                let child = self.seal_child(&path.join(&rest), *child).unwrap_or_default();
                TrieNode::Extension(ExtensionNode::new(rest, child))
            }
            Node::Branch(children) => {
                let (mut stack, mut mask) = (Vec::with_capacity(16), TrieMask::default());
                for (nibble, child) in (0u8..).zip(*children) {
                    let mut below = *path;
                    below.push(nibble);
                    if let Some(sealed) = self.seal_child(&below, child) {
                        stack.push(sealed);
                        mask.set_bit(nibble);
                    }
                }
                TrieNode::Branch(BranchNode::new(stack, mask))
            }
        };
        let mut bytes = Vec::with_capacity(node.length());
        node.encode(&mut bytes);
        let sealed = RlpNode::from_rlp(&bytes);
        if sealed.is_hash() || path.is_empty() {
            self.opened.insert(*path, Some(bytes));
        }
        sealed
    }

    fn seal_child(&mut self, path: &Nibbles, child: Child) -> Option<RlpNode> {
        match child {
            Child::None => None,
            Child::Sealed(sealed) => Some(sealed),
            Child::Open(node) => Some(self.seal(path, *node)),
        }
    }
}

fn kept(changes: &[Change]) -> Vec<(Nibbles, &Vec<u8>)> {
    changes.iter().filter_map(|(key, value)| Some((*key, value.as_ref()?))).collect()
}

/// The trie of these entries, which share their first `depth` nibbles.
fn build(depth: usize, entries: &[(Nibbles, &Vec<u8>)]) -> Option<Node> {
    let (first, value) = entries.first()?;
    let (last, _) = entries.last()?;
    if entries.len() == 1 {
        return Some(Node::Leaf(first.slice(depth..), (*value).clone()));
    }
    let shared = first.common_prefix_length(last);
    let mut children: Box<[Child; 16]> = Box::default();
    for group in entries
        .chunk_by(|(one, _), (other, _)| one.get_unchecked(shared) == other.get_unchecked(shared))
    {
        let nibble = group[0].0.get_unchecked(shared);
        children[usize::from(nibble)] = build(shared + 1, group).into();
    }
    prepend(&first.slice(depth..shared), Some(Node::Branch(children)))
}

/// A node with more of the way before it.
fn prepend(way: &Nibbles, node: Option<Node>) -> Option<Node> {
    if way.is_empty() {
        return node;
    }
    Some(match node? {
        Node::Leaf(rest, value) => Node::Leaf(way.join(&rest), value),
        Node::Extension(rest, child) => Node::Extension(way.join(&rest), child),
        branch @ Node::Branch(_) => Node::Extension(*way, Box::new(Child::Open(Box::new(branch)))),
    })
}

fn load(nodes: &impl Nodes, path: &Nibbles) -> Result<Vec<u8>, StorageError> {
    let missing = || StorageError::Corrupt(format!("the trie's node at {path:?} is missing"));
    nodes.node(path)?.ok_or_else(missing)
}

fn decode(mut bytes: &[u8]) -> Result<Node, StorageError> {
    Ok(match TrieNode::decode(&mut bytes)? {
        TrieNode::Leaf(leaf) => Node::Leaf(leaf.key, leaf.value),
        TrieNode::Extension(extension) => {
            Node::Extension(extension.key, Box::new(Child::Sealed(extension.child)))
        }
        TrieNode::Branch(branch) => {
            let mut children: Box<[Child; 16]> = Box::default();
            for (nibble, child) in branch.as_ref().children() {
                if let Some(child) = child {
                    children[usize::from(nibble)] = Child::Sealed(child.clone());
                }
            }
            Node::Branch(children)
        }
        TrieNode::EmptyRoot => {
            return Err(StorageError::Corrupt("an empty node in a trie".into()));
        }
    })
}

#[cfg(test)]
mod tests {
    use alloy_trie::{HashBuilder, proof::verify_proof};
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Kept(BTreeMap<Nibbles, Vec<u8>>);

    impl Nodes for Kept {
        fn node(&self, path: &Nibbles) -> Result<Option<Vec<u8>>, StorageError> {
            Ok(self.0.get(path).cloned())
        }
    }

    impl Kept {
        /// Applies changes; says the new root and how many nodes were hashed for it.
        fn change(&mut self, changes: &BTreeMap<Nibbles, Option<Vec<u8>>>) -> (B256, usize) {
            let changes: Vec<Change> = changes.iter().map(|(k, v)| (*k, v.clone())).collect();
            let update = update(self, &changes).unwrap();
            let hashed = update.nodes.values().flatten().count();
            for (path, node) in update.nodes {
                match node {
                    Some(node) => self.0.insert(path, node),
                    None => self.0.remove(&path),
                };
            }
            assert_eq!(root(self).unwrap(), update.root);
            (update.root, hashed)
        }
    }

    fn from_scratch(entries: &BTreeMap<Nibbles, Vec<u8>>) -> B256 {
        let mut builder = HashBuilder::default();
        for (key, value) in entries {
            builder.add_leaf(*key, value);
        }
        builder.root()
    }

    /// Keys that share much of their way, and values so short that their nodes are part of others.
    fn key() -> impl Strategy<Value = Nibbles> {
        (0u8..3, 0u8..4, 0u8..4, prop::sample::select(vec![0usize, 1, 30, 31])).prop_map(
            |(first, second, last, at)| {
                let mut key = [0x11u8; 32];
                key[0] = first;
                key[at] ^= second << 4;
                key[31] ^= last;
                Nibbles::unpack(key)
            },
        )
    }

    fn changes() -> impl Strategy<Value = BTreeMap<Nibbles, Option<Vec<u8>>>> {
        let value = prop::option::weighted(0.6, prop::collection::vec(1u8..9, 1..40));
        prop::collection::btree_map(key(), value, 0..12)
    }

    proptest! {
        /// However it came about, the root is that of a trie made anew of the same entries, no node is left over, and
        /// every key is proven to be there or not.
        #[test]
        fn the_way_to_a_content_leaves_no_trace(steps in prop::collection::vec(changes(), 1..8), asked in key()) {
            let mut kept = Kept::default();
            let mut entries: BTreeMap<Nibbles, Vec<u8>> = BTreeMap::new();
            for step in steps {
                let (root, _) = kept.change(&step);
                for (key, value) in step {
                    match value {
                        Some(value) => entries.insert(key, value),
                        None => entries.remove(&key),
                    };
                }
                prop_assert_eq!(root, from_scratch(&entries));
                let mut anew = Kept::default();
                anew.change(&entries.iter().map(|(k, v)| (*k, Some(v.clone()))).collect());
                prop_assert_eq!(&anew.0, &kept.0);
                for key in entries.keys().chain([&asked]) {
                    let proof = prove(&kept, key).unwrap();
                    let verified = verify_proof(root, *key, entries.get(key).cloned(), &proof);
                    prop_assert!(verified.is_ok(), "{key:?}: {verified:?}");
                }
            }
        }
    }

    #[test]
    fn a_change_costs_its_depth_and_not_the_size() {
        let key = |number: u64| Nibbles::unpack(keccak256(number.to_be_bytes()));
        let mut kept = Kept::default();
        let mut hashed = Vec::new();
        for size in [1_000u64, 16_000] {
            kept.change(&(0..size).map(|number| (key(number), Some(vec![7; 32]))).collect());
            let hundred = (0..100).map(|number| (key(number), Some(vec![8; 32]))).collect();
            hashed.push(kept.change(&hundred).1);
            kept.change(&(0..size).map(|number| (key(number), None)).collect());
            assert!(kept.0.is_empty());
        }
        // Sixteen times the size is one more level: a hundred nodes more at most.
        assert!(hashed[1] <= hashed[0] + 100, "{hashed:?}");
        assert!(hashed[1] <= 450, "{hashed:?}");
    }
}
