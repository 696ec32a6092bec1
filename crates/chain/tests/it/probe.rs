//! What a hub offers beyond the original is found out without harm.

use alloy_primitives::{Bytes, hex};
use chain::{Client, ClientOptions};

use crate::scripted::{HUB, Node};

const SETTLE: &str = "settle(bytes32,(uint256,bytes32,bytes)[],bytes)";
const NONE: &str = "thereIsNoSuchFunction()";

/// `Error(string)` of the fallback of the original hub.
fn disabled() -> Bytes {
    let words = hex!(
        "08c379a0"
        "0000000000000000000000000000000000000000000000000000000000000020"
        "0000000000000000000000000000000000000000000000000000000000000011"
        "66616c6c6261636b2d64697361626c6564000000000000000000000000000000"
    );
    words.into()
}

/// A proxy's `FunctionNotFound(bytes4)` or the like, which names the function.
fn unknown(signature: &str) -> Bytes {
    let selector = &alloy_primitives::keccak256(signature)[..4];
    [&hex!("5416eb98")[..], selector, &[0; 28]].concat().into()
}

async fn check(answers: &[(&str, Bytes)], expected: bool) {
    let node = Node::start().await;
    for (signature, data) in answers {
        node.refuse(signature, data.clone());
    }
    let client = Client::connect_with(&node.url, HUB, ClientOptions::default()).await.unwrap();
    assert_eq!(client.has_settle().await, expected, "{answers:?}");
    // Known now, whoever is asked.
    node.fail_next(u32::MAX);
    assert_eq!(client.has_settle().await, expected, "{answers:?}");
}

#[tokio::test]
async fn a_hub_that_answers_as_to_nonsense_does_not_settle() {
    check(&[(SETTLE, disabled()), (NONE, disabled())], false).await;
    check(&[(SETTLE, Bytes::new()), (NONE, Bytes::new())], false).await;
    check(&[(SETTLE, unknown(SETTLE)), (NONE, unknown(NONE))], false).await;
    check(&[], false).await;
}

#[tokio::test]
async fn a_hub_that_answers_in_any_other_way_does() {
    check(&[(NONE, disabled())], true).await;
    check(&[(SETTLE, Bytes::new()), (NONE, disabled())], true).await;
}

#[tokio::test]
async fn a_node_that_does_not_say_is_asked_again() {
    let node = Node::start().await;
    node.refuse(NONE, disabled());
    let client = Client::connect_with(&node.url, HUB, ClientOptions::default()).await.unwrap();
    node.fail_next(u32::MAX);
    assert!(!client.has_settle().await);
    node.fail_next(0);
    assert!(client.has_settle().await);
}
