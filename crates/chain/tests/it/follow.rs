//! Every event once and in order, whatever the chain does.

use std::time::Duration;

use alloy_primitives::B256;
use chain::{Client, ClientOptions, Cursor, Follower, MarketEvent, Update};
use proptest::prelude::*;

use crate::scripted::{HUB, Node};

const PATIENCE: Duration = Duration::from_secs(120);

async fn client(node: &Node) -> Client {
    let options = ClientOptions { poll_interval: Duration::from_millis(2) };
    Client::connect_with(&node.url, HUB, options).await.unwrap()
}

/// What somebody believes who has taken every update to heart.
struct Believer {
    follower: Follower,
    at: Cursor,
    seen: Vec<(u64, Vec<B256>)>,
    rewinds: usize,
}

impl Believer {
    fn new(client: &Client, from: Cursor) -> Self {
        Self { follower: client.follow(from), at: from, seen: Vec::new(), rewinds: 0 }
    }

    async fn take(&mut self) {
        let update = tokio::time::timeout(PATIENCE, self.follower.next()).await.expect("news");
        let update = update.expect("the follower goes on");
        match &update {
            Update::Block(block) => {
                assert!(block.number > self.at.number, "{} after {:?}", block.number, self.at);
                if block.number == self.at.number + 1 && !self.at.hash.is_zero() {
                    assert_eq!(block.parent, self.at.hash, "block {}", block.number);
                }
                let ids: Vec<B256> = block
                    .events
                    .iter()
                    .map(|event| match event.event {
                        MarketEvent::Reopened { task } => task.0,
                        ref other => panic!("{other:?}"),
                    })
                    .collect();
                if !ids.is_empty() {
                    self.seen.push((block.number, ids));
                }
            }
            Update::Rewound { to } => {
                assert!(to.number < self.at.number, "{to:?} from {:?}", self.at);
                self.seen.retain(|(number, _)| *number <= to.number);
                self.rewinds += 1;
            }
        }
        self.at = update.cursor();
    }

    /// Takes updates until at the node's head, and compares.
    async fn catch_up(&mut self, node: &Node) {
        let blocks = node.blocks();
        let head = blocks.last().unwrap().hash;
        while self.at.hash != head {
            self.take().await;
        }
        let expected: Vec<(u64, Vec<B256>)> = (0u64..)
            .zip(blocks)
            .skip(1)
            .filter(|(_, block)| !block.events.is_empty())
            .map(|(number, block)| (number, block.events))
            .collect();
        assert_eq!(self.seen, expected);
    }
}

#[tokio::test]
async fn catching_up_is_in_bounded_ranges_and_leaves_nothing_out() {
    let node = Node::start().await;
    for _ in 0..25 {
        node.grow(99, 0);
        node.grow(1, 2);
    }
    let client = client(&node).await;
    Believer::new(&client, Cursor::START).catch_up(&node).await;
    assert!(node.widest() <= 1_000, "{}", node.widest());
}

#[tokio::test]
async fn a_node_that_takes_narrow_questions_only_is_asked_narrow_ones() {
    let node = Node::start().await;
    node.grow(300, 1);
    node.refuse_wider_than(7);
    let client = client(&node).await;
    Believer::new(&client, Cursor::START).catch_up(&node).await;
    assert!(node.widest() <= 7, "{}", node.widest());
}

#[tokio::test]
async fn a_replaced_branch_is_taken_back_before_the_new_one_is_told() {
    let node = Node::start().await;
    node.grow(10, 1);
    let client = client(&node).await;
    let mut believer = Believer::new(&client, Cursor::START);
    believer.catch_up(&node).await;
    node.grow(5, 1);
    believer.catch_up(&node).await;
    node.drop_newest(3);
    node.grow(4, 2);
    believer.catch_up(&node).await;
    assert_eq!(believer.rewinds, 1);
}

#[tokio::test]
async fn a_kept_cursor_goes_on_where_it_was_even_if_its_branch_is_gone() {
    let node = Node::start().await;
    node.grow(20, 1);
    let first = client(&node).await;
    let mut believer = Believer::new(&first, Cursor::START);
    believer.catch_up(&node).await;
    drop(first);

    node.grow(3, 1);
    let second = client(&node).await;
    believer.follower = second.follow(believer.at);
    believer.catch_up(&node).await;
    assert_eq!(believer.rewinds, 0);
    drop(second);

    node.drop_newest(6);
    node.grow(1, 1);
    believer.follower = client(&node).await.follow(believer.at);
    assert!(believer.follower.next().await.is_none(), "the client is gone, and so its followers");
    let third = client(&node).await;
    believer.follower = third.follow(believer.at);
    believer.catch_up(&node).await;
    assert_eq!(believer.rewinds, 1);
}

#[tokio::test]
async fn failing_requests_delay_and_lose_nothing() {
    let node = Node::start().await;
    let client = client(&node).await;
    let mut believer = Believer::new(&client, Cursor::START);
    for _ in 0..3 {
        node.grow(3, 1);
        node.fail_next(4);
        believer.catch_up(&node).await;
    }
}

#[derive(Debug, Clone)]
enum Move {
    Grow { blocks: usize, events: usize },
    Replace { blocks: usize, by: usize, events: usize },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        (1..40usize, 0..3usize).prop_map(|(blocks, events)| Move::Grow { blocks, events }),
        (1..12usize, 1..15usize, 0..3usize).prop_map(|(blocks, by, events)| Move::Replace {
            blocks,
            by,
            events
        }),
    ];
    proptest::collection::vec(one, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Two followers, one of which looks only now and then, end up believing what is true.
    #[test]
    fn whatever_the_chain_does_its_followers_come_to_believe_the_truth(moves in moves()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = Node::start().await;
            let client = client(&node).await;
            let mut eager = Believer::new(&client, Cursor::START);
            let mut lazy = Believer::new(&client, Cursor::START);
            for step in moves {
                match step {
                    Move::Grow { blocks, events } => node.grow(blocks, events),
                    Move::Replace { blocks, by, events } => {
                        node.drop_newest(blocks);
                        node.grow(by, events);
                    }
                }
                eager.catch_up(&node).await;
            }
            lazy.catch_up(&node).await;
        });
    }
}
