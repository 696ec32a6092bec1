//! What an OCI runtime is told about one run: the bundle's `config.json`.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use primitives::UnixSeconds;
use serde_json::{Value, json};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::ids::{Ids, Shown, Stage};
use super::image::Image;
use super::layers::RESOLVER;
use super::seccomp;
use super::user::User;
use crate::contract::{IN, OUT};
use crate::failure::host;
use crate::gpu::{Gpu, Node};
use crate::run::Execution;
use crate::{Ear, FailureKind, Limits, Network};

/// Open files of one container.
const FILES_MAX: u64 = 4_096;
/// Of all arguments together: a kernel takes little more of one.
const ARGUMENT_BYTES_MAX: usize = 96 << 10;
/// The slice of time in which a processor's share is counted, in microseconds.
pub(super) const CPU_PERIOD_US: u64 = 100_000;
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whom a container runs as, and where its root is.
#[derive(Debug)]
pub(super) struct Lodging {
    ids: Ids,
    /// Whom the image names.
    user: User,
    root: PathBuf,
    /// Where it has a user namespace of its own.
    shown: Option<Shown>,
}

impl Lodging {
    /// In a namespace if there is a stage to show the image on.
    pub(super) fn new(
        ids: Ids,
        user: User,
        image: &Image,
        stage: Option<&Stage>,
        name: &str,
    ) -> io::Result<Self> {
        let shown = stage.map(|stage| stage.show(&image.root(), name)).transpose()?;
        let root = shown.as_ref().map_or_else(|| image.root(), |shown| shown.at().to_owned());
        Ok(Self { ids, user, root, shown })
    }

    fn has_namespace(&self) -> bool {
        self.shown.is_some()
    }

    /// The program's ids as it sees them: without a namespace those of the image are somebody's on this machine.
    fn user(&self) -> Value {
        if self.has_namespace() {
            let User { uid, gid, groups } = &self.user;
            json!({ "uid": uid, "gid": gid, "additionalGids": groups })
        } else {
            json!({ "uid": self.ids.first, "gid": self.ids.first })
        }
    }

    /// Whose its output is on this machine.
    fn owner(&self) -> (u32, u32) {
        let first = self.ids.first;
        if self.has_namespace() {
            (first + self.user.uid, first + self.user.gid)
        } else {
            (first, first)
        }
    }

    /// Puts the user namespace into a configuration.
    fn put_into(&self, config: &mut Value) {
        if !self.has_namespace() {
            return;
        }
        let linux = &mut config["linux"];
        linux["uidMappings"] = self.ids.mapping();
        linux["gidMappings"] = self.ids.mapping();
        if let Some(namespaces) = linux["namespaces"].as_array_mut() {
            namespaces.push(json!({ "type": "user" }));
        }
    }
}

/// Writes the bundle. It goes with what is given back, and with it everything that the environment says.
pub(super) fn make(
    bundles: &Path,
    id: &str,
    lodging: &Lodging,
    image: &Image,
    network: Option<&Network>,
    execution: &Execution,
) -> Result<TempDir, FailureKind> {
    let command = command(image, execution)?;
    let gpus = Given::of(&execution.gpus, lodging);
    let gpus = gpus.map_err(host("giving a GPU to the container"))?;
    let write = || -> io::Result<TempDir> {
        let bundle = tempfile::Builder::new().prefix("run-").tempdir_in(bundles)?;
        let (uid, gid) = lodging.owner();
        chown(&execution.output, Some(uid), Some(gid))?;
        let mut config = config(id, lodging, image, &command, execution);
        gpus.put_into(&mut config);
        if let Some(network) = network {
            join(network, &mut config, image);
        }
        // The environment is in it, and may hold secrets.
        let config = Zeroizing::new(config.to_string());
        std::fs::write(bundle.path().join("config.json"), &*config)?;
        Ok(bundle)
    };
    write().map_err(host("preparing the container"))
}

/// What to start.
pub(super) fn command(image: &Image, execution: &Execution) -> Result<Vec<String>, FailureKind> {
    check_arguments(&execution.args)?;
    let command = image.command(&execution.args);
    if command.is_empty() {
        return Err(FailureKind::NotExecutable {
            detail: "the image names neither an entry point nor a command".to_owned(),
        });
    }
    Ok(command)
}

/// Whether a kernel takes them.
fn check_arguments(args: &[String]) -> Result<(), FailureKind> {
    let bytes: usize = args.iter().map(String::len).sum();
    let detail = if args.iter().any(|arg| arg.contains('\0')) {
        "one of them has a zero byte".to_owned()
    } else if bytes > ARGUMENT_BYTES_MAX {
        format!("they have {bytes} bytes; at most {ARGUMENT_BYTES_MAX} reach a program")
    } else {
        return Ok(());
    };
    Err(FailureKind::BadArguments { detail })
}

/// What a run with nothing in it that could be started is made of.
pub(super) struct Empty {
    pub(super) dir: TempDir,
    pub(super) image: Image,
    pub(super) execution: Execution,
}

/// A place with nothing in it that could be started.
pub(super) fn empty(bundles: &Path) -> io::Result<Empty> {
    let dir = tempfile::Builder::new().prefix("check-").tempdir_in(bundles)?;
    let image = Image::empty(dir.path())?;
    let [inputs, output] = ["in", "out"].map(|name| dir.path().join(name));
    std::fs::create_dir(&inputs)?;
    std::fs::create_dir(&output)?;
    let execution = Execution {
        program: PathBuf::new(),
        pin: None,
        args: vec![],
        env: vec![],
        inputs,
        output,
        seed: B256::ZERO,
        clock: UnixSeconds(0),
        limits: Limits::for_timeref(60),
        gpus: vec![],
        ear: Ear::default(),
    };
    Ok(Empty { dir, image, execution })
}

