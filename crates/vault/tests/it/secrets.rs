//! Secrets: who may set them, and every answer that the official clients tell apart.

use alloy_primitives::Address;
use chain::calls;
use reqwest::{Method, StatusCode};
use seal::Secret;
use seal::challenge;
use wire::sms::Write;

use super::*;

const MAGIC: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];

fn text(error: &str) -> String {
    format!(r#"{{"error":["{error}"]}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_is_set_by_its_owner_once() {
    let world = World::open().await;
    let door = world.vault(|_| ()).await;
    let (owner, requester) = (world.owner.signer(), world.requester.signer());
    let kinds = [
        (SecretId::Dataset(world.dataset), owner, requester),
        (SecretId::App(world.app), owner, requester),
        (named(requester.address(), "some-name"), requester, owner),
        (requesters(requester.address(), "some-key"), requester, owner),
    ];
    for (id, right, wrong) in kinds {
        assert_eq!(door.has(&id).await, StatusCode::NOT_FOUND, "{id:?}");
        let refused = (StatusCode::UNAUTHORIZED, text("Invalid authorization"));
        assert_eq!(door.put(Method::POST, &id, "a", wrong).await, refused, "{id:?}");
        // A signature for another value, and none.
        let for_b = authorize(challenge::to_set(&id, b"b"), right);
        for authorization in [for_b.as_str(), "", "0x", "rubbish", &for_b[2..]] {
            let answer = door.ask(Method::POST, &path_of(&id), authorization, "a").await;
            assert_eq!(answer, refused, "{id:?} {authorization}");
        }
        assert_eq!(door.has(&id).await, StatusCode::NOT_FOUND, "nothing was kept");
        let done = (StatusCode::NO_CONTENT, String::new());
        assert_eq!(door.put(Method::POST, &id, "a", right).await, done, "{id:?}");
        assert_eq!(door.has(&id).await, StatusCode::NO_CONTENT);
        // The signature again, and another value.
        let exists = (StatusCode::CONFLICT, text("Secret already exists"));
        for value in ["a", "b"] {
            assert_eq!(door.put(Method::POST, &id, value, right).await, exists, "{id:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_found_in_the_official_sequence() {
    let world = World::open().await;
    let door = world.vault(|_| ()).await;
    let (me, other) = (world.requester.signer(), world.owner.signer());
    let (large, limit) = ("ä".repeat(2049), "ä".repeat(2048));
    let size = text("Secret size should not exceed 4 Kb");
    let key = text("Secret key should contain at most 64 characters from [0-9A-Za-z-_]");

    let id = named(me.address(), "name");
    assert_eq!(door.put(Method::POST, &id, &large, other).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(
        door.put(Method::POST, &id, &large, me).await,
        (StatusCode::PAYLOAD_TOO_LARGE, size.clone())
    );
    assert_eq!(door.put(Method::POST, &id, &limit, me).await.0, StatusCode::NO_CONTENT);
    assert_eq!(door.put(Method::POST, &id, &large, me).await.0, StatusCode::PAYLOAD_TOO_LARGE);

    let id = requesters(me.address(), "bad.key");
    assert_eq!(door.has(&id).await, StatusCode::BAD_REQUEST);
    assert_eq!(door.put(Method::POST, &id, "a", other).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(door.put(Method::POST, &id, &large, me).await, (StatusCode::BAD_REQUEST, key));
    let id = requesters(me.address(), "good-key");
    assert_eq!(door.put(Method::POST, &id, &large, me).await, (StatusCode::BAD_REQUEST, size));

    // Names of an account's secrets are one in any letter case, keys of a requester's are not.
    let upper = named(me.address(), "NAME");
    assert_eq!(door.has(&upper).await, StatusCode::NO_CONTENT);
    assert_eq!(door.put(Method::POST, &upper, "a", me).await.0, StatusCode::CONFLICT);
    let mixed = |key| requesters(me.address(), key);
    assert_eq!(door.put(Method::POST, &mixed("Key"), "a", me).await.0, StatusCode::NO_CONTENT);
    assert_eq!(door.has(&mixed("key")).await, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_secrets_are_replaced_and_only_they() {
    let world = World::open().await;
    let door = world.vault(|_| ()).await;
    let me = world.requester.signer();
    let id = named(me.address(), challenge::reserved::RESULT_ENCRYPTION_KEY);
    let absent = (StatusCode::NOT_FOUND, text("Secret not found"));
    assert_eq!(door.put(Method::PUT, &id, "a", me).await, absent);
    let sms = door.sms();
    let value = |text: &str| Secret::new(text.to_owned());
    sms.put(&id, &value("a"), Write::Create, me).await.expect("is set");
    for text in ["b", "b"] {
        sms.put(&id, &value(text), Write::Replace, me).await.expect("is replaced");
    }
    assert!(sms.has(&id).await.expect("answers"));
    let error = sms.put(&id, &value("a"), Write::Create, me).await.expect_err("exists");
    assert!(error.to_string().contains("409"), "{error}");
    let stranger = world.owner.signer();
    assert_eq!(door.put(Method::PUT, &id, "c", stranger).await.0, StatusCode::UNAUTHORIZED);
    for id in [SecretId::App(world.app), requesters(me.address(), "a")] {
        assert_eq!(door.put(Method::PUT, &id, "a", me).await.0, StatusCode::METHOD_NOT_ALLOWED);
        let read = door.ask(Method::GET, &path_of(&id), "", "").await;
        assert_eq!(read.0, StatusCode::METHOD_NOT_ALLOWED, "nobody reads a secret");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contracts_speak_for_themselves() {
    let world = World::open().await;
    let door = world.vault(|_| ()).await;
    let anybody = world.worker.clone();
    for (word, expected) in [(MAGIC, StatusCode::NO_CONTENT), ([0; 4], StatusCode::UNAUTHORIZED)] {
        let contract = world.contract_that_says(word).await;
        let dataset = new_dataset(contract, &format!("of {contract}"));
        let address = dataset.address(&world.client).await.expect("an address");
        world.mine(calls::create_dataset(&world.client.contracts(), dataset)).await;
        for id in [SecretId::Dataset(address), named(contract, "name"), requesters(contract, "k")] {
            assert_eq!(door.put(Method::POST, &id, "a", &anybody).await.0, expected, "{id:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_posts_at_once_one_is_taken() {
    let world = World::open().await;
    let directory = tempfile::tempdir().expect("a directory");
    let store = store_in(directory.path()).await;
    let door = Arc::new(world.vault(|config| config.store = store).await);
    let mut posts = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (door, me) = (Arc::clone(&door), world.requester.signer().clone());
        posts.spawn(async move {
            let id = named(me.address(), "name");
            door.put(Method::POST, &id, &format!("value {number}"), &me).await.0
        });
    }
    let mut answers = posts.join_all().await;
    answers.sort();
    assert_eq!(answers[0], StatusCode::NO_CONTENT);
    assert!(answers[1..].iter().all(|status| *status == StatusCode::CONFLICT), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_requests_are_refused_each_with_a_4xx() {
    let world = World::open().await;
    let door = world.vault(|_| ()).await;
    let (zero, me) = (Address::ZERO, world.requester.signer());
    let fake = format!("0x{}", "ff".repeat(65));
    let long = format!("0x{}", "ff".repeat(9_000));
    let cases = [
        (Method::POST, "/secrets/web3".to_owned(), StatusCode::BAD_REQUEST),
        (Method::POST, "/secrets/web3?secretAddress=0x12".to_owned(), StatusCode::BAD_REQUEST),
        (Method::HEAD, "/secrets/web3?secretAddress=rubbish".to_owned(), StatusCode::BAD_REQUEST),
        (Method::POST, format!("/secrets/web3?secretAddress={zero}"), StatusCode::UNAUTHORIZED),
        (Method::POST, path_of(&SecretId::Dataset(me.address())), StatusCode::UNAUTHORIZED),
        (Method::POST, path_of(&SecretId::App(world.client.hub())), StatusCode::UNAUTHORIZED),
        (Method::POST, format!("/secrets/web2?ownerAddress={zero}"), StatusCode::BAD_REQUEST),
        (Method::POST, path_of(&named(zero, "a")), StatusCode::UNAUTHORIZED),
        (Method::PUT, path_of(&named(zero, &"a".repeat(2_000))), StatusCode::BAD_REQUEST),
        (Method::POST, path_of(&requesters(zero, "a")), StatusCode::UNAUTHORIZED),
        (Method::POST, "/requesters/nobody/secrets/a".to_owned(), StatusCode::BAD_REQUEST),
        (Method::POST, "/apps/none/secrets".to_owned(), StatusCode::BAD_REQUEST),
    ];
    for (method, path, expected) in cases {
        for authorization in [&fake, &long] {
            let answer = door.ask(method.clone(), &path, authorization, "a").await;
            assert_eq!(answer.0, expected, "{method} {path}: {}", answer.1);
        }
    }
    let path = path_of(&named(me.address(), "a"));
    let bytes = door.ask(Method::POST, &path, &fake, vec![0xff, 0xfe]).await;
    assert_eq!(bytes.0, StatusCode::BAD_REQUEST, "not text");
    let nothing = door.ask(Method::POST, &path, &fake, "").await;
    assert_eq!(nothing.0, StatusCode::BAD_REQUEST, "no body");
    let much = door.ask(Method::POST, &path, &fake, vec![b'a'; 900_000]).await;
    assert_eq!(much.0, StatusCode::UNAUTHORIZED, "the signature comes first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_may_ask_and_operators_may_count() {
    let world = World::open().await;
    let door = world.vault(|_| ()).await;
    let me = world.requester.signer();
    let mut url = door.origin.clone();
    url.set_path("/secrets/web2");
    let preflight = door
        .http
        .request(Method::OPTIONS, url)
        .header("origin", "https://app.example")
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "authorization,content-type")
        .send()
        .await
        .expect("answers");
    let header = |name: &str| {
        let value = preflight.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_lowercase()
    };
    assert!(preflight.status().is_success());
    assert_eq!(header("access-control-allow-origin"), "https://app.example");
    assert!(header("access-control-allow-headers").contains("authorization"));
    assert!(header("access-control-allow-methods").contains("put"));

    assert_eq!(
        door.put(Method::POST, &named(me.address(), "a"), "a", me).await.0,
        StatusCode::NO_CONTENT
    );
    let (_, metrics) = door.ask(Method::GET, "/metrics", "", "").await;
    let metrics: serde_json::Value = serde_json::from_str(&metrics).expect("is JSON");
    let web2 = &metrics["secretsMetrics"]["web2"];
    assert_eq!((&web2["secretsType"], &web2["initialCount"]), (&"web2".into(), &0.into()));
    assert_eq!((&web2["storedCount"], &web2["addedSinceStartCount"]), (&1.into(), &1.into()));
    let (status, version) = door.ask(Method::GET, "/version", "", "").await;
    assert_eq!((status, version.is_empty()), (StatusCode::OK, false));
}
