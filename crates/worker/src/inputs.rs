//! The inputs of a deal, in the directory that its programs see as `/iexec_in`.
//!
//! All tasks of a deal have the same inputs and may only read them, so they share one directory: a bag of a thousand
//! tasks fetches its inputs once. It is gone with the last task that needs it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use alloy_primitives::{B256, hex};
use sandbox::dataset_name;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::deals::{Facts, address_of};
use crate::fetch::{Allowance, Fetcher};
use crate::space::Space;
use crate::trouble::Trouble;

pub(crate) const FILES_MAX: usize = 256;
const FILE_BYTES_MAX: u64 = 512 << 20;
pub(crate) const ALL_BYTES_MAX: u64 = 1 << 30;
/// For all inputs of a deal together. A deal's deadline for contributions is seven of its category's units of time, the
/// shortest of which is a minute.
const FETCH_TIME: Duration = Duration::from_secs(300);

/// A directory of inputs; removed with the last holder.
#[derive(Debug)]
pub(crate) struct Inputs {
    dir: PathBuf,
    /// Of the files that the program is told about, in the request's order.
    names: Vec<String>,
    ours: bool,
}

impl Inputs {
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}

impl Drop for Inputs {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = std::fs::remove_dir_all(&self.dir)
        {
            tracing::debug!(dir = %self.dir.display(), %error, "removing inputs");
        }
    }
}

/// The inputs that tasks of a deal hold at the moment, if any.
#[derive(Debug, Default)]
pub(crate) struct DealInputs {
    held: Mutex<Weak<Inputs>>,
}

impl DealInputs {
    /// The inputs, fetched if no task holds them; who comes meanwhile waits.
    pub(crate) async fn get(
        &self,
        facts: &Facts,
        space: &Space,
        fetcher: &Fetcher,
    ) -> Result<Arc<Inputs>, Trouble> {
        if facts.input_urls.is_empty() && facts.dataset.is_none() {
            return Ok(Arc::new(Inputs { dir: space.no_inputs(), names: vec![], ours: false }));
        }
        let mut held = self.held.lock().await;
        if let Some(inputs) = held.upgrade() {
            return Ok(inputs);
        }
        let inputs = Arc::new(fetch(facts, space, fetcher).await?);
        *held = Arc::downgrade(&inputs);
        Ok(inputs)
    }
}

async fn fetch(facts: &Facts, space: &Space, fetcher: &Fetcher) -> Result<Inputs, Trouble> {
    if facts.input_urls.len() > FILES_MAX {
        return Err(Trouble::Inputs(format!("there are more than {FILES_MAX} of them")));
    }
    let dir = space.new_inputs(facts.id);
    tokio::fs::create_dir(&dir).await.map_err(Trouble::host("making a directory for inputs"))?;
    // Whatever happens from here on, the directory goes with this value.
    let mut inputs = Inputs { dir, names: vec![], ours: true };
    let began = tokio::time::Instant::now();
    let mut left = ALL_BYTES_MAX;
    if let Some(dataset) = &facts.dataset {
        let name = dataset_name(facts.deal.dataset.pointer);
        let from = address_of(&dataset.multiaddr).ok_or_else(|| {
            Trouble::Dataset("its address is neither text nor a content id".to_owned())
        })?;
        let (to, expected) = (inputs.dir.join(name), dataset.checksum);
        let expected = Some(expected).filter(|expected| !expected.is_zero());
        let fetched = fetcher
            .to_file(&from, &to, allowance(left, began), expected)
            .await
            .map_err(Trouble::DatasetFetch)?;
        if !dataset.checksum.is_zero() && fetched.sha256 != dataset.checksum {
            let other = "it is not the one that was registered: its SHA-256 is";
            return Err(Trouble::Dataset(format!("{other} {}", fetched.sha256)));
        }
        left = left.saturating_sub(fetched.bytes);
    }
    for url in &facts.input_urls {
        let name = input_name(url);
        // The same URL twice is the same file.
        if !inputs.names.contains(&name) {
            let path = inputs.dir.join(&name);
            let expected = named_sha256(url).and_then(|named| named.parse().ok());
            let fetched = fetcher.to_file(url, &path, allowance(left, began), expected).await;
            let shown = || url.chars().take(200).collect();
            let fetched = fetched.map_err(|error| Trouble::Input { url: shown(), error })?;
            if named_sha256(url).is_some_and(|named| !is_sha256(named, &fetched.sha256)) {
                let found = fetched.sha256.to_string();
                return Err(Trouble::OtherInput { url: shown(), found });
            }
            left = left.saturating_sub(fetched.bytes);
        }
        inputs.names.push(name);
    }
    Ok(inputs)
}

/// The SHA-256 that a requester demands of an input: `https://host/file#sha256=…`. What follows `#` never reaches the host.
fn named_sha256(url: &str) -> Option<&str> {
    let (_, fragment) = url.split_once('#')?;
    fragment.split('&').find_map(|part| part.strip_prefix("sha256="))
}

/// With or without `0x`, in letters of either size. What is no SHA-256 at all is that of no file.
fn is_sha256(named: &str, found: &B256) -> bool {
    named.parse::<B256>().is_ok_and(|named| named == *found)
}

pub(crate) fn allowance(left: u64, began: tokio::time::Instant) -> Allowance {
    Allowance { bytes: left.min(FILE_BYTES_MAX), time: FETCH_TIME.saturating_sub(began.elapsed()) }
}

/// A file's name in `/iexec_in`: `0x` and the SHA-256 of the URL's text, so that no URL makes a bad name.
pub(crate) fn input_name(url: &str) -> String {
    hex::encode_prefixed(Sha256::digest(url.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Option<bool>) {
        let found = B256::repeat_byte(0xab);
        assert_eq!(named_sha256(url).map(|named| is_sha256(named, &found)), expected, "{url}");
    }

    #[test]
    fn an_input_may_name_its_checksum() {
        let (right, wrong) = ("ab".repeat(32), "cd".repeat(32));
        check("https://host/file", None);
        check("https://host/file#part", None);
        check(&format!("https://host/file#sha256={right}"), Some(true));
        check(&format!("https://host/file#sha256=0x{}", right.to_uppercase()), Some(true));
        check(&format!("/ipfs/Qm#part&sha256={right}"), Some(true));
        check(&format!("https://host/file#sha256={wrong}"), Some(false));
        check("https://host/file#sha256=", Some(false));
        check("https://host/file#sha256=abab", Some(false));
    }
}