/// Makes a bundle of a place with nothing in it that could be started.
pub(super) fn write_empty(empty: &Empty, id: &str, lodging: &Lodging) -> io::Result<()> {
    let Empty { dir, image, execution } = empty;
    let config = config(id, lodging, image, &["/nothing".to_owned()], execution);
    std::fs::write(dir.path().join("config.json"), config.to_string())
}

/// Whether a user without any rights may use them, and they need nothing in the image that only this machine's root can put
/// there: neither places for files of their own nor programs that make some.
pub(super) fn are_open_to_all(gpus: &[Gpu]) -> bool {
    let open = |node: &Node| {
        std::fs::metadata(node.on_host()).is_ok_and(|meta| meta.mode() & 0o006 == 0o006)
    };
    let mut changes = gpus.iter().map(Gpu::changes);
    changes.all(|it| it.hooks.is_empty() && it.mounts.is_empty() && it.nodes.iter().all(open))
}

/// Puts a container into a network.
fn join(network: &Network, config: &mut Value, image: &Image) {
    let namespaces = config.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut);
    for namespace in namespaces.into_iter().flatten() {
        if namespace["type"] == "network" {
            namespace["path"] = json!(network.namespace());
        }
    }
    let resolver = network.resolver().filter(|_| image.has_resolver());
    if let (Some(file), Some(mounts)) = (resolver, config["mounts"].as_array_mut()) {
        mounts.push(bind(&file, RESOLVER, "ro"));
    }
}

/// The processor time of each period.
pub(super) fn cpu_quota_us(limits: &Limits) -> u64 {
    u64::from(limits.cpu_millis).saturating_mul(CPU_PERIOD_US) / 1_000
}

fn config(
    id: &str,
    lodging: &Lodging,
    image: &Image,
    command: &[String],
    execution: &Execution,
) -> Value {
    let limits = &execution.limits;
    let file_bytes = limits.output_bytes.saturating_add(1);
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": lodging.user(),
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
        "root": { "path": &lodging.root, "readonly": true },
        "hostname": "task",
        "mounts": mounts(execution),
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "mount" }, { "type": "cgroup" },
            ],
            "cgroupsPath": format!("/gristmill/{id}"),
            "devices": [],
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
    });
    lodging.put_into(&mut config);
    config
}

/// What the GPUs of a run change in its configuration.
#[derive(Default)]
struct Given {
    env: Vec<Value>,
    devices: Vec<Value>,
    allowed: Vec<Value>,
    mounts: Vec<Value>,
    hooks: BTreeMap<String, Vec<Value>>,
}

impl Given {
    fn of(gpus: &[Gpu], lodging: &Lodging) -> io::Result<Self> {
        let mut given = Self::default();
        for changes in gpus.iter().map(Gpu::changes) {
            for node in &changes.nodes {
                given.device(node, lodging)?;
            }
            given.env.extend(changes.env.iter().map(|it| json!(it)));
            given.mounts.extend(changes.mounts.iter().map(|mount| {
                json!({
                    "destination": mount.container_path, "type": "bind", "source": mount.host_path,
                    "options": ["rbind", "ro", "nosuid", "nodev"],
                })
            }));
            for hook in &changes.hooks {
                let entry = json!({ "path": hook.path, "args": hook.args, "env": hook.env });
                given.hooks.entry(hook.hook_name.clone()).or_default().push(entry);
            }
        }
        Ok(given)
    }

    /// The node belongs to the container's user, whoever may use it on this machine; in a user namespace, where nobody makes
    /// nodes, it is the machine's own.
    fn device(&mut self, node: &Node, lodging: &Lodging) -> io::Result<()> {
        let meta = std::fs::metadata(node.on_host())?;
        let is_block = meta.file_type().is_block_device();
        if !is_block && !meta.file_type().is_char_device() {
            let what = format!("{} is no device", node.on_host().display());
            return Err(io::Error::other(what));
        }
        let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        let kind = if is_block { "b" } else { "c" };
        if lodging.has_namespace() {
            self.mounts.push(json!({
                "destination": node.path, "type": "bind", "source": node.on_host(),
                "options": ["bind", "rw", "nosuid", "noexec"],
            }));
        } else {
            let (uid, gid) = lodging.owner();
            self.devices.push(json!({
                "path": node.path, "type": kind, "major": major, "minor": minor,
                "fileMode": 0o660, "uid": uid, "gid": gid,
            }));
        }
        self.allowed.push(json!({
            "allow": true, "type": kind, "major": major, "minor": minor,
            "access": node.permissions.as_deref().unwrap_or("rwm"),
        }));
        Ok(())
    }

    fn put_into(self, config: &mut Value) {
        let mut add = |at: &str, mut what: Vec<Value>| {
            if let Some(list) = config.pointer_mut(at).and_then(Value::as_array_mut) {
                list.append(&mut what);
            }
        };
        add("/process/env", self.env);
        add("/mounts", self.mounts);
        add("/linux/devices", self.devices);
        add("/linux/resources/devices", self.allowed);
        if !self.hooks.is_empty() {
            config["hooks"] = json!(self.hooks);
        }
    }
}

/// The image's, then the task's: what the protocol says wins.
pub(super) fn environment(image: &Image, execution: &Execution) -> Vec<String> {
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
    let temporary = |at: &str, mode: &str| {
        let size = format!("size={}", execution.limits.temporary_bytes());
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

fn bind(from: &Path, to: &str, mode: &str) -> Value {
    json!({
        "destination": to, "type": "bind", "source": from,
        "options": ["bind", mode, "nosuid", "nodev"],
    })
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
            "quota": cpu_quota_us(limits),
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
