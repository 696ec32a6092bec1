//! The wire over real sockets, and the shapes that cross it.

mod compass;
mod feed;
mod ipfs;
mod link;
mod market;
mod openapi;
mod scheduler;
mod serve;
mod shapes;
mod uploads;

use alloy_primitives::{Address, B256};
use alloy_signer_local::PrivateKeySigner;
use axum::Router;
use std::net::SocketAddr;
use url::Url;

const CHAIN_ID: u64 = 65_535;

/// Serves on a port of its own until the test ends.
async fn serve(router: Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    format!("http://{address}").parse().expect("a url")
}

fn key(number: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(number)).expect("a valid key")
}

fn address(number: u8) -> Address {
    Address::repeat_byte(number)
}
