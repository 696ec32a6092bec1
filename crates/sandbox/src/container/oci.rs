//! Calling the OCI runtime, and holding a container to its limits while it runs.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use alloy_primitives::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::failure::host;
use crate::run::{Executed, Execution, Stopped};
use crate::{Ear, FailureKind, Limits, Stream};

/// How often the size of a running container's output is added up.
const OUTPUT_CHECK: Duration = Duration::from_millis(50);
/// How long the runtime may take to end a container, and the pipes to close.
const END_TIME: Duration = Duration::from_secs(20);
/// Where the runtime finds its helpers.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// How a program ends that was killed.
const KILLED: i32 = 137;
/// The most of the runtime's own words that is told.
const WORDS_CHARS_MAX: usize = 400;

/// The runtime with its state.
#[derive(Debug, Clone)]
pub(super) struct Oci {
    program: PathBuf,
    state: PathBuf,
    /// Whether it leaves ended containers for questions; older ones do not.
    keeps: bool,
    /// What tells this sandbox's containers from those of others on the machine: control groups are shared.
    prefix: String,
}

impl Oci {
    pub(super) fn open(program: PathBuf, state: PathBuf, place: &Path) -> io::Result<Self> {
        crate::run::private_dir(&state)?;
        let keeps = can_keep(&program);
        Ok(Self { program, state, keeps, prefix: prefix_of(place) })
    }

    /// The name of a container, unlike any other that runs.
    pub(super) fn name(&self, number: u32) -> String {
        format!("{}-{}-{number}", self.prefix, std::process::id())
    }

    /// What tells this sandbox's containers from those of others on the machine.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Runs a bundle that cannot start, and gives back what the runtime says to that.
    pub(super) fn try_run(&self, id: &str, bundle: &Path) -> String {
        let log = bundle.join("runtime.log");
        let mut command = std::process::Command::new(&self.program);
        let ran = command
            .args(self.arguments(id, bundle, &log))
            .current_dir(bundle)
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .output();
        end(&self.program, &self.state, id);
        match ran {
            Ok(done) => runtime_error(&log)
                .unwrap_or_else(|| String::from_utf8_lossy(&done.stderr).trim().to_owned()),
            Err(error) => error.to_string(),
        }
    }

    fn arguments(&self, id: &str, bundle: &Path, log: &Path) -> Vec<OsString> {
        let said = OsString::from;
        let mut bundle_is = said("--bundle=");
        bundle_is.push(bundle);
        let before = [said("--root"), self.state.clone().into(), said("--log"), log.into()];
        let run = ["--log-format", "json", "run"].map(said);
        let keep = self.keeps.then(|| said("--keep"));
        before.into_iter().chain(run).chain(keep).chain([bundle_is, said(id)]).collect()
    }

    /// Ends what an earlier process left running.
    pub(super) fn end_all(&self) {
        let left = std::fs::read_dir(&self.state).into_iter().flatten().flatten();
        for id in left.filter_map(|entry| entry.file_name().into_string().ok()) {
            tracing::info!(id, "ending a container that was left behind");
            end(&self.program, &self.state, &id);
        }
    }

    /// Runs the bundle to its end.
    pub(super) async fn run(
        &self,
        id: &str,
        bundle: &Path,
        execution: &Execution,
        cancel: CancellationToken,
    ) -> Result<Executed, Stopped> {
        let log = bundle.join("runtime.log");
        let child = Command::new(&self.program)
            .args(self.arguments(id, bundle, &log))
            .current_dir(bundle)
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(host("starting the container"))?;
        let running = Running { oci: self.clone(), id: id.to_owned(), gone: false };
        let ended = running.watch(child, execution, cancel).await?;
        let told = runtime_error(&log);
        conclude(ended, told, &execution.limits, self.keeps)
    }
}

fn can_keep(program: &Path) -> bool {
    let mut asking = std::process::Command::new(program);
    let asked = asking.args(["run", "--help"]).stdin(Stdio::null()).output();
    asked.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains("--keep"))
}

