//! What an OCI runtime is told about one run: the bundle's `config.json`.

use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use primitives::UnixSeconds;
use serde_json::{Value, json};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::image::Image;
use super::seccomp;
use crate::contract::{IN, OUT};
use crate::failure::host;
use crate::run::Execution;
use crate::{Ear, FailureKind, Limits};

/// Open files of one container.
const FILES_MAX: u64 = 4_096;
/// Bytes of `/tmp` and of `/dev/shm` each; they count as memory too.
const TEMPORARY_BYTES: u64 = 256 << 20;
/// The slice of time in which a processor's share is counted, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Writes the bundle. It goes with what is given back, and with it everything that the environment says.
pub(super) fn make(
    bundles: &Path,
    id: &str,
    user: u32,
    image: &Image,
    execution: &Execution,
) -> Result<TempDir, FailureKind> {
    let command = image.command(&execution.args);
    if command.is_empty() {
        return Err(FailureKind::NotExecutable {
            detail: "the image names neither an entry point nor a command".to_owned(),
        });
    }
    let write = || -> io::Result<TempDir> {
        let bundle = tempfile::Builder::new().prefix("run-").tempdir_in(bundles)?;
        chown(&execution.output, Some(user), Some(user))?;
        let config = config(id, user, image, &command, execution);
        // The environment is in it, and may hold secrets.
        let config = Zeroizing::new(config.to_string());
        std::fs::write(bundle.path().join("config.json"), &*config)?;
        Ok(bundle)
    };
    write().map_err(host("preparing the container"))
}

/// A bundle with nothing in it that could be started.
pub(super) fn make_empty(bundles: &Path, id: &str, user: u32) -> io::Result<TempDir> {
    let bundle = tempfile::Builder::new().prefix("check-").tempdir_in(bundles)?;
    let image = Image::empty(bundle.path())?;
    let [inputs, output] = ["in", "out"].map(|name| bundle.path().join(name));
    std::fs::create_dir(&inputs)?;
    std::fs::create_dir(&output)?;
    let execution = Execution {
        program: PathBuf::new(),
        pin: None,
        args: vec![],
        env: vec![],
        inputs,
        ear: Ear::default(),
        output,
        seed: B256::ZERO,
        clock: UnixSeconds(0),
        limits: Limits::for_timeref(60),
    };
    let config = config(id, user, &image, &["/nothing".to_owned()], &execution);
    std::fs::write(bundle.path().join("config.json"), config.to_string())?;
    Ok(bundle)
}

fn config(id: &str, user: u32, image: &Image, command: &[String], execution: &Execution) -> Value {
    let limits = &execution.limits;
    let file_bytes = limits.output_bytes.saturating_add(1);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": user, "gid": user },
            "args": command,
            "env": environment(image, execution),
            "cwd": image.directory(),
            "capabilities": {
                "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": []
            },
            "rlimits": [
                { "type": "RLIMIT_NOFILE", "hard": FILES_MAX, "soft": FILES_MAX.min(1_024) },
                { "type": "RLIMIT_CORE", "hard": 0, "soft": 0 },
                // No single file can be much larger than all of them may be: a little, so that it shows.
                { "type": "RLIMIT_FSIZE", "hard": file_bytes, "soft": file_bytes },
            ],
            "noNewPrivileges": true,
        },
        "root": { "path": image.root(), "readonly": true },
        "hostname": "task",
        "mounts": mounts(execution),
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "mount" }, { "type": "cgroup" },
            ],
            "cgroupsPath": format!("/gristmill/{id}"),
            "resources": resources(execution),
            "seccomp": seccomp::profile(),
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    })
}

/// The image's, then the task's: what the protocol says wins.
fn environment(image: &Image, execution: &Execution) -> Vec<String> {
    let mut env: Vec<String> = Vec::new();
    let task = execution.env.iter().map(|(name, value)| format!("{name}={}", **value));
    for entry in [PATH.to_owned(), "HOME=/tmp".to_owned()]
        .into_iter()
        .chain(image.env().iter().cloned())
        .chain(task)
    {
        let name = entry.split_once('=').map_or(&*entry, |(name, _)| name);
        env.retain(|there| there.split_once('=').map_or(&**there, |(name, _)| name) != name);
        env.push(entry);
    }
    env
}

fn mounts(execution: &Execution) -> Value {
    let bind = |from: &Path, to: &str, mode: &str| {
        json!({
            "destination": to, "type": "bind", "source": from,
            "options": ["bind", mode, "nosuid", "nodev"],
        })
    };
    let temporary = |at: &str, mode: &str| {
        let size = format!("size={}", TEMPORARY_BYTES.min(execution.limits.output_bytes));
        json!({
            "destination": at, "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", mode, size],
        })
    };
    json!([
        {
            "destination": "/proc", "type": "proc", "source": "proc",
            "options": ["nosuid", "noexec", "nodev"],
        },
        {
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        temporary("/dev/shm", "mode=1777"),
        temporary("/tmp", "mode=1777"),
        bind(&execution.inputs, IN, "ro"),
        bind(&execution.output, OUT, "rw"),
    ])
}

fn resources(execution: &Execution) -> Value {
    let limits = &execution.limits;
    let memory = u64::try_from(limits.memory_bytes).unwrap_or(u64::MAX);
    let mut resources = json!({
        "devices": [{ "allow": false, "access": "rwm" }],
        "memory": { "limit": memory },
        "pids": { "limit": limits.processes },
        "cpu": {
            "period": CPU_PERIOD_US,
            "quota": u64::from(limits.cpu_millis).saturating_mul(CPU_PERIOD_US) / 1_000,
        },
    });
    if can_limit_swap() {
        // Memory and swap together: no swap.
        resources["memory"]["swap"] = json!(memory);
    }
    resources
}

/// Older kernels count swap only when they were started so.
fn can_limit_swap() -> bool {
    let v1 = Path::new("/sys/fs/cgroup/memory");
    !v1.exists() || v1.join("memory.memsw.limit_in_bytes").exists()
}
