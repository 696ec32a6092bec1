//! User stories: each starts the real binary, does what a user would do, and looks at what a user would see.
//!
//! Nothing here knows how the market works inside. Ports are free ones, every test has a home of its own, and waiting is
//! for conditions.

mod bag_of_tasks;
mod broken_programs;
mod callbacks;
mod crash_campaign;
mod crashing_worker;
mod deploy;
mod first_run;
mod hostile;
mod images;
mod kept_market;
mod killed_market;
mod large_results;
mod liar;
mod official;
mod original_contracts;
mod played;
mod receipts;
mod refund;
mod refusals;
mod reorganised_chain;
mod second_host;
mod services_apart;
mod slashing;
mod start;
mod sweeping;
mod task_questions;
mod trust;
mod upgraded_workers;
mod used_up;
mod worth;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use testkit::{Gristmill, House, HouseConfig};

fn gristmill() -> Result<Gristmill> {
    Gristmill::new(env!("CARGO_BIN_EXE_gristmill-under-test"))
}

async fn house() -> Result<House> {
    House::start(&gristmill()?, HouseConfig::default()).await
}

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(path)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// What is at that place of an answer.
fn at<'a>(value: &'a Value, pointer: &str) -> Result<&'a Value> {
    value.pointer(pointer).with_context(|| format!("no {pointer} in {value:#}"))
}

fn list<'a>(value: &'a Value, pointer: &str) -> Result<&'a Vec<Value>> {
    at(value, pointer)?.as_array().with_context(|| format!("{pointer} is no list in {value:#}"))
}
