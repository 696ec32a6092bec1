//! Nonces, fees and receipts.

use std::time::Duration;

use alloy_consensus::{Transaction, TxEnvelope};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, U256, hex};
use alloy_signer_local::PrivateKeySigner;
use chain::{
    Cursor, ErrorKind, Follower, Pending, Reason, Receipt, TxRequest, Update, Wallet, WalletOptions,
};
use devchain::Mining;
use futures::future::join_all;
use serde_json::json;

use crate::embedded::Embedded;
use crate::scripted::Node;

const PATIENCE: Duration = Duration::from_secs(120);
const NOBODY: Address = Address::repeat_byte(0xbb);

fn payment() -> TxRequest {
    TxRequest::call(NOBODY, Vec::new()).gas(21_000).value(U256::from(1))
}

async fn mined(pending: &Pending) -> chain::Result<Receipt> {
    tokio::time::timeout(PATIENCE, pending.mined()).await.expect("mined in time")
}

#[tokio::test]
async fn hundreds_of_transactions_of_one_wallet_are_in_flight_at_once() {
    const COUNT: u64 = 500;
    let node = Embedded::start(Mining::Instant).await;
    let wallet =
        node.wallet(0, WalletOptions { max_in_flight: 64, ..WalletOptions::default() }).await;
    let sent = join_all((0..COUNT).map(|_| wallet.send(payment()))).await;
    for pending in sent {
        assert!(mined(&pending.unwrap()).await.unwrap().succeeded);
    }
    assert_eq!(node.nonce(wallet.address()).await, COUNT);
    assert_eq!(wallet.client().ether(NOBODY).await.unwrap(), U256::from(COUNT));
}

#[tokio::test]
async fn wallets_of_one_address_share_its_nonces() {
    let node = Embedded::start(Mining::Instant).await;
    let one = node.wallet(0, WalletOptions::default()).await;
    let other = Wallet::new(one.client(), node.signer(0)).await.unwrap();
    let sent =
        join_all((0..20).map(|turn| if turn % 2 == 0 { &one } else { &other }.send(payment())));
    for pending in sent.await {
        mined(&pending.unwrap()).await.unwrap();
    }
    assert_eq!(node.nonce(one.address()).await, 20);
}

#[tokio::test]
async fn what_a_process_that_died_had_on_its_way_is_mined_and_its_successor_leaves_no_gap() {
    const EACH: u64 = 40;
    let node = Embedded::start(Mining::Manual).await;
    let address = {
        let died = node.wallet(0, WalletOptions::default()).await;
        let sent = join_all((0..EACH).map(|_| died.send(payment()))).await;
        assert!(sent.iter().all(Result::is_ok));
        let arrived = async {
            let waiting = async || node.ask("txpool_status", json!([])).await["pending"].clone();
            while waiting().await != json!(format!("{EACH:#x}")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, arrived).await.expect("all of them on their way");
        died.address()
    };
    let successor = node.wallet(0, WalletOptions::default()).await;
    assert_eq!(successor.next_nonce(), EACH);
    let sent = join_all((0..EACH).map(|_| successor.send(payment()))).await;
    node.ask("evm_setAutomine", json!([true])).await;
    for pending in sent {
        assert!(mined(&pending.unwrap()).await.unwrap().succeeded);
    }
    assert_eq!(node.nonce(address).await, 2 * EACH);
}

#[tokio::test]
async fn a_nonce_used_behind_the_wallets_back_is_not_used_again() {
    let node = Embedded::start(Mining::Instant).await;
    let wallet = node.wallet(0, WalletOptions::default()).await;
    let stranger = node.wallet(0, WalletOptions::default()).await;
    for _ in 0..3 {
        // Of another amount: with the same nonce and amount it would be the very same transaction.
        let other = payment().value(U256::from(7));
        mined(&stranger.send(other).await.unwrap()).await.unwrap();
    }
    mined(&wallet.send(payment()).await.unwrap()).await.unwrap();
    assert_eq!(node.nonce(wallet.address()).await, 4);
}

#[tokio::test]
async fn an_overdue_transaction_is_replaced_by_one_that_pays_more() {
    let node = Embedded::start(Mining::Manual).await;
    let resubmit_after = Duration::from_millis(100);
    let wallet = node.wallet(0, WalletOptions { resubmit_after, ..WalletOptions::default() }).await;
    let pending = wallet.send(payment()).await.unwrap();
    let first = pending.hash();
    let known = async |hash| {
        let found = node.ask("eth_getTransactionByHash", json!([hash])).await;
        !found.is_null()
    };
    let replaced = async {
        while !known(first).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while known(first).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, replaced).await.expect("a replacement");
    node.ask("evm_mine", json!([])).await;
    let receipt = mined(&pending).await.unwrap();
    assert_ne!(receipt.hash, first);
    assert_eq!(node.nonce(wallet.address()).await, 1);
}

#[tokio::test]
async fn an_account_without_ether_is_told_so_and_others_go_on() {
    let node = Embedded::start(Mining::Instant).await;
    let rich = node.wallet(0, WalletOptions::default()).await;
    let signer = PrivateKeySigner::random();
    let poor = Wallet::new(rich.client(), signer).await.unwrap();
    let refused = mined(&poor.send(payment()).await.unwrap()).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::NoGas { .. }), "{refused}");
    let gift = TxRequest::call(poor.address(), Vec::new()).gas(21_000);
    let gift = gift.value(U256::from(10).pow(U256::from(18)));
    mined(&rich.send(gift).await.unwrap()).await.unwrap();
    mined(&poor.send(payment()).await.unwrap()).await.unwrap();
}

