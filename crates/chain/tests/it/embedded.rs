//! The embedded chain behind a socket of its own.

use std::net::SocketAddr;
use std::path::Path;

use alloy_primitives::{Address, U64};
use alloy_signer_local::PrivateKeySigner;
use axum::serve::ListenerExt;
use chain::{Client, Wallet, WalletOptions};
use devchain::{Config, DevChain, Mining};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use url::Url;

pub(crate) struct Embedded {
    chain: Option<DevChain>,
    /// The server's own, so that its connections can be cut like those of a process that ends.
    server: Option<Runtime>,
    address: SocketAddr,
    pub(crate) ws: Url,
    pub(crate) http: Url,
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }
}

impl Embedded {
    pub(crate) async fn start(mining: Mining) -> Self {
        let config = Config { mining, ..Config::default() };
        Self::serve(config, "127.0.0.1:0".parse().unwrap()).await
    }

    /// A chain that outlives [`Embedded::stop`], at a port to come back to.
    pub(crate) async fn kept_in(directory: &Path, address: Option<SocketAddr>) -> Self {
        let config = Config { data_dir: Some(directory.to_owned()), ..Config::default() };
        Self::serve(config, address.unwrap_or("127.0.0.1:0".parse().unwrap())).await
    }

    /// A chain of another id.
    pub(crate) async fn of(chain_id: u64) -> Self {
        let config = Config { chain_id, ..Config::default() };
        Self::serve(config, "127.0.0.1:0".parse().unwrap()).await
    }

    async fn serve(config: Config, address: SocketAddr) -> Self {
        let chain = DevChain::open(config).unwrap();
        let server = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let router = chain.router();
        let listening = server.spawn(async move {
            let listener = TcpListener::bind(address).await.unwrap();
            let address = listener.local_addr().unwrap();
            let listener = listener.tap_io(|tcp| tcp.set_nodelay(true).unwrap());
            tokio::spawn(axum::serve(listener, router).into_future());
            address
        });
        let address = listening.await.unwrap();
        let at = |scheme: &str| format!("{scheme}://{address}").parse().unwrap();
        Self { chain: Some(chain), server: Some(server), address, ws: at("ws"), http: at("http") }
    }

    /// Hangs up on everybody and closes the chain.
    pub(crate) async fn stop(mut self) -> SocketAddr {
        self.server.take().unwrap().shutdown_background();
        self.chain.take().unwrap().shutdown().await.unwrap();
        self.address
    }

    fn chain(&self) -> &DevChain {
        self.chain.as_ref().unwrap()
    }

    /// One of the funded accounts.
    pub(crate) fn signer(&self, index: usize) -> PrivateKeySigner {
        self.chain().accounts()[index].signer.clone()
    }

    pub(crate) async fn bare(&self) -> Client {
        Client::connect_bare(&self.ws).await.unwrap()
    }

    pub(crate) async fn wallet(&self, index: usize, options: WalletOptions) -> Wallet {
        Wallet::with_options(&self.bare().await, self.signer(index), options).await.unwrap()
    }

    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        self.chain().handle().request(method, params).await.unwrap()
    }

    pub(crate) async fn nonce(&self, address: Address) -> u64 {
        let count = self.ask("eth_getTransactionCount", json!([address, "latest"])).await;
        serde_json::from_value::<U64>(count).unwrap().to()
    }
}
