//! The embedded chain behind a socket of its own.

use alloy_primitives::{Address, U64};
use alloy_signer_local::PrivateKeySigner;
use chain::{Client, Wallet, WalletOptions};
use devchain::{Config, DevChain, Mining};
use serde_json::{Value, json};
use url::Url;

pub(crate) struct Embedded {
    chain: DevChain,
    pub(crate) ws: Url,
    pub(crate) http: Url,
}

impl Embedded {
    pub(crate) async fn start(mining: Mining) -> Self {
        let chain = DevChain::open(Config { mining, ..Config::default() }).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = listener.local_addr().unwrap();
        let router = chain.router();
        let listener =
            axum::serve::ListenerExt::tap_io(listener, |tcp| tcp.set_nodelay(true).unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let at = |scheme: &str| format!("{scheme}://{origin}").parse().unwrap();
        Self { chain, ws: at("ws"), http: at("http") }
    }

    /// One of the funded accounts.
    pub(crate) fn signer(&self, index: usize) -> PrivateKeySigner {
        self.chain.accounts()[index].signer.clone()
    }

    pub(crate) async fn bare(&self) -> Client {
        Client::connect_bare(&self.ws).await.unwrap()
    }

    pub(crate) async fn wallet(&self, index: usize, options: WalletOptions) -> Wallet {
        Wallet::with_options(&self.bare().await, self.signer(index), options).await.unwrap()
    }

    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        self.chain.handle().request(method, params).await.unwrap()
    }

    pub(crate) async fn nonce(&self, address: Address) -> u64 {
        let count = self.ask("eth_getTransactionCount", json!([address, "latest"])).await;
        serde_json::from_value::<U64>(count).unwrap().to()
    }
}
