//! Somebody has a container's image and buys its runs; and is told at once what is wrong with one.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use alloy_primitives::hex;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};
use testkit::{House, HouseConfig, Ran};

use crate::{at, house};

/// Far from the category's deadlines, which are half an hour away; generous for a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// No worker here runs images.
const NO_RUNTIME: &str = "GM-4160";

/// An image in the form of `docker save`, with one static program in it.
fn greeter() -> Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    let program = dir.path().join("greeter");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/greeter.rs");
    let built = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "opt-level=1", "-o"])
        .arg(&program)
        .arg(source)
        .status()?;
    ensure!(built.success(), "the greeter does not compile");
    let layer = tar(&[("greeter", 0o755, std::fs::read(program)?)])?;
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture, "os": "linux", "config": { "Entrypoint": ["/greeter"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": ["greeter:1"], "Layers": ["layer.tar"] }]);
    tar(&[
        ("layer.tar", 0o644, layer),
        ("config.json", 0o644, config.to_string().into_bytes()),
        ("manifest.json", 0o644, manifest.to_string().into_bytes()),
    ])
}

fn tar(files: &[(&str, u32, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, mode, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, &**content)?;
    }
    Ok(tar.into_inner()?)
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Whether the machine runs no images; says so loudly, and fails where it must.
fn cannot(ran: &Ran) -> Result<bool> {
    if ran.code == Some(0) || ran.failure_code()? != NO_RUNTIME {
        return Ok(false);
    }
    let required = std::env::var_os("GRISTMILL_REQUIRE_RUNC").is_some();
    ensure!(!required, "GRISTMILL_REQUIRE_RUNC is set, and {ran:#?}");
    eprintln!("NOT TESTED: images through the market, since nothing runs them here");
    Ok(true)
}

#[tokio::test]
async fn an_image_is_bought_like_any_program_and_its_failures_are_told_at_once() -> Result<()> {
    let house = house().await?;
    let image = house.gristmill().file("greeter.tar", greeter()?)?;
    let ran = house.run(&image, &["--", "Ada", "Alan Turing"]).await?;
    if cannot(&ran)? {
        return Ok(());
    }
    let ran = ran.ok()?;
    let said = ran.json()?;
    let output = at(&said, "/results/0/output")?.as_str().unwrap_or_default();
    assert_eq!(output, "hello Ada and Alan Turing from a container\n");
    assert_eq!(at(&said, "/receipt/tasks/0/verified")?, true);

    let failed = house.run(&image, &["--", "--fail"]).await?;
    assert_eq!(failed.failure_code()?, "GM-4116", "{failed:#?}");
    assert!(failed.stdout.contains("nobody to greet"), "its last words are told: {failed:#?}");
    assert!(failed.elapsed < SOON, "{:?}", failed.elapsed);

    let broken = tar(&[("readme", 0o644, b"no image at all".to_vec())])?;
    let broken = house.gristmill().file("broken.tar", broken)?;
    let refused = house.run(&broken, &[]).await?;
    assert_eq!(refused.failure_code()?, "GM-4161", "{refused:#?}");
    assert!(refused.elapsed < SOON, "{:?}", refused.elapsed);

    // A name may lead into the network that the workers are in; nobody there is asked.
    let inside = house.run(Path::new("docker://127.0.0.1:9/team/app:1"), &[]).await?;
    assert_eq!(inside.failure_code()?, "GM-7022", "{inside:#?}");
    let message = at(&inside.json()?, "/error/message")?.as_str().map(str::to_owned);
    let message = message.context("a failure has words")?;
    assert!(message.contains("public address"), "{message}");
    Ok(())
}

#[tokio::test]
async fn what_a_task_may_use_is_told_before_it_is_paid_for() -> Result<()> {
    let program = crate::example("wordcount/wordcount.wasm");
    let book = crate::example("wordcount/alice.txt");
    let arguments = ["run", crate::text(&program), "--input", crate::text(&book)];
    let ran = crate::gristmill()?.run(arguments).await?.ok()?;
    let limits = ran.stderr.find("limits ").context("nothing of limits")?;
    let deal = ran.stderr.find("deal ").context("nothing of a deal")?;
    let told = ran.stderr.get(limits..deal).context("the deal is made before")?;
    for part in ["300 s", "512 MiB memory", "1 GiB output", "1 CPU", "256 processes", "no network"]
    {
        assert!(told.contains(part), "{part}: {}", ran.stderr);
    }
    Ok(())
}

/// A network namespace for containers, gone with the test.
struct Net(String);

impl Net {
    fn new() -> Result<Option<Self>> {
        let net = Self(format!("gm-told-{}", std::process::id()));
        let made = Command::new("ip").args(["netns", "add", &net.0]).status();
        if made.is_ok_and(|status| status.success()) {
            return Ok(Some(net));
        }
        let required = std::env::var_os("GRISTMILL_REQUIRE_NETNS").is_some();
        ensure!(!required, "GRISTMILL_REQUIRE_NETNS is set, and none can be made");
        eprintln!("NOT TESTED: a network that is told before paying, since none can be made here");
        Ok(None)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

#[tokio::test]
async fn whether_a_container_has_a_network_is_told_before_it_is_paid_for() -> Result<()> {
    let Some(net) = Net::new()? else { return Ok(()) };
    let network = format!("worker.network={}", net.0);
    let settings = ["--set", &network, "--set", "worker.network_categories=1"];
    let arguments = settings.map(str::to_owned).to_vec();
    let config = HouseConfig { arguments, ..HouseConfig::default() };
    let house = House::start(&crate::gristmill()?, config).await?;
    let image = house.gristmill().file("greeter.tar", greeter()?)?;
    if cannot(&house.run(&image, &["--", "Ada", "Alan"]).await?)? {
        return Ok(());
    }
    let origin = house.origin()?.to_string();
    let known = [("XS", "no network"), ("S", "the network that its provider made")];
    for (category, expected) in known {
        let arguments = ["run", crate::text(&image), "--market", &origin, "--category", category];
        let ran = house.gristmill().run(arguments.iter().chain(&["--", "Ada", "Alan"])).await?;
        let ran = ran.ok()?;
        let told = ran.stderr.lines().find(|line| line.starts_with("limits"));
        let told = told.context("nothing of limits")?;
        assert!(told.contains(expected), "{category}: {told}");
    }
    Ok(())
}