/// Creation code that installs `runtime`.
fn installer(runtime: &[u8]) -> Vec<u8> {
    let length = u8::try_from(runtime.len()).unwrap();
    // PUSH1 length, DUP1, PUSH1 10, PUSH0, CODECOPY, PUSH0, RETURN; padded to ten bytes by a JUMPDEST.
    let mut code = vec![0x60, length, 0x80, 0x60, 10, 0x5f, 0x39, 0x5f, 0xf3, 0x5b];
    code.extend_from_slice(runtime);
    code
}

async fn refusal(runtime: &[u8], gas: Option<u64>) -> Reason {
    let node = Embedded::start(Mining::Instant).await;
    let wallet = node.wallet(0, WalletOptions::default()).await;
    let created = wallet.execute(TxRequest::create(installer(runtime)).gas(1_000_000)).await;
    let contract = created.unwrap().created.unwrap();
    let request = TxRequest { gas_limit: gas, ..TxRequest::call(contract, Vec::new()) };
    let error = match wallet.send(request).await {
        Ok(pending) => mined(&pending).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(error.is_revert(), "{error}");
    assert_eq!(error.transaction().is_some(), gas.is_some());
    error.revert().unwrap().reason.clone()
}

#[tokio::test]
async fn refusals_are_told_in_the_contracts_words() {
    // PUSH0 PUSH0 REVERT
    let silent = hex!("5f5ffd");
    assert_eq!(refusal(&silent, Some(100_000)).await, Reason::Silent);
    assert_eq!(refusal(&silent, None).await, Reason::Silent);
    // MSTORE "Panic(uint256)" selector and 0x11, REVERT(0, 36)
    let panic = hex!("634e487b7160e01b5f5260116004526024 5ffd");
    assert_eq!(refusal(&panic, Some(100_000)).await, Reason::Panic(0x11));
    assert_eq!(refusal(&panic, None).await, Reason::Panic(0x11));
    // JUMPDEST PUSH0 JUMP
    assert_eq!(refusal(&hex!("5b5f56"), Some(100_000)).await, Reason::OutOfGas);
}

#[tokio::test]
async fn a_node_that_restarts_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let node = Embedded::kept_in(directory.path(), None).await;
    let options =
        WalletOptions { resubmit_after: Duration::from_millis(200), ..WalletOptions::default() };
    let wallet = node.wallet(0, options).await;
    let mut news = wallet.client().follow(Cursor::START);
    mined(&wallet.send(payment()).await.unwrap()).await.unwrap();
    let address = node.stop().await;

    // Sent into the void: signed, kept, and delivered when somebody is there.
    let meanwhile = wallet.send(payment()).await.unwrap();
    let node = Embedded::kept_in(directory.path(), Some(address)).await;
    let receipt = mined(&meanwhile).await.unwrap();
    assert_eq!(node.nonce(wallet.address()).await, 2);
    let told = async { while news.next().await.unwrap().cursor().number < receipt.block_number {} };
    tokio::time::timeout(PATIENCE, told).await.expect("news of the block");
}

