//! Running the binary.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

/// No verb of a test takes this long; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often its memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The binary, with a home of its own.
#[derive(Clone)]
pub struct Gristmill {
    binary: PathBuf,
    home: Home,
}

#[derive(Clone)]
enum Home {
    Temporary(Arc<TempDir>),
    Kept(PathBuf),
}

impl Gristmill {
    /// That binary, and a new home for it.
    pub fn new(binary: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self { binary: binary.into(), home: Home::Temporary(Arc::new(tempfile::tempdir()?)) })
    }

    /// That binary, and a home that stays: a directory that is there already.
    pub fn kept_in(binary: impl Into<PathBuf>, home: &Path) -> Result<Self> {
        Ok(Self { binary: binary.into(), home: Home::Kept(home.canonicalize()?) })
    }

    /// A place for the test's own files, gone at its end unless it was named.
    pub fn home(&self) -> &Path {
        match &self.home {
            Home::Temporary(dir) => dir.path(),
            Home::Kept(path) => path,
        }
    }

    /// Puts a file into the home.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.home().join(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }

    /// A verb, not yet started: nothing of the environment reaches it that could change what it does.
    pub(crate) fn command<I: AsRef<str>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments.into_iter().map(|argument| argument.as_ref().to_owned()))
            .current_dir(self.home())
            .env("GRISTMILL_HOME", self.home())
            .env("NO_COLOR", "1")
            .env_remove("GRISTMILL_MARKET")
            .env_remove("GRISTMILL_KEY_FILE")
            .env_remove("GRISTMILL_DATA_DIR")
            .env_remove("GRISTMILL_PORT")
            .env_remove("GRISTMILL_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a verb to its end, however that is.
    ///
    /// # Errors
    /// If it cannot be started or takes five minutes.
    pub async fn run<I: AsRef<str>>(&self, arguments: impl IntoIterator<Item = I>) -> Result<Ran> {
        self.run_watched(arguments, |_| {}).await
    }

    /// The same, and somebody is told now and then how much memory it had at most, in bytes.
    ///
    /// # Errors
    /// As of [`Gristmill::run`].
    pub async fn run_watched<I: AsRef<str>>(
        &self,
        arguments: impl IntoIterator<Item = I>,
        mut peak: impl FnMut(u64),
    ) -> Result<Ran> {
        let started = Instant::now();
        let child = self.command(arguments).spawn();
        let child = child.with_context(|| format!("cannot run {}", self.binary.display()))?;
        let id = child.id();
        let mut ending = Box::pin(timeout(PATIENCE, child.wait_with_output()));
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let ended = loop {
            tokio::select! {
                ended = &mut ending => break ended,
                _ = looks.tick() => {
                    // One that has just ended has no memory any more.
                    id.and_then(|id| peak_bytes(id).ok()).into_iter().for_each(&mut peak);
                }
            }
        };
        let ended = ended.context("the command did not end")??;
        Ok(Ran {
            code: ended.status.code(),
            stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
            elapsed: started.elapsed(),
        })
    }
}

/// The most memory that a process ever had, in bytes.
pub(crate) fn peak_bytes(id: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}

/// A verb that has ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; none if it was killed.
    pub code: Option<i32>,
    /// All of its stdout.
    pub stdout: String,
    /// All of its stderr.
    pub stderr: String,
    /// How long it took.
    pub elapsed: Duration,
}

impl Ran {
    /// The same, if it went well.
    pub fn ok(self) -> Result<Self> {
        ensure!(self.code == Some(0), "failed: {self:#?}");
        Ok(self)
    }

    /// The one JSON object on its stdout.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not one object: {self:#?}"))
    }

    /// The code of its failure, as told with `--json`.
    pub fn failure_code(&self) -> Result<String> {
        ensure!(self.code != Some(0), "went well: {self:#?}");
        let said = self.json()?;
        let code = said["error"]["code"].as_str();
        Ok(code.with_context(|| format!("no code: {self:#?}"))?.to_owned())
    }
}
