//! What a gateway answers to those who mean harm, and for those who do.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use blobs::Blobs;
use expect_test::{Expect, expect};

use crate::{HELLO, ask};

async fn stored(content: &'static [u8]) -> (Blobs, String) {
    let blobs = Blobs::temporary().unwrap();
    let path = format!("/ipfs/{}", blobs.add(content).await.unwrap().cid);
    (blobs, path)
}

async fn check(blobs: &Blobs, path: &str, headers: &[(&str, &str)], want: &Expect) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = ask(blobs, request.body(Body::empty()).unwrap()).await;
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    want.assert_eq(&format!("{status} {}", String::from_utf8_lossy(&body).trim()));
}

#[tokio::test]
async fn many_ranges_cost_no_more_than_the_whole() {
    let (blobs, path) = stored(b"hello world\n").await;
    let whole = expect!["200 hello world"];
    let overlapping = format!("bytes={}", ["0-"; 1_300].join(","));
    check(&blobs, &path, &[("range", &overlapping)], &whole).await;
    check(&blobs, &path, &[("range", "bytes=0-1"), ("range", "bytes=3-4")], &whole).await;
    check(&blobs, &path, &[("range", "bytes=0-1,-1")], &whole).await;
    let huge = format!("bytes={}-", "9".repeat(10_000));
    check(&blobs, &path, &[("range", &huge)], &whole).await;
    check(&blobs, &path, &[("range", "bytes=18446744073709551615-")], &expect!["416 "]).await;
    check(&blobs, &path, &[("range", "bytes=3-18446744073709551615")], &expect!["206 lo world"])
        .await;
}

#[tokio::test]
async fn a_range_of_something_else_is_not_given() {
    let (blobs, path) = stored(b"hello world\n").await;
    let same = format!("\"{HELLO}\"");
    let range = ("range", "bytes=6-10");
    check(&blobs, &path, &[range, ("if-range", &same)], &expect!["206 world"]).await;
    for other in ["\"other\"", &format!("W/{same}"), "*", "Wed, 21 Oct 2015 07:28:00 GMT"] {
        check(&blobs, &path, &[range, ("if-range", other)], &expect!["200 hello world"]).await;
    }
}

#[tokio::test]
async fn a_stored_page_is_data_and_never_a_page_of_this_origin() {
    let (blobs, path) = stored(b"<html><script>alert(1)</script></html>").await;
    for range in ["", "bytes=0-20"] {
        let request = Request::get(&path).header("range", range).body(Body::empty()).unwrap();
        let headers = ask(&blobs, request).await.headers().clone();
        expect![[r#"
            content-type: application/octet-stream
            x-content-type-options: nosniff
            content-security-policy: sandbox; default-src 'none'
        "#]]
        .assert_eq(&shown(&headers));
    }
    // What a refusal says of a stranger's words is no page either.
    let request = Request::get("/ipfs/%3Cscript%3E").body(Body::empty()).unwrap();
    let response = ask(&blobs, request).await;
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["content-type"], "application/json");
}

fn shown(headers: &HeaderMap) -> String {
    let names = ["content-type", "x-content-type-options", "content-security-policy"];
    names.map(|name| format!("{name}: {}\n", headers[name].to_str().unwrap())).concat()
}
