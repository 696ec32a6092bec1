//! What is kept, and what is not seen.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::*;

const OTHER_KEY: &str = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

fn says(key: &str) -> KeySource {
    KeySource::Command(["echo", key].map(str::to_owned).into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_value_is_in_the_files_or_in_the_log() {
    let world = World::open().await;
    let directory = tempfile::tempdir().expect("a directory");
    let me = world.requester.signer();
    let mut runner = TestRunner::deterministic();
    let values: Vec<String> = (0..24)
        .map(|_| {
            let value = "[ -~]{12,300}".new_tree(&mut runner).expect("a value").current();
            format!("hush {value}")
        })
        .collect();
    let store = store_in(directory.path()).await;
    let door = world.vault(|config| config.store = store.clone()).await;
    for (number, value) in values.iter().enumerate() {
        let ids = [
            named(me.address(), &format!("n{number}")),
            requesters(me.address(), &format!("r{number}")),
        ];
        for id in ids {
            assert_eq!(door.put(Method::POST, &id, value, me).await.0, StatusCode::NO_CONTENT);
            // Refusals are logged too.
            assert_eq!(door.put(Method::POST, &id, value, me).await.0, StatusCode::CONFLICT);
        }
        let id = named(me.address(), &format!("n{number}"));
        assert_eq!(door.put(Method::PUT, &id, value, me).await.0, StatusCode::NO_CONTENT);
        assert_eq!(
            door.put(Method::PUT, &id, value, &world.worker).await.0,
            StatusCode::UNAUTHORIZED
        );
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory.path()).expect("lists") {
        files.extend(std::fs::read(entry.expect("an entry").path()).expect("reads"));
    }
    let log = logged();
    assert!(contains(&log, "a secret is set") && contains(&log, "a secret is refused"));
    for value in &values {
        assert!(!contains(&files, value) && !contains(&log, value), "{value}");
        // Nor a part of it that would be enough to recognise it.
        let part = &value[5..17];
        assert!(!contains(&files, part) && !contains(&log, part), "{part}");
    }
    assert!(!contains(&files, KEY) && !contains(&log, KEY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_survive_a_restart_and_a_change_of_keys_but_not_a_wrong_key() {
    let world = World::open().await;
    let directory = tempfile::tempdir().expect("a directory");
    let store = store_in(directory.path()).await;
    let me = world.requester.signer();
    let id = named(me.address(), "name");
    let with = async |key: &str, older: &[&str]| {
        let (key, older) = (says(key), older.iter().map(|key| says(key)).collect());
        world
            .try_vault(|config| {
                config.store = store.clone();
                config.key = key;
                config.older_keys = older;
            })
            .await
    };
    let door = with(KEY, &[]).await.expect("starts");
    assert_eq!(door.put(Method::POST, &id, "a", me).await.0, StatusCode::NO_CONTENT);
    let before = store.sealed("named", me.address().as_slice(), "name").await.expect("reads");

    let refused = with(OTHER_KEY, &[]).await.err().expect("is refused");
    assert_eq!(refused.failure().code, "GM-7002");
    assert_eq!(
        store.sealed("named", me.address().as_slice(), "name").await.expect("reads"),
        before
    );

    let again = with(KEY, &[]).await.expect("starts");
    assert_eq!(again.has(&id).await, StatusCode::NO_CONTENT);
    // The old key opens what it has sealed; then all is sealed anew, and the old key is needed no more.
    with(OTHER_KEY, &[KEY]).await.expect("starts");
    assert_ne!(
        store.sealed("named", me.address().as_slice(), "name").await.expect("reads"),
        before
    );
    with(OTHER_KEY, &[]).await.expect("starts");
    assert_eq!(with(KEY, &[]).await.err().expect("is refused").failure().code, "GM-7002");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulation_stays_on_this_machine_unless_it_is_meant() {
    let world = World::open().await;
    let public: Url = "http://192.0.2.1:80".parse().expect("a url");
    let start = async |tee, simulate_in_public| {
        let public = public.clone();
        world
            .try_vault(|config| {
                config.public_url = public;
                config.tee = tee;
                config.simulate_in_public = simulate_in_public;
            })
            .await
    };
    let refused = start(Tee::SimulatedTdx, false).await.err().expect("is refused");
    assert_eq!(refused.failure().code, "GM-7006");
    assert!(start(Tee::SimulatedTdx, true).await.expect("starts").handle.is_simulated());
    assert!(!start(Tee::Off, false).await.expect("starts").handle.is_simulated());
}

/// The chain of the world, whose node calls itself something else.
async fn disguised(world: &World) -> Client {
    let (http, node) = (reqwest_client(), serve(world.chain.router()).await);
    let forward = async move |body: String| {
        let asked: serde_json::Value = serde_json::from_str(&body).expect("is JSON");
        if asked["method"] == "web3_clientVersion" {
            let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": "Geth/v1.17.0"});
            return answer.to_string();
        }
        let request = http.post(node).header("content-type", "application/json").body(body);
        request.send().await.expect("answers").text().await.expect("a text")
    };
    let router = axum::Router::new().route("/", axum::routing::post(forward));
    Client::connect(&serve(router).await, world.client.hub()).await.expect("connects")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulation_stays_on_chains_for_development_unless_it_is_meant() {
    let world = World::open().await;
    let client = disguised(&world).await;
    let start = async |simulate_in_public| {
        let client = client.clone();
        world
            .try_vault(|config| {
                config.client = client;
                config.simulate_in_public = simulate_in_public;
            })
            .await
    };
    let refused = start(false).await.err().expect("is refused");
    assert_eq!(refused.failure().code, "GM-7006");
    assert!(start(true).await.expect("starts").handle.is_simulated());
}
