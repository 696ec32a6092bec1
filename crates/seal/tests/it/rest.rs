//! Secrets at rest.

use proptest::prelude::*;
use seal::rest::{Keyring, Label, OVERHEAD_LEN, RestError, StorageKey};

use crate::fixed;

fn key(start: u8) -> StorageKey {
    StorageKey::generate(&mut fixed(start))
}

fn ring(start: u8) -> Keyring {
    Keyring::new(key(start), Vec::new())
}

const LABEL: Label<'_> = Label { kind: "kind", owner: &[1; 20], name: "name", version: 1 };

fn sealed() -> Vec<u8> {
    ring(1).seal(LABEL, b"hush", &mut fixed(9)).expect("seals")
}

fn check(ring: &Keyring, label: Label<'_>, sealed: &[u8], expected: Result<&[u8], RestError>) {
    let opened = ring.open(label, sealed);
    assert_eq!(
        opened.as_ref().map(|secret| secret.expose().as_slice()).map_err(|error| *error),
        expected
    );
}

#[test]
fn a_box_opens_under_its_own_label_only() {
    check(&ring(1), LABEL, &sealed(), Ok(b"hush"));
    let refused = Err(RestError::Altered);
    check(&ring(1), Label { version: 2, ..LABEL }, &sealed(), refused);
    check(&ring(1), Label { name: "other", ..LABEL }, &sealed(), refused);
    check(&ring(1), Label { kind: "other", ..LABEL }, &sealed(), refused);
    check(&ring(1), Label { owner: &[2; 20], ..LABEL }, &sealed(), refused);
    // Where one part ends and the next begins counts.
    let shifted = ring(1)
        .seal(Label { kind: "a", owner: b"bc", ..LABEL }, b"", &mut fixed(9))
        .expect("seals");
    check(&ring(1), Label { kind: "ab", owner: b"c", ..LABEL }, &shifted, refused);
}

#[test]
fn keys_are_told_apart_and_changed() {
    check(&ring(2), LABEL, &sealed(), Err(RestError::UnknownKey));
    let both = Keyring::new(key(2), vec![key(1)]);
    check(&both, LABEL, &sealed(), Ok(b"hush"));
    assert!(!both.is_current(&sealed()) && ring(1).is_current(&sealed()));
    assert!(both.is_current(&both.seal(LABEL, b"hush", &mut fixed(9)).expect("seals")));
}

#[test]
fn keys_are_32_bytes_of_text() {
    let digits = "07".repeat(32);
    for text in [digits.clone(), format!("0x{digits}\n"), key(1).to_base64().expose().clone()] {
        assert!(StorageKey::parse(&text).is_ok(), "{text}");
    }
    for text in [String::new(), digits[2..].to_owned(), "zz".repeat(32), "AAAA".to_owned()] {
        assert_eq!(StorageKey::parse(&text).err(), Some(RestError::Key), "{text}");
    }
}

proptest! {
    #[test]
    fn any_altered_bit_is_noticed(place in 0usize..1_000, bit in 0u8..8) {
        let mut sealed = sealed();
        let place = place % sealed.len();
        sealed[place] ^= 1 << bit;
        prop_assert!(ring(1).open(LABEL, &sealed).is_err());
    }

    #[test]
    fn what_is_sealed_is_not_in_the_box_and_comes_back(secret in proptest::collection::vec(any::<u8>(), 8..100)) {
        let sealed = ring(1).seal(LABEL, &secret, &mut fixed(200)).expect("seals");
        prop_assert_eq!(sealed.len(), secret.len() + OVERHEAD_LEN);
        prop_assert!(!sealed.windows(8).any(|window| window == &secret[..8]));
        let opened = ring(1).open(LABEL, &sealed).expect("opens");
        prop_assert_eq!(opened.expose(), &secret);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        prop_assert!(ring(1).open(LABEL, &bytes).is_err());
    }
}
