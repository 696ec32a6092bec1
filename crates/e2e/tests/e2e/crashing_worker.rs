//! A worker takes work and is never heard of again.

use alloy_primitives::Address;
use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result};
use testkit::{House, HouseConfig, programs};
use wire::link::{Capabilities, ClientConfig, LinkClient, ToWorker, WorkerLink};

use crate::{at, gristmill, list};

const TASKS: usize = 12;

/// Joins a pool with room for more than everybody else.
async fn join(house: &House, workerpool: Address) -> Result<WorkerLink> {
    let client = house.client().await?;
    let config = ClientConfig {
        scheduler: house.origin()?,
        workerpool,
        pool_owner: client.workerpool(workerpool).await?.owner,
        chain_id: client.chain_id(),
        hub: client.hub(),
        signer: PrivateKeySigner::random(),
        capabilities: Capabilities {
            cpus: 8,
            memory_bytes: 1 << 33,
            slots: 8,
            runtimes: vec!["wasm".into()],
            ..Capabilities::default()
        },
        holding: Vec::new(),
    };
    Ok(LinkClient::connect(&config).await?)
}

/// Waits for work, and hangs up.
async fn vanish(mut link: WorkerLink) -> Result<()> {
    loop {
        let message = link.receiver.recv().await.context("the scheduler hung up first")??;
        if matches!(message, ToWorker::Assign { .. }) {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn work_that_a_worker_took_to_its_grave_is_done_by_another() -> Result<()> {
    let config = HouseConfig { workers: 1, ..HouseConfig::default() };
    let house = House::start(&gristmill()?, config).await?;
    let program = house.gristmill().file("greeting.wasm", programs::greeting("done\n")?)?;
    let pools = list(house.said(), "/workerpools")?;
    let pools: Vec<Address> = pools
        .iter()
        .map(|pool| Ok(at(pool, "/address")?.as_str().context("an address")?.parse()?))
        .collect::<Result<_>>()?;

    // The purchase goes to one of the pools; nothing comes to the others.
    let mut links = Vec::new();
    for pool in pools {
        links.push(join(&house, pool).await?);
    }
    let vanishing =
        futures::future::select_ok(links.into_iter().map(|link| Box::pin(vanish(link))));
    let tasks = TASKS.to_string();
    let arguments = ["--tasks", tasks.as_str()];
    let (ran, vanished) = tokio::join!(house.run(&program, &arguments), vanishing);
    vanished?;
    let said = ran?.ok()?.json()?;
    assert_eq!(list(&said, "/results")?.len(), TASKS);
    Ok(())
}