/// Reorganisations of every depth up to twenty, with transactions of one wallet in every block.
#[tokio::test]
async fn what_a_reorganisation_undoes_is_sent_again() {
    let node = Embedded::start(Mining::Instant).await;
    let wallet = node.wallet(0, WalletOptions::default()).await;
    let mut news = wallet.client().follow(Cursor::START);
    let mut told = Cursor::START;
    let mut sent = 0;
    for depth in [1_u64, 2, 3, 5, 8, 13, 20] {
        for _ in 0..depth {
            mined(&wallet.send(payment()).await.unwrap()).await.unwrap();
            sent += 1;
        }
        told = led_to_the_head(&wallet, &mut news, told, 0).await.0;
        node.ask("anvil_reorg", json!([depth, []])).await;
        // All of them come back, without anybody asking.
        let restored = async {
            while wallet.client().ether(NOBODY).await.unwrap() < U256::from(sent) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, restored).await.expect("sent again");
        assert_eq!(node.nonce(wallet.address()).await, sent, "each once");
        // Whoever follows is led back, and forth to the same place.
        let (at, rewinds) = led_to_the_head(&wallet, &mut news, told, depth).await;
        assert!(rewinds > 0, "depth {depth}");
        told = at;
    }
    // And it goes on.
    mined(&wallet.send(payment()).await.unwrap()).await.unwrap();
    assert_eq!(node.nonce(wallet.address()).await, sent + 1);
}

/// Takes news until the head, which may go back by that much each time. Where that is, and how often it went back.
async fn led_to_the_head(
    wallet: &Wallet,
    news: &mut Follower,
    mut told: Cursor,
    depth: u64,
) -> (Cursor, usize) {
    let head = wallet.client().head().await.unwrap();
    let mut rewinds = 0;
    let caught_up = async {
        while told.hash != head.hash {
            let update = news.next().await.unwrap();
            if let Update::Rewound { to } = &update {
                assert!(to.number < told.number && told.number - to.number <= depth);
                rewinds += 1;
            }
            told = update.cursor();
        }
    };
    tokio::time::timeout(PATIENCE, caught_up).await.expect("news up to the head");
    (told, rewinds)
}

#[tokio::test]
async fn a_transaction_that_is_undone_before_anyone_heard_of_it_is_mined_all_the_same() {
    let node = Embedded::start(Mining::Manual).await;
    let resubmit_after = Duration::from_millis(100);
    let wallet = node.wallet(0, WalletOptions { resubmit_after, ..WalletOptions::default() }).await;
    let pending = wallet.send(payment()).await.unwrap();
    while node.ask("eth_getTransactionByHash", json!([pending.hash()])).await.is_null() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Gone from the node, as if it had been restarted.
    node.ask("anvil_dropAllTransactions", json!([])).await;
    node.ask("evm_setAutomine", json!([true])).await;
    mined(&pending).await.unwrap();
    assert_eq!(wallet.client().ether(NOBODY).await.unwrap(), U256::from(1));
}

/// A receipt may be had of a block that is replaced before anybody is told of it.
#[tokio::test]
async fn what_is_undone_before_its_block_was_told_of_is_sent_again() {
    let node = Embedded::start(Mining::Instant).await;
    let client = chain::Client::connect_bare(&node.http).await.unwrap();
    let resubmit_after = Duration::from_millis(50);
    let options = WalletOptions { resubmit_after, ..WalletOptions::default() };
    let wallet = Wallet::with_options(&client, node.signer(0), options).await.unwrap();
    // It asks for the receipt by itself, and mostly before it looks at the chain again.
    mined(&wallet.send(payment()).await.unwrap()).await.unwrap();
    node.ask("anvil_reorg", json!([1, []])).await;
    let restored = async {
        while wallet.client().ether(NOBODY).await.unwrap().is_zero() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, restored).await.expect("sent again");
    assert_eq!(node.nonce(wallet.address()).await, 1);
}

