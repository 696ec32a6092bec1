//! Many questions in one call, to the real contracts.

use alloy_primitives::{Bytes, U256};
use chain::deploy::{DeployConfig, deploy};
use chain::{Client, Wallet, calls};
use devchain::DevChain;
use orders::{Operation, RequestOrder};
use primitives::{Nrlc, OrderHash};

use crate::ledger::{Ledger, all_at_once};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_used_up_of_many_orders_is_asked_in_one_call() {
    let chain = DevChain::open(devchain::Config::default()).expect("a chain");
    let owner = chain.accounts()[0].signer.clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let rpc = format!("ws://{}", listener.local_addr().expect("an address"));
    let rpc = rpc.parse().expect("a url");
    tokio::spawn(axum::serve(listener, chain.router()).into_future());
    let everything = vec![(owner.address(), Nrlc::from_rlc(87_000_000))];
    let deployed = deploy(&rpc, owner.clone(), DeployConfig::new(everything)).await;
    let client = Client::connect(&rpc, deployed.expect("is deployed").hub).await.expect("connects");

    let request = |volume: u64| RequestOrder {
        requester: owner.address(),
        volume: U256::from(volume),
        sign: Bytes::new(),
        ..RequestOrder::default()
    };
    let wallet = Wallet::new(&client, owner.clone()).await.expect("a wallet");
    let close = calls::manage_request_order(client.hub(), &request(7), Operation::Close);
    wallet.execute(close).await.expect("is closed");

    let orders: Vec<OrderHash> =
        (0..100).map(|volume| request(volume).hash(&Client::domain(&client))).collect();
    let mut expected = vec![U256::ZERO; 100];
    expected[7] = U256::from(7);
    assert_eq!(all_at_once(&client, &orders).await, Some(expected.clone()));
    assert_eq!(client.consumed_all(&orders).await.expect("answers"), expected);
    assert_eq!(client.consumed_all(&orders[7..8]).await.expect("answers"), expected[7..8]);
    assert!(client.consumed_all(&[]).await.expect("answers").is_empty());
}