/// What tells the sandbox in that place from others on the machine.
pub(super) fn prefix_of(place: &Path) -> String {
    let mut hash = alloy_primitives::Keccak256::new();
    hash.update(place.as_os_str().as_encoded_bytes());
    alloy_primitives::hex::encode(&hash.finalize()[..6])
}

/// A container that is ended when this goes, however that comes about.
struct Running {
    oci: Oci,
    id: String,
    gone: bool,
}

/// How a container ended.
struct Ended {
    status: Option<ExitStatus>,
    broken: Option<FailureKind>,
    out_of_memory: bool,
    stdout: Bytes,
    stderr: Bytes,
}

impl Running {
    /// Waits for its end, or brings it about at a limit. When this returns nothing of it runs any more.
    async fn watch(
        mut self,
        mut child: Child,
        execution: &Execution,
        cancel: CancellationToken,
    ) -> Result<Ended, FailureKind> {
        let limits = &execution.limits;
        let full = CancellationToken::new();
        let ear = |stream| (execution.ear.clone(), stream);
        let stdout = capture(child.stdout.take(), limits.stdout_bytes, &full, ear(Stream::Stdout));
        let stderr = capture(child.stderr.take(), limits.stderr_bytes, &full, ear(Stream::Stderr));
        let deadline = tokio::time::sleep(limits.wall);
        tokio::pin!(deadline);
        let mut status = None;
        let mut broken = loop {
            tokio::select! {
                ended = child.wait() => {
                    status = Some(ended.map_err(host("waiting for the container"))?);
                    break None;
                }
                () = &mut deadline => break Some(FailureKind::OutOfTime { limit: limits.wall }),
                () = cancel.cancelled() => break Some(FailureKind::Cancelled),
                // Which of the two, the captures know.
                () = full.cancelled() => break None,
                () = tokio::time::sleep(OUTPUT_CHECK) => {
                    if let Some(kind) = overflow(execution.output.clone(), limits.clone()).await {
                        break Some(kind);
                    }
                }
            }
        };
        let out_of_memory = was_out_of_memory(&self.id);
        self.end().await;
        if status.is_none() {
            let _ = child.start_kill();
            let _ = tokio::time::timeout(END_TIME, child.wait()).await;
        }
        let (stdout, stdout_full) = captured(stdout).await;
        let (stderr, stderr_full) = captured(stderr).await;
        if broken.is_none() && (stdout_full || stderr_full) {
            let (what, limit) = if stdout_full {
                ("stdout", limits.stdout_bytes)
            } else {
                ("stderr", limits.stderr_bytes)
            };
            broken = Some(FailureKind::OutputTooLarge { what, limit: limit as u64 });
        }
        if broken.is_none() && !status.is_some_and(|status| status.success()) {
            // It may have failed for being held to its limit, which is the better thing to say.
            broken = overflow(execution.output.clone(), limits.clone()).await;
        }
        Ok(Ended { status, broken, out_of_memory, stdout, stderr })
    }

    /// Ends the container and removes what the runtime keeps of it.
    async fn end(&mut self) {
        let Oci { program, state, .. } = self.oci.clone();
        let id = self.id.clone();
        let ending = tokio::task::spawn_blocking(move || end(&program, &state, &id));
        self.gone = tokio::time::timeout(END_TIME, ending).await.is_ok();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.gone {
            // Somebody stopped waiting in the middle. Not on this thread, which others wait for.
            let Oci { program, state, .. } = self.oci.clone();
            let id = std::mem::take(&mut self.id);
            std::thread::spawn(move || end(&program, &state, &id));
        }
    }
}

fn end(program: &Path, state: &Path, id: &str) {
    let deleted = std::process::Command::new(program)
        .arg("--root")
        .arg(state)
        .args(["delete", "--force", id])
        .stdin(Stdio::null())
        .output();
    match deleted {
        Ok(done) if done.status.success() => {}
        Ok(done) => {
            let words = String::from_utf8_lossy(&done.stderr);
            tracing::warn!(id, words = %words.trim(), "a container is not gone");
        }
        Err(error) => tracing::warn!(id, %error, "a container is not gone"),
    }
}

type Capture = JoinHandle<(Vec<u8>, bool)>;

