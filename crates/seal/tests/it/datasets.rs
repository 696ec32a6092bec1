//! Encrypted datasets.

use alloy_primitives::B256;
use proptest::prelude::*;
use seal::dataset::{self, DatasetError, DatasetKey, Decryptor};

use crate::{bytes, fixed, text, word};

fn key() -> DatasetKey {
    DatasetKey::from_base64(&text("datasetFile.keyBase64")).expect("a key")
}

#[test]
fn the_official_file_is_read() {
    let file = bytes("datasetFile.fileHex");
    let checksum = word("datasetFile.checksum");
    assert_eq!(dataset::checksum(&file), checksum);
    let plain = dataset::decrypt(&key(), &file, Some(checksum)).expect("decrypts");
    assert_eq!(plain.expose().as_slice(), text("datasetFile.plaintextUtf8").as_bytes());
}

#[test]
fn the_official_file_is_written_by_the_same_chance() {
    let mut nines = |into: &mut [u8]| into.fill(9);
    let plain = text("datasetFile.plaintextUtf8");
    let file = dataset::encrypt(&key(), plain.as_bytes(), &mut nines);
    assert_eq!(file, bytes("datasetFile.fileHex"));
}

fn check(file: &[u8], expected: Option<B256>, error: DatasetError) {
    assert_eq!(dataset::decrypt(&key(), file, expected).err(), Some(error));
}

#[test]
fn another_file_is_refused_by_its_checksum_first() {
    let mut file = bytes("datasetFile.fileHex").to_vec();
    file[40] ^= 1;
    let expected = word("datasetFile.checksum");
    check(
        &file,
        Some(expected),
        DatasetError::Checksum { expected, found: dataset::checksum(&file) },
    );
    let last = file.len() - 1;
    for len in [0, 5, 16, 17, last] {
        check(&file[..len], None, DatasetError::Undecryptable);
    }
}

#[test]
fn keys_are_32_bytes_in_base64() {
    for refused in [
        "",
        "AAAA",
        "not base64 at all!",
        "0x0101010101010101010101010101010101010101010101010101010101010101",
    ] {
        assert_eq!(DatasetKey::from_base64(refused).err(), Some(DatasetError::Key), "{refused}");
    }
    let key = DatasetKey::generate(&mut fixed(7)).to_base64();
    assert!(DatasetKey::from_base64(&format!(" {}\n", key.expose())).is_ok());
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same(
        plain in proptest::collection::vec(any::<u8>(), 0..200),
        cuts in proptest::collection::vec(1usize..40, 1..20),
    ) {
        let file = dataset::encrypt(&key(), &plain, &mut fixed(3));
        let (key, mut found) = (key(), Vec::new());
        let mut decryptor = Decryptor::new(&key);
        let (mut rest, mut cuts) = (file.as_slice(), cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
            decryptor.update(piece, &mut found);
            rest = after;
        }
        prop_assert_eq!(decryptor.finish(Some(dataset::checksum(&file)), &mut found), Ok(()));
        prop_assert_eq!(found, plain);
    }
}
