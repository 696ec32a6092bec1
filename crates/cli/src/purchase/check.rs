//! Checking a downloaded result against the chain, and reading what is to be printed from it.

use std::path::{Path, PathBuf};

use alloy_primitives::Address;
use chain::Task;
use primitives::{ResultDigest, TaskId};
use sandbox::archive;

use super::Access;
use crate::failure::{Exit, Failure, OrFail};

/// The most of a program's output that is printed; the archive has all of it.
const OUTPUT_BYTES_MAX: u64 = 16 << 20;

/// The largest result that is downloaded.
const RESULT_BYTES_MAX: u64 = 2 << 30;

/// What one task gave.
pub struct TaskResult {
    /// Its index in the request.
    pub index: u64,
    /// The digest of what was downloaded; it is the chain's.
    pub digest: ResultDigest,
    /// What the program said.
    pub output: Vec<u8>,
    /// Whether the digest on chain covers that output.
    pub covered: bool,
    /// What it said on stderr.
    pub stderr: Vec<u8>,
    /// Names in the archive.
    pub files: Vec<String>,
}

impl Access {
    /// Whether it is known where that workerpool's scheduler is: at a URL of its own, or behind a market's one origin.
    pub fn tells_scheduler_of(&self, workerpool: Address) -> bool {
        let mut pools = self.description.workerpools.iter();
        pools.any(|pool| pool.address == workerpool)
    }

    /// Downloads what a completed task gave, and holds it against the chain; also where it was. Its files go to `out`, if
    /// that is named.
    ///
    /// # Errors
    /// GM-5101 it is not what the chain agreed on, GM-5102 it cannot be downloaded, GM-5007 there is no place for it.
    pub async fn result(
        &self,
        task: TaskId,
        index: u64,
        on_chain: &Task,
        out: Option<PathBuf>,
    ) -> Result<(String, TaskResult), Failure> {
        let location = location(&on_chain.results, task)?;
        let dir = tempfile::tempdir().or_fail("GM-5007", Exit::Market, "no temporary directory")?;
        let archive = dir.path().join("result.zip");
        self.ipfs
            .fetch_to_file(&location, &archive, RESULT_BYTES_MAX)
            .await
            .or_fail(
                "GM-5102",
                Exit::Market,
                &format!("the result of task {task} cannot be downloaded"),
            )
            .map_err(|failure| {
                failure.fix("see whether the market's gateway runs, and try again")
            })?;
        let digest = on_chain.digest;
        let checked = tokio::task::spawn_blocking(move || {
            unpacked(&archive, task, index, digest, out.as_deref())
        });
        let checked = checked.await.or_fail("GM-5007", Exit::Market, "the check was cut short")?;
        Ok((location, checked?))
    }
}

/// Where the chain says the result is.
fn location(results: &[u8], task: TaskId) -> Result<String, Failure> {
    let said: Option<serde_json::Value> = serde_json::from_slice(results).ok();
    let location = said.as_ref().and_then(|said| {
        let ipfs = said.get("storage")?.as_str()? == "ipfs";
        ipfs.then(|| said.get("location")?.as_str()).flatten()
    });
    match location {
        Some(location) if location.starts_with("/ipfs/") => Ok(location.to_owned()),
        _ => Err(Failure::new(
            "GM-5101",
            Exit::Unverified,
            format!("task {task} has no result to download"),
        )
        .because(format!("the chain says: {}", String::from_utf8_lossy(results)))),
    }
}

/// Checks an archive against the chain, reads what is to be printed, and unpacks it if that was asked for.
fn unpacked(
    archive: &Path,
    task: TaskId,
    index: u64,
    on_chain: ResultDigest,
    out: Option<&Path>,
) -> Result<TaskResult, Failure> {
    let bounds = archive::Bounds::default();
    let broken = |error: archive::ArchiveError| {
        Failure::new(
            "GM-5101",
            Exit::Unverified,
            format!("the result of task {task} cannot be checked"),
        )
        .because(format!("{error} ({})", error.code()))
        .fix(error.remedy())
    };
    let verified = archive::verify(archive, &bounds).map_err(broken)?;
    if verified.digest != on_chain {
        return Err(Failure::new(
            "GM-5101",
            Exit::Unverified,
            format!("the result of task {task} is not the one that the chain agreed on"),
        )
        .because(format!("digest on chain {on_chain}, of the download {}", verified.digest))
        .fix("do not use it; the workerpool that delivered it answers for it"));
    }
    let read = |name: &str| archive::read_file(archive, name, OUTPUT_BYTES_MAX, &bounds);
    let declared = read("computed.json").map_err(broken)?.and_then(|text| declared_name(&text));
    let stdout = read("stdout.txt").map_err(broken)?.unwrap_or_default();
    let stderr = read("stderr.txt").map_err(broken)?.unwrap_or_default();
    // A program that prints nothing but declares a text means that text.
    let (output, covered) = match &declared {
        Some(name) if name == "stdout.txt" => (stdout, true),
        Some(name) if stdout.is_empty() => {
            let text = read(name).ok().flatten().unwrap_or_default();
            if std::str::from_utf8(&text).is_ok() { (text, true) } else { (stdout, false) }
        }
        _ => (stdout, false),
    };
    let files = match out {
        Some(out) => archive::unpack(archive, out, &bounds)
            .map_err(|error| {
                Failure::new(
                    "GM-5007",
                    Exit::Usage,
                    format!("cannot unpack into {}", out.display()),
                )
                .because(error)
            })?
            .into_iter()
            .map(|path| path.strip_prefix(out).unwrap_or(&path).display().to_string())
            .collect(),
        None => names(archive)?,
    };
    Ok(TaskResult { index, digest: verified.digest, output, covered, stderr, files })
}

/// The names in an archive that was verified.
fn names(archive: &Path) -> Result<Vec<String>, Failure> {
    let file =
        std::fs::File::open(archive).or_fail("GM-5101", Exit::Unverified, "the result is gone")?;
    let zip =
        zip::ZipArchive::new(file).or_fail("GM-5101", Exit::Unverified, "the result is no zip")?;
    let mut names: Vec<String> = zip.file_names().flatten().map(|name| name.into_owned()).collect();
    names.sort();
    Ok(names)
}

/// The file that a program declared to be its result, relative to its output directory.
fn declared_name(computed: &[u8]) -> Option<String> {
    let said: serde_json::Value = serde_json::from_slice(computed).ok()?;
    let path = said.get("deterministic-output-path")?.as_str()?;
    path.strip_prefix("/iexec_out/").map(str::to_owned)
}
