//! Where content is, as the chain keeps it.
//!
//! The field is bytes of no fixed meaning. Ours and many others hold text, a URL or `/ipfs/<cid>`; the official clients
//! turn an IPFS address into the compact form of a multiaddress, and write `/p2p/` where they mean `/ipfs/`. Both are read
//! here, and nothing else.

use cid::Cid;

/// The protocol number of `/ipfs/`, also called `/p2p/`, as a varint.
const IPFS: [u8; 2] = [0xa5, 0x03];

/// The address as text: a URL, or `/ipfs/<cid>`. Nothing if the bytes are neither.
pub fn to_text(bytes: &[u8]) -> Option<String> {
    if let Some(text) = compact(bytes) {
        return Some(text);
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return None;
    }
    let cid = text.strip_prefix("/p2p/");
    Some(cid.map_or_else(|| text.to_owned(), |cid| format!("/ipfs/{cid}")))
}

fn compact(bytes: &[u8]) -> Option<String> {
    let rest = bytes.strip_prefix(&IPFS)?;
    // Content ids are shorter than 128 bytes, so their length is one byte.
    let (len, cid) = rest.split_first()?;
    if usize::from(*len) != cid.len() {
        return None;
    }
    Some(format!("/ipfs/{}", Cid::try_from(cid).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CID: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";

    fn check(bytes: &[u8], expected: Option<&str>) {
        assert_eq!(to_text(bytes).as_deref(), expected);
    }

    #[test]
    fn text_and_the_compact_form_say_the_same() {
        let expected = format!("/ipfs/{CID}");
        check(format!("/ipfs/{CID}").as_bytes(), Some(&expected));
        check(format!(" /p2p/{CID}\n").as_bytes(), Some(&expected));
        let cid: Cid = CID.parse().expect("a cid");
        let compact = [&[0xa5, 0x03, 34], cid.to_bytes().as_slice()].concat();
        check(&compact, Some(&expected));
        check(b"https://example.com/a b", Some("https://example.com/a b"));
    }

    #[test]
    fn what_is_neither_is_nothing() {
        check(b"", None);
        check(b"  ", None);
        check(&[0xa5, 0x03, 34, 1, 2], None);
        check(&[0xff, 0xfe], None);
        check(b"a\0b", None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = to_text(&bytes);
        }
    }
}
