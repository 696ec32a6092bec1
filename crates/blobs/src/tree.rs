//! From a stream of bytes to the CID of a UnixFS file, in memory that does not grow with the file.
//!
//! The tree is balanced: leaves of one chunk each, and above them nodes of up to 174 links, level by level, until one is
//! left. Only the unfinished node of each level is kept.

use cid::Cid;
use cid::multihash::Multihash;
use sha2::{Digest, Sha256};

/// Bytes in a leaf.
pub(crate) const CHUNK_BYTES: usize = 262_144;
/// Links in a node: what fits in 8 KiB by kubo's reckoning.
const MAX_LINKS: usize = 174;

/// Multicodec numbers.
const SHA2_256: u64 = 0x12;
const RAW: u64 = 0x55;
pub(crate) const DAG_PB: u64 = 0x70;

/// How leaves and names are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Layout {
    /// Names of version 1 instead of 0.
    pub(crate) v1: bool,
    /// Leaves are the bytes themselves instead of nodes around them.
    pub(crate) raw_leaves: bool,
}

/// Takes chunks in order, gives the root's CID.
pub(crate) struct Tree {
    layout: Layout,
    /// Unfinished nodes, leaves' level first.
    levels: Vec<Vec<Link>>,
}

/// A finished node, as its parent sees it.
#[derive(Clone)]
struct Link {
    cid: Cid,
    /// Bytes of the file below it.
    file_bytes: u64,
    /// Bytes of all blocks below it, its own included.
    tree_bytes: u64,
}

impl Tree {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, levels: vec![Vec::new()] }
    }

    /// The next chunk: full, or the last. An empty file is one empty chunk.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        let link = if self.layout.raw_leaves {
            Link {
                cid: Cid::new_v1(RAW, sha256(chunk)),
                file_bytes: len(chunk),
                tree_bytes: len(chunk),
            }
        } else {
            let block = node(&[], &unixfs(Some(chunk), len(chunk), &[]));
            self.link(&block, len(chunk), 0)
        };
        self.insert(0, link);
    }

    /// The root's name and the bytes of all blocks; of the empty file if there was no chunk.
    pub(crate) fn finish(mut self) -> (Cid, u64) {
        if self.levels.iter().all(Vec::is_empty) {
            self.push(&[]);
        }
        let mut level = 0;
        loop {
            let is_top = self.levels[level + 1..].iter().all(Vec::is_empty);
            if is_top && self.levels[level].len() == 1 {
                let root = &self.levels[level][0];
                return (root.cid, root.tree_bytes);
            }
            if !self.levels[level].is_empty() {
                self.close(level);
            }
            level += 1;
        }
    }

    fn insert(&mut self, level: usize, link: Link) {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(link);
        if self.levels[level].len() == MAX_LINKS {
            self.close(level);
        }
    }

    /// Makes one node of a level's links and hands it up.
    fn close(&mut self, level: usize) {
        let links = std::mem::take(&mut self.levels[level]);
        let file_bytes = links.iter().map(|link| link.file_bytes).sum();
        let below = links.iter().map(|link| link.tree_bytes).sum();
        let sizes: Vec<_> = links.iter().map(|link| link.file_bytes).collect();
        let block = node(&links, &unixfs(None, file_bytes, &sizes));
        let link = self.link(&block, file_bytes, below);
        self.insert(level + 1, link);
    }

    fn link(&self, block: &[u8], file_bytes: u64, below: u64) -> Link {
        let hash = sha256(block);
        // Version 0 is a bare SHA-256 multihash and cannot fail for one.
        let cid = if self.layout.v1 { Cid::new_v1(DAG_PB, hash) } else { v0(hash) };
        Link { cid, file_bytes, tree_bytes: below + len(block) }
    }
}

fn v0(hash: Multihash<64>) -> Cid {
    Cid::new_v0(hash).unwrap_or_else(|_| Cid::new_v1(DAG_PB, hash))
}

fn sha256(bytes: &[u8]) -> Multihash<64> {
    // 32 bytes always fit in 64.
    Multihash::wrap(SHA2_256, &Sha256::digest(bytes)).unwrap_or_default()
}

fn len(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

/// A dag-pb node: links first, then data, as its canonical form demands.
fn node(links: &[Link], data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 64 * links.len() + 16);
    for link in links {
        let mut inner = Vec::with_capacity(64);
        bytes_field(&mut inner, 1, &link.cid.to_bytes());
        bytes_field(&mut inner, 2, b"");
        varint_field(&mut inner, 3, link.tree_bytes);
        bytes_field(&mut out, 2, &inner);
    }
    bytes_field(&mut out, 1, data);
    out
}

/// The UnixFS description of a file or a part of one.
fn unixfs(content: Option<&[u8]>, file_bytes: u64, parts: &[u64]) -> Vec<u8> {
    const FILE: u64 = 2;
    let mut out = Vec::with_capacity(content.map_or(0, <[u8]>::len) + 16 + 4 * parts.len());
    varint_field(&mut out, 1, FILE);
    if let Some(content) = content.filter(|content| !content.is_empty()) {
        bytes_field(&mut out, 2, content);
    }
    varint_field(&mut out, 3, file_bytes);
    for part in parts {
        varint_field(&mut out, 4, *part);
    }
    out
}

fn bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, len(bytes));
    out.extend_from_slice(bytes);
}

fn varint_field(out: &mut Vec<u8>, number: u8, value: u64) {
    out.push(number << 3);
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const V0: Layout = Layout { v1: false, raw_leaves: false };
    const V1: Layout = Layout { v1: true, raw_leaves: true };

    fn check(content: &[u8], layout: Layout, want: &Expect) {
        let mut tree = Tree::new(layout);
        content.chunks(CHUNK_BYTES).for_each(|chunk| tree.push(chunk));
        want.assert_eq(&tree.finish().0.to_string());
    }

    /// Names that kubo is known to give.
    #[test]
    fn names_are_those_of_kubo() {
        check(b"hello world\n", V0, &expect!["QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"]);
        check(b"", V0, &expect!["QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"]);
        check(b"", V1, &expect!["bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"]);
        check(
            b"hello world",
            V1,
            &expect!["bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"],
        );
    }

    /// These were computed by a second implementation in another language, written from the
    /// specification of UnixFS. Two chunks; exactly one full node; one leaf more, which needs a third level.
    #[test]
    fn trees_of_several_chunks() {
        let bytes = |n: usize| -> Vec<u8> { (0..=250).cycle().take(n).collect() };
        check(&bytes(300_000), V0, &expect!["QmWU4cq12z1Fq8kiWASSMzcpsxbQpY74z1X2koCz2TUnaU"]);
        check(
            &bytes(300_000),
            V1,
            &expect!["bafybeih7gz5kvvg2zafb7vue6izhy6c4tglvwpi3rgunwdag2fidn2y6eq"],
        );
        check(
            &bytes(174 * CHUNK_BYTES),
            V0,
            &expect!["QmXCym15aFeWjAWyPFaAgwVmkuKB7EBsV77Skt54KmxChF"],
        );
        check(
            &bytes(174 * CHUNK_BYTES + 1),
            V0,
            &expect!["QmTedsTekQQkgACJXb1sPZSW8bLdS9LPMrT7L4YdjNRd4n"],
        );
        check(
            &bytes(174 * CHUNK_BYTES + 1),
            V1,
            &expect!["bafybeib4y7ghw2rq7bracc4xwtxrbzo7cfvagdpte2tmrkgwl6dyard3cm"],
        );
    }
}
