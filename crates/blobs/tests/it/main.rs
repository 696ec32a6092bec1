//! The store and its HTTP face together.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod abuse;
mod keeping;
mod parts;
mod uploads;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use blobs::{AddOptions, Blobs};
use expect_test::{Expect, expect};
use tower::ServiceExt;

const HELLO: &str = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o";

async fn ask(blobs: &Blobs, request: Request<Body>) -> Response<Body> {
    blobs.router().oneshot(request).await.unwrap()
}

/// Asks for a path with one extra header; shows status, the headers that matter and the body.
async fn check(blobs: &Blobs, line: &str, header: (&str, &str), want: &Expect) {
    let (method, path) = line.split_once(' ').unwrap();
    let request = Request::builder().method(method).uri(path).header(header.0, header.1);
    let response = ask(blobs, request.body(Body::empty()).unwrap()).await;
    let mut shown = vec![response.status().as_u16().to_string()];
    for name in ["content-length", "content-range", "etag"] {
        shown.extend(
            response
                .headers()
                .get(name)
                .map(|value| format!("{name}: {}", value.to_str().unwrap())),
        );
    }
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    shown.push(String::from_utf8(body.to_vec()).unwrap());
    want.assert_eq(&shown.join("\n"));
}

const NONE: (&str, &str) = ("accept", "*/*");

#[tokio::test]
async fn the_gateway() {
    let blobs = Blobs::temporary().unwrap();
    let added = blobs.add(&b"hello world\n"[..]).await.unwrap();
    assert_eq!((added.cid.to_string().as_str(), added.size), (HELLO, 12));
    let path = format!("/ipfs/{HELLO}");
    check(
        &blobs,
        &format!("GET {path}"),
        NONE,
        &expect![[r#"
        200
        content-length: 12
        etag: "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
        hello world
    "#]],
    )
    .await;
    check(
        &blobs,
        &format!("HEAD {path}"),
        NONE,
        &expect![[r#"
        200
        content-length: 12
        etag: "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
    "#]],
    )
    .await;
    check(
        &blobs,
        &format!("GET {path}"),
        ("range", "bytes=6-10"),
        &expect![[r#"
        206
        content-length: 5
        content-range: bytes 6-10/12
        etag: "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
        world"#]],
    )
    .await;
    check(
        &blobs,
        &format!("GET {path}"),
        ("range", "bytes=12-"),
        &expect![[r#"
        416
        content-length: 0
        content-range: bytes */12
    "#]],
    )
    .await;
    let v1 = added.cid.into_v1().unwrap();
    check(
        &blobs,
        &format!("GET /ipfs/{v1}"),
        ("range", "bytes=0-4"),
        &expect![[r#"
        206
        content-length: 5
        content-range: bytes 0-4/12
        etag: "bafybeicg2rebjoofv4kbyovkw7af3rpiitvnl6i7ckcywaq6xjcxnc2mby"
        hello"#]],
    )
    .await;
    check(
        &blobs,
        &format!("GET {path}"),
        ("if-none-match", &format!("\"{HELLO}\"")),
        &expect![[r#"
        304
        content-length: 0
        etag: "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
    "#]],
    )
    .await;
    check(&blobs, "GET /ipfs/QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH", NONE, &expect![[r#"
        404
        content-length: 168
        {"error":{"code":"GM-4304","message":"no blob QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH here","remedy":"add the file to this gateway, or ask the one that has it"}}"#]]).await;
    let response = ask(&blobs, Request::get("/ipfs/nonsense").body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

/// Adds files the way kubo's clients do.
async fn add(blobs: &Blobs, query: &str, files: &[(&str, &str)]) -> (StatusCode, String) {
    let mut body = String::new();
    for (name, content) in files {
        body += &format!(
            "--line\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{content}\r\n"
        );
    }
    body += "--line--\r\n";
    let request = Request::post(format!("/api/v0/add{query}"))
        .header("content-type", "multipart/form-data; boundary=line")
        .body(Body::from(body))
        .unwrap();
    let response = ask(blobs, request).await;
    let status = response.status();
    let text = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(text.to_vec()).unwrap())
}

#[tokio::test]
async fn add_over_http_answers_as_kubo_does() {
    let blobs = Blobs::temporary().unwrap();
    let files = [("a%20b.txt", "hello world\n"), ("", "hello world")];
    let (status, lines) = add(&blobs, "?pin=true&progress=false", &files).await;
    assert_eq!(status, StatusCode::OK);
    expect![[r#"
        {"Hash":"QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o","Name":"a b.txt","Size":"20"}
        {"Hash":"Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD","Name":"Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD","Size":"19"}
    "#]]
    .assert_eq(&lines);
    let (_, lines) = add(&blobs, "?cid-version=1&only-hash=true", &[("f", "hello world")]).await;
    assert!(
        lines.contains("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
        "{lines}"
    );
    let cid =
        Blobs::parse_cid("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e").unwrap();
    assert!(blobs.open_blob(&cid).await.unwrap().is_none(), "only hashed, not kept");
    let (status, answer) = add(&blobs, "", &[]).await;
    assert_eq!((status, answer.contains("required")), (StatusCode::BAD_REQUEST, true), "{answer}");
}

#[tokio::test]
async fn a_store_survives_its_process_and_keeps_one_copy() {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..700_000_u32).map(|i| (i % 253) as u8).collect();
    let first = Blobs::open(dir.path()).unwrap().add(&content[..]).await.unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    assert_eq!(blobs.add(&content[..]).await.unwrap(), first);
    assert_eq!(std::fs::read_dir(dir.path().join("files")).unwrap().count(), 1);
    assert_eq!(
        std::fs::read_dir(dir.path().join("incoming")).unwrap().count(),
        0,
        "nothing half-written stays"
    );
    let mut range =
        blobs.open_blob(&first.cid).await.unwrap().unwrap().into_range(300_000, 5).await.unwrap();
    let mut bytes = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut range, &mut bytes).await.unwrap();
    assert_eq!(bytes, content[300_000..300_005]);
    let v1 = AddOptions { v1: true, raw_leaves: true, only_hash: false };
    assert_ne!(blobs.add_with(&content[..], v1).await.unwrap().cid, first.cid);
}
