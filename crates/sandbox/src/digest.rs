//! The digest of a result: the value that workers agree on and the chain keeps.
//!
//! - a file: SHA-256 of its bytes;
//! - a directory: keccak-256 of the SHA-256 hashes of its direct files, one after the other, in the order of their
//!   names. Names are not hashed and sub-directories count for nothing: so the official stack defines it;
//! - callback bytes: keccak-256 of them.

use std::cmp::Ordering;
use std::io::{self, Read};

use alloy_primitives::{B256, Keccak256, keccak256};
use primitives::ResultDigest;
use sha2::{Digest, Sha256};

/// The digest of a result that is a directory, from the hashes of its direct files in [`by_name`] order.
pub(crate) fn of_directory(hashes: impl IntoIterator<Item = B256>) -> ResultDigest {
    let mut all = Keccak256::new();
    for hash in hashes {
        all.update(hash);
    }
    ResultDigest(all.finalize())
}

/// The digest of callback bytes. The contract checks exactly this.
pub(crate) fn of_callback(data: &[u8]) -> ResultDigest {
    ResultDigest(keccak256(data))
}

/// The order of file names in a directory's digest: by UTF-16 units, because the official worker compares Java strings.
/// It differs from the order of bytes only beyond the basic plane.
pub(crate) fn by_name(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// SHA-256 of everything that can be read, in flat memory.
pub(crate) fn sha256(mut from: impl Read) -> io::Result<B256> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(B256::from_slice(&hash.finalize())),
            Ok(n) => hash.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn known_values() {
        expect!["0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]
            .assert_eq(&sha256(&b"abc"[..]).unwrap().to_string());
        expect!["0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"]
            .assert_eq(&of_directory([]).to_string());
        expect!["0x4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"]
            .assert_eq(&of_callback(b"abc").to_string());
    }

    #[test]
    fn a_directory_is_the_keccak_of_the_hashes_put_together() {
        let (a, b) = (sha256(&b"a"[..]).unwrap(), sha256(&b"b"[..]).unwrap());
        assert_eq!(of_directory([a, b]).0, keccak256([a.0, b.0].concat()));
        assert_ne!(of_directory([a, b]), of_directory([b, a]));
    }

    #[test]
    fn names_are_ordered_as_java_orders_them() {
        assert_eq!(by_name("a", "b"), Ordering::Less);
        assert_eq!(by_name("B", "a"), Ordering::Less);
        assert_eq!(
            by_name("\u{1F600}", "\u{FFFD}"),
            Ordering::Less,
            "bytes would say the opposite"
        );
    }
}
