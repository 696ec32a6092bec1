//! Files in parts, from anybody.

use std::time::SystemTime;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response};
use blobs::{ABANDONED_AFTER, Announced, Blobs, Limits};
use expect_test::{Expect, expect};
use sha2::{Digest, Sha256};

use crate::ask;

/// An upload's id.
fn id(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

fn hex(sha256: &[u8]) -> String {
    sha256.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn part(id: &str, whole: &[u8], offset: usize, body: Body) -> Request<Body> {
    Request::patch(format!("/uploads/{id}"))
        .header("upload-offset", offset)
        .header("upload-length", whole.len())
        .header("upload-sha256", format!("0x{}", hex(&Sha256::digest(whole))))
        .body(body)
        .unwrap()
}

fn offset(response: &Response<Body>) -> Option<usize> {
    response.headers().get("upload-offset")?.to_str().unwrap().parse().ok()
}

async fn check(blobs: &Blobs, request: Request<Body>, want: &Expect) {
    let response = ask(blobs, request).await;
    let (status, offset) = (response.status().as_u16(), offset(&response));
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let code = body.split("GM-").nth(1).map(|rest| format!("GM-{}", &rest[..4]));
    let said = code.unwrap_or_else(|| body.trim().to_owned());
    want.assert_eq(&format!("{status} {offset:?} {said}"));
}

#[tokio::test]
async fn a_file_goes_on_after_a_cut_line_and_a_dead_gateway() {
    let (dir, content) = (tempfile::tempdir().unwrap(), content(300_000));
    let at = |offset: usize, to: usize| content[offset..to].to_vec();
    let first = Blobs::open(dir.path()).unwrap();
    let head = || Request::head(format!("/uploads/{}", id(1))).body(Body::empty()).unwrap();
    check(&first, head(), &expect!["404 None "]).await;
    let cut = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let broken = futures::stream::iter([Ok(Bytes::from(at(0, 100_000))), Err(cut)]);
    let broken = part(&id(1), &content, 0, Body::from_stream(broken));
    check(&first, broken, &expect!["500 None GM-4303"]).await;
    check(&first, head(), &expect!["200 Some(100000) "]).await;
    drop(first);

    let second = Blobs::open(dir.path()).unwrap();
    check(&second, head(), &expect!["200 Some(100000) "]).await;
    let wrong = part(&id(1), &content, 0, at(0, 10).into());
    check(&second, wrong, &expect!["409 Some(100000) GM-8602"]).await;
    let more = part(&id(1), &content, 100_000, at(100_000, 250_000).into());
    check(&second, more, &expect!["204 Some(250000) "]).await;
    let whole = expect![[
        r#"200 None {"Hash":"QmWU4cq12z1Fq8kiWASSMzcpsxbQpY74z1X2koCz2TUnaU","Name":"QmWU4cq12z1Fq8kiWASSMzcpsxbQpY74z1X2koCz2TUnaU","Size":"300132"}"#
    ]];
    let last = part(&id(1), &content, 250_000, at(250_000, 300_000).into());
    check(&second, last, &whole).await;
    // Whoever did not hear it asks again.
    check(&second, part(&id(1), &content, 300_000, Body::empty()), &whole).await;
    assert_eq!(std::fs::read_dir(dir.path().join("parcels")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(dir.path().join("files")).unwrap().count(), 1);
}

#[tokio::test]
async fn lies_about_a_file_gain_nothing() {
    let blobs = Blobs::temporary().unwrap();
    let (whole, other) = (content(1_000), vec![7; 1_000]);
    check(&blobs, part("x", &whole, 0, Body::empty()), &expect!["400 None GM-8607"]).await;
    let silent = Request::patch(format!("/uploads/{}", id(2))).body(Body::empty()).unwrap();
    check(&blobs, silent, &expect!["400 None GM-8607"]).await;
    check(&blobs, part(&id(2), &whole, 0, other.into()), &expect!["422 None GM-8603"]).await;
    let longer = [&whole[..], b"x"].concat();
    check(&blobs, part(&id(2), &whole, 0, longer.into()), &expect!["413 None GM-4302"]).await;
    let huge = Request::patch(format!("/uploads/{}", id(3)))
        .header("upload-offset", 0)
        .header("upload-length", u64::MAX)
        .header("upload-sha256", "00".repeat(32))
        .body(Body::empty())
        .unwrap();
    check(&blobs, huge, &expect!["413 None GM-4302"]).await;
}

#[tokio::test]
async fn what_strangers_announce_takes_no_room_and_what_they_leave_goes() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { all_bytes_max: Some(10_000), ..Limits::default() };
    let blobs = Blobs::open_with(dir.path(), limits).unwrap();
    let whole = content(6_000);
    for byte in 1..100 {
        let begun = part(&id(byte), &whole, 0, whole[..10].to_vec().into());
        check(&blobs, begun, &expect!["204 Some(10) "]).await;
    }
    // The market's own results have room all the same.
    let announced = Announced { size: 8_000, sha256: [1; 32] };
    let result = blobs.uploads().take([1; 32], announced, 0, &whole[..10]).await;
    assert!(result.is_ok(), "{result:?}");
    // And what has come counts.
    check(&blobs, part(&id(200), &whole, 0, Body::empty()), &expect!["507 None GM-8601"]).await;
    let later = SystemTime::now() + ABANDONED_AFTER * 2;
    assert_eq!(blobs.expire(later, ABANDONED_AFTER).await, 100);
    assert_eq!(std::fs::read_dir(dir.path().join("parcels")).unwrap().count(), 0);
    let again = part(&id(200), &whole, 0, whole[..10].to_vec().into());
    check(&blobs, again, &expect!["204 Some(10) "]).await;
}
