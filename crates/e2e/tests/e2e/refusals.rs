//! Somebody asks for what is not to be had, and is told the smallest change that would help. No money moves.

use alloy_primitives::U256;
use alloy_signer_local::PrivateKeySigner;
use anyhow::Result;
use chain::{TxRequest, Wallet};
use testkit::programs;

use crate::{at, house, text};

#[tokio::test]
async fn what_is_not_to_be_had_is_refused_with_a_remedy() -> Result<()> {
    let house = house().await?;
    let program = house.gristmill().file("greeting.wasm", programs::greeting("hello\n")?)?;
    let client = house.client().await?;
    let requester = house.address("/accounts/0/address")?;
    let before = (client.account(requester).await?, client.rlc_balance(requester).await?);

    let ran = house.run(&program, &["--max-price", "1nRLC"]).await?;
    assert_eq!((ran.code, ran.failure_code()?.as_str()), (Some(3), "GM-2101"));
    let said = ran.json()?;
    let cause = at(&said, "/error/cause")?.as_str().unwrap_or_default().to_owned();
    assert!(cause.contains("cheapest"), "{cause}");
    let remedy = at(&said, "/error/remedy")?.as_str().unwrap_or_default().to_owned();
    let arguments: Vec<&str> = remedy.split(' ').collect();
    house.run(&program, &arguments).await?.ok()?;
    assert_ne!(before, (client.account(requester).await?, client.rlc_balance(requester).await?));

    let ran = house.run(&program, &["--trust", "1000000"]).await?;
    assert_eq!((ran.code, ran.failure_code()?.as_str()), (Some(3), "GM-2102"));
    for unknown in ["nothing", "0x00000000000000000000000000000000000000ff"] {
        let ran = house.run(unknown.as_ref(), &[]).await?;
        assert_eq!((ran.code, ran.failure_code()?.as_str()), (Some(3), "GM-2105"), "{ran:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn too_little_money_says_how_much_is_missing() -> Result<()> {
    let house = house().await?;
    let program = house.gristmill().file("greeting.wasm", programs::greeting("hello\n")?)?;
    let pauper = PrivateKeySigner::random();
    let key = house.gristmill().file("key", pauper.to_bytes().to_string())?;

    // Ether for gas, and no RLC.
    let client = house.client().await?;
    let gift = TxRequest::call(pauper.address(), Vec::new()).gas(21_000);
    let gift = gift.value(U256::from(10).pow(U256::from(18)));
    Wallet::new(&client, house.key(3)?).await?.execute(gift).await?;

    let ran = house.run(&program, &["--key-file", text(&key)]).await?;
    assert_eq!((ran.code, ran.failure_code()?.as_str()), (Some(3), "GM-2106"), "{ran:#?}");
    let said = ran.json()?;
    let message = at(&said, "/error/message")?.as_str().unwrap_or_default();
    assert!(message.contains("short") && message.contains("RLC"), "{message}");
    Ok(())
}
