//! Somebody's program does not work, and they are told so at once and by name.

use std::time::Duration;

use anyhow::Result;
use testkit::{House, programs};

use crate::{at, house};

/// Far from the category's deadlines, which are half an hour away; generous for a busy machine.
const SOON: Duration = Duration::from_secs(10);

async fn check(house: &House, name: &str, program: &[u8], code: &str, words: &str) -> Result<()> {
    let program = house.gristmill().file(name, program)?;
    let ran = house.run(&program, &[]).await?;
    assert_eq!(ran.failure_code()?, code, "{name}: {ran:#?}");
    let said = ran.json()?;
    let message = at(&said, "/error/message")?.as_str().unwrap_or_default();
    assert!(message.contains(words), "{name}: {message}");
    assert!(at(&said, "/error/remedy")?.is_string(), "{name}: {said:#}");
    assert!(ran.elapsed < SOON, "{name} took {:?}", ran.elapsed);
    Ok(())
}

#[tokio::test]
async fn each_way_to_break_has_a_name_and_is_told_at_once() -> Result<()> {
    let house = house().await?;
    let house = &house;
    check(house, "trap.wasm", &programs::trap()?, "GM-4110", "trap").await?;
    check(house, "glutton.wasm", &programs::glutton()?, "GM-4111", "memory").await?;
    check(house, "silent.wasm", &programs::silent()?, "GM-4120", "computed.json").await?;
    check(house, "quitter.wasm", &programs::quitter()?, "GM-4116", "3").await?;
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_no_program_is_refused_before_anything_is_paid() -> Result<()> {
    let house = house().await?;
    let script = house.gristmill().file("script.wasm", "#!/bin/sh\n")?;
    let ran = house.run(&script, &[]).await?;
    assert_eq!(ran.failure_code()?, "GM-5002");
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    Ok(())
}