/// Reads to the end, keeps what fits, and says when there is more.
fn capture<R>(
    from: Option<R>,
    limit: usize,
    full: &CancellationToken,
    (ear, stream): (Ear, Stream),
) -> Capture
where
    R: AsyncRead + Unpin + Send + 'static,
{
    let full = full.clone();
    tokio::spawn(async move {
        let (mut kept, mut overflowed) = (Vec::new(), false);
        let Some(mut from) = from else { return (kept, overflowed) };
        let mut chunk = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            let fits = read.min(limit - kept.len());
            kept.extend_from_slice(&chunk[..fits]);
            ear.heard(stream, &chunk[..fits]);
            if fits < read {
                overflowed = true;
                full.cancel();
            }
        }
        (kept, overflowed)
    })
}

async fn captured(capture: Capture) -> (Bytes, bool) {
    match tokio::time::timeout(END_TIME, capture).await {
        Ok(Ok((kept, overflowed))) => (kept.into(), overflowed),
        _ => (Bytes::new(), false),
    }
}

/// Whether there is more output than may be.
pub(super) async fn overflow(output: PathBuf, limits: Limits) -> Option<FailureKind> {
    let asked = tokio::task::spawn_blocking(move || crate::output::overflow(&output, &limits));
    asked.await.ok().flatten()
}

/// Whether the kernel killed something in the container for its memory. Asked before the container is removed.
fn was_out_of_memory(id: &str) -> bool {
    let killed = |file: String| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines()
            .any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
    };
    killed(format!("/sys/fs/cgroup/gristmill/{id}/memory.events"))
        || killed(format!("/sys/fs/cgroup/memory/gristmill/{id}/memory.oom_control"))
}

/// What the runtime itself complained about, if it did.
fn runtime_error(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let complaint = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_error = line["level"].as_str() == Some("error");
        is_error.then(|| line["msg"].as_str().unwrap_or_default().to_owned())
    };
    text.lines().filter_map(complaint).next_back()
}

fn conclude(
    ended: Ended,
    told: Option<String>,
    limits: &Limits,
    keeps: bool,
) -> Result<Executed, Stopped> {
    let Ended { status, broken, out_of_memory, stdout, stderr } = ended;
    let code = status.and_then(|status| status.code());
    let kind = match (broken, code) {
        (Some(broken), _) => broken,
        (None, Some(0)) => {
            return Ok(Executed { exit_code: 0, stdout, stderr, fuel_used: 0 });
        }
        // Who cannot be asked any more has seen a program that was killed, and nobody else kills here.
        (None, Some(KILLED)) if !keeps => {
            FailureKind::OutOfMemory { limit_bytes: limits.memory_bytes }
        }
        _ if out_of_memory => FailureKind::OutOfMemory { limit_bytes: limits.memory_bytes },
        _ if told.is_some() => not_started(&told.unwrap_or_default()),
        (None, Some(exit_code)) => {
            return Ok(Executed { exit_code, stdout, stderr, fuel_used: 0 });
        }
        (None, None) => FailureKind::Host {
            doing: "running the container",
            detail: "the container's runtime was killed".to_owned(),
        },
    };
    Err(Stopped { kind, stdout, stderr })
}

/// Whether it is the image or the machine that keeps a container from starting, by the runtime's words.
fn not_started(words: &str) -> FailureKind {
    let detail: String = words.chars().take(WORDS_CHARS_MAX).collect();
    if is_about_the_program(words) {
        FailureKind::NotExecutable { detail }
    } else {
        FailureKind::Host { doing: "starting the container", detail }
    }
}

/// Whether everything but the image's own program was as it should be.
pub(super) fn is_about_the_program(words: &str) -> bool {
    let lower = words.to_lowercase();
    let signs = ["exec:", "exec format", "executable file", "executable `", "chdir to cwd"];
    signs.iter().any(|sign| lower.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_the_images_fault_and_a_missing_control_group_is_not() {
        let missing = r#"unable to start container process: exec: "/app": stat /app: no such file or directory"#;
        assert!(matches!(not_started(missing), FailureKind::NotExecutable { .. }));
        let machine = "unable to apply cgroup configuration: permission denied";
        assert!(matches!(not_started(machine), FailureKind::Host { .. }));
    }
}
