//! A market cannot start, and says why.

use anyhow::Result;
use testkit::{Gristmill, House, HouseConfig};

use crate::{gristmill, house, text};

async fn check(gristmill: &Gristmill, arguments: &[&str], code: &str) -> Result<()> {
    let ran = gristmill.run(["up", "--json"].iter().chain(arguments)).await?;
    assert_eq!((ran.code, ran.failure_code()?.as_str()), (Some(4), code), "{ran:#?}");
    Ok(())
}

#[tokio::test]
async fn a_port_or_directory_in_use_is_named() -> Result<()> {
    let house = house().await?;
    let port = house.origin()?.port().unwrap_or_default().to_string();
    let (kept, other) = (house.data_dir(), house.gristmill().home().join("other"));
    let arguments = ["--port", &port, "--data-dir", text(&other)];
    check(house.gristmill(), &arguments, "GM-5005").await?;
    check(house.gristmill(), &["--port", "0", "--data-dir", text(&kept)], "GM-6002").await
}

#[tokio::test]
async fn a_directory_of_another_version_is_left_alone_until_told_otherwise() -> Result<()> {
    let gristmill = gristmill()?;
    House::start(&gristmill, HouseConfig::default()).await?.stop().await?;
    let kept = gristmill.home().join("market");
    std::fs::write(kept.join("version"), "999\n")?;
    check(&gristmill, &["--port", "0", "--data-dir", text(&kept)], "GM-6001").await?;
    let fresh = HouseConfig { arguments: vec!["--fresh".into()], ..HouseConfig::default() };
    House::start(&gristmill, fresh).await?;
    Ok(())
}
