//! The compass between its client and one who knows one way.

use std::sync::Arc;

use alloy_primitives::Address;
use serde_json::Value;
use wire::compass::{Compass, CompassClient, WorkerpoolEntry, router};

use crate::{CHAIN_ID, address, serve};

pub(crate) struct OneWay;

impl Compass for OneWay {
    fn workerpool(&self, chain_id: u64, workerpool: Address) -> Option<WorkerpoolEntry> {
        let known = chain_id == CHAIN_ID && workerpool == address(7);
        known.then(|| WorkerpoolEntry {
            api_url: "http://scheduler.example".into(),
            name: Some("River Mill".into()),
        })
    }

    fn iapp(&self, chain_id: u64, name: &str) -> Option<Address> {
        (chain_id == CHAIN_ID && name == "word count").then(|| address(8))
    }
}

#[tokio::test]
async fn the_way_is_told_to_who_asks() {
    let url = serve(router(Arc::new(OneWay))).await;
    let here = CompassClient::new(&url, CHAIN_ID).expect("a client");
    let elsewhere = CompassClient::new(&url, 1).expect("a client");
    let url_of = here.workerpool(address(7)).await.expect("answers");
    assert_eq!(url_of.as_deref(), Some("http://scheduler.example"));
    assert_eq!(here.workerpool(address(6)).await.expect("answers"), None);
    assert_eq!(elsewhere.workerpool(address(7)).await.expect("answers"), None);
    assert_eq!(here.iapp("word count").await.expect("answers"), Some(address(8)));
    assert_eq!(here.iapp("nothing").await.expect("answers"), None);
}

#[tokio::test]
async fn refusals_are_json() {
    let url = serve(router(Arc::new(OneWay))).await;
    wire::install_crypto_provider();
    for (path, status, error) in [
        ("/65535/workerpools/0x12", 400, "address is not a valid ethereum address"),
        ("/x/workerpools/0x0707070707070707070707070707070707070707", 404, "workerpool not found"),
        ("/65535/iapps/none", 404, "iapp not found"),
    ] {
        let answer = reqwest::get(url.join(path).expect("a url")).await.expect("answers");
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(answer["error"], error, "{path}");
    }
}
