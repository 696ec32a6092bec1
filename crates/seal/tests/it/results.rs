//! Results for their beneficiary alone. The reading side is the official client's; here it stands in a few lines.

use std::io::{Cursor, Read};

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, KeyIvInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs8::{DecodePrivateKey, EncodePublicKey};
use rsa::{Pkcs1v15Encrypt, RsaPrivateKey, RsaPublicKey};
use seal::result::{EncryptionKey, KEY_FILE, RESULT_FILE, ResultError, encrypt_bytes};
use zip::ZipArchive;

use crate::{fixed, text};

fn private_key() -> RsaPrivateKey {
    let pem = text("rsaPrivatePem");
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(body).expect("base64");
    RsaPrivateKey::from_pkcs8_der(&der).expect("a key")
}

fn public_pem() -> String {
    let der = RsaPublicKey::from(private_key()).to_public_key_der().expect("encodes");
    let body = STANDARD.encode(der.as_bytes());
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

fn file(zip: &[u8], name: &str) -> Vec<u8> {
    let mut archive = ZipArchive::new(Cursor::new(zip)).expect("a zip");
    assert_eq!(archive.len(), 2);
    let mut content = Vec::new();
    archive.by_name(name).expect("is there").read_to_end(&mut content).expect("reads");
    content
}

/// What the official client does.
fn decrypt(zip: &[u8]) -> Vec<u8> {
    let key = private_key().decrypt(Pkcs1v15Encrypt, &file(zip, KEY_FILE)).expect("decrypts");
    let key: [u8; 32] = key.try_into().expect("32 bytes");
    let mut content = file(zip, RESULT_FILE);
    let iv: [u8; 16] = content[..16].try_into().expect("16 bytes");
    let cipher = cbc::Decryptor::<aes::Aes256>::new(&key.into(), &iv.into());
    cipher.decrypt_padded_mut::<Pkcs7>(&mut content[16..]).expect("decrypts").to_vec()
}

#[test]
fn what_the_official_client_encrypts_has_the_layout_read_here() {
    let official = STANDARD.decode(text("resultZipBase64")).expect("base64");
    let inner = decrypt(&official);
    assert!(ZipArchive::new(Cursor::new(inner)).is_ok_and(|archive| !archive.is_empty()));
}

#[test]
fn results_of_any_length_are_read_back() {
    let key = EncryptionKey::from_base64_pem(&STANDARD.encode(public_pem())).expect("a key");
    for len in [0, 1, 15, 16, 17, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 5, 200_000] {
        let result: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).expect("small")).collect();
        let zip = encrypt_bytes(&key, &result, &mut fixed(1)).expect("encrypts");
        assert_eq!(file(&zip, KEY_FILE).len(), 256);
        assert_eq!(decrypt(&zip), result, "{len}");
    }
}

#[test]
fn a_key_that_is_none_is_refused_without_being_quoted() {
    let rubbish = STANDARD.encode("-----BEGIN PUBLIC KEY-----\nhush\n-----END PUBLIC KEY-----");
    for text in ["", "hush", &STANDARD.encode("hush"), &rubbish] {
        let error = EncryptionKey::from_base64_pem(text).err().expect("is refused");
        assert!(matches!(error, ResultError::Key), "{text}");
        assert!(!format!("{error} {error:?}").contains("hush"));
    }
}