/// A chain that goes back may forget what waits, too.
#[tokio::test]
async fn what_waits_while_the_chain_goes_back_is_sent_again() {
    let node = Embedded::start(Mining::Manual).await;
    let resubmit_after = Duration::from_secs(3_600);
    let wallet = node.wallet(0, WalletOptions { resubmit_after, ..WalletOptions::default() }).await;
    let mut news = wallet.client().follow(Cursor::START);
    node.ask("evm_mine", json!([])).await;
    led_to_the_head(&wallet, &mut news, Cursor::START, 0).await;
    let pending = wallet.send(payment()).await.unwrap();
    while node.ask("eth_getTransactionByHash", json!([pending.hash()])).await.is_null() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    node.ask("anvil_reorg", json!([1, []])).await;
    node.ask("evm_setAutomine", json!([true])).await;
    assert!(mined(&pending).await.unwrap().succeeded);
}

/// What another process with the same key had sent before it ended is gone for good; what came after waits for its nonce.
#[tokio::test]
async fn a_nonce_that_a_reorganisation_freed_holds_nothing_up() {
    let node = Embedded::start(Mining::Instant).await;
    let resubmit_after = Duration::from_millis(100);
    {
        let ended = node.wallet(0, WalletOptions::default()).await;
        mined(&ended.send(payment().value(U256::from(7))).await.unwrap()).await.unwrap();
    }
    let wallet = node.wallet(0, WalletOptions { resubmit_after, ..WalletOptions::default() }).await;
    mined(&wallet.send(payment()).await.unwrap()).await.unwrap();
    node.ask("anvil_reorg", json!([2, []])).await;
    let restored = async {
        while node.nonce(wallet.address()).await < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, restored).await.expect("sent again");
    assert_eq!(wallet.client().ether(NOBODY).await.unwrap(), U256::from(1));
}

/// The first transaction that a wallet hands in at that node.
async fn handed_in(script: &Node) -> TxEnvelope {
    let client = chain::Client::connect_bare(&script.url).await.unwrap();
    let options =
        WalletOptions { resubmit_after: Duration::from_millis(50), ..WalletOptions::default() };
    let signer = PrivateKeySigner::random();
    let wallet = Wallet::with_options(&client, signer, options).await.unwrap();
    let _pending = wallet.send(payment()).await.unwrap();
    let raw = async {
        loop {
            match script.taken().first() {
                Some(raw) => break raw.clone(),
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let raw = tokio::time::timeout(PATIENCE, raw).await.expect("handed in");
    TxEnvelope::decode_2718(&mut &raw[..]).unwrap()
}

/// On a rollup that charges for data by gas, limits are raised by what its node says.
#[tokio::test]
async fn gas_for_data_is_added_where_a_chain_charges_for_it() {
    let script = Node::start().await;
    assert_eq!(handed_in(&script).await.gas_limit(), 21_000);
    let script = Node::start().await;
    script.charge_data(150_000);
    assert_eq!(handed_in(&script).await.gas_limit(), 21_000 + 300_000);
}

#[tokio::test]
async fn a_chain_without_a_base_fee_gets_transactions_of_the_old_form() {
    let script = Node::start().await;
    script.price_gas(1_234);
    let TxEnvelope::Legacy(old) = handed_in(&script).await else { panic!("another form") };
    assert_eq!(old.tx().gas_price, 1_234);
    assert_eq!(old.tx().chain_id, Some(1));
    let script = Node::start().await;
    let TxEnvelope::Eip1559(new) = handed_in(&script).await else { panic!("another form") };
    assert_eq!((new.tx().max_fee_per_gas, new.tx().max_priority_fee_per_gas), (14, 0));
}
