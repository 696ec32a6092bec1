//! GPUs that containers may be given, as the machine's CDI specifications declare them.
//!
//! A vendor's tool writes what one of its devices needs into a file (`/etc/cdi/*.json`, `*.yaml`): device nodes, mounts
//! and variables, under the specification of the Container Device Interface, version 0.x and 1.x. Here the files are read,
//! the devices counted, and a run that asks for some is given whole ones that nobody else has.
//!
//! ```text
//!   /etc/cdi, /var/run/cdi ──► discover ──► Vec<Gpu> ──► Gpus (what is free) ──► Lease ──► Changes of one container
//! ```
//!
//! What it is not: it talks to no driver, and finds no device that no file names. A specification may also name hooks,
//! which are programs that would run on this machine as root: such devices are left out unless the operator allows them.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::FailureKind;

/// Where specifications are by the standard; what is found later stands above what was found earlier.
pub const CDI_DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// What the class of a device is called that counts here, as in `nvidia.com/gpu`.
const CLASS: &str = "gpu";
/// A specification is some kilobytes for each device.
const SPEC_BYTES_MAX: u64 = 4 << 20;
const SPECS_MAX: usize = 64;
/// No machine has more.
const GPUS_MAX: usize = 256;

/// Where to look, and how far the files are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cdi {
    /// Directories with specifications.
    pub dirs: Vec<PathBuf>,
    /// Whether the programs that a specification names may run on this machine.
    pub allow_hooks: bool,
}

impl Default for Cdi {
    /// The standard's directories, and no hooks.
    fn default() -> Self {
        Self { dirs: CDI_DIRS.map(PathBuf::from).to_vec(), allow_hooks: false }
    }
}

/// A GPU that a container can be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its full name, `nvidia.com/gpu=0`.
    pub name: String,
    changes: Changes,
}

impl Gpu {
    /// Who makes it, as the specification names it: `nvidia.com`.
    pub fn vendor(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }
}

/// The GPUs of this machine, by name. What cannot be used is told in the log, with the reason.
///
/// Several names of one device (its index, its UUID) count once, and a name for several (`all`) does not count.
pub fn discover(cdi: &Cdi) -> Vec<Gpu> {
    let mut named: Vec<Gpu> = Vec::new();
    for path in cdi.dirs.iter().flat_map(|dir| specs_in(dir)).take(SPECS_MAX) {
        match read(&path, cdi.allow_hooks) {
            Ok(gpus) => {
                named.retain(|known| gpus.iter().all(|gpu| gpu.name != known.name));
                named.extend(gpus);
            }
            Err(why) => tracing::warn!(path = %path.display(), %why, "no GPUs from this file"),
        }
    }
    let mut gpus: Vec<Gpu> = Vec::new();
    named.sort_by(|a, b| (a.nodes().len(), &a.name).cmp(&(b.nodes().len(), &b.name)));
    for gpu in named {
        // The smallest sets come first, so whatever holds another one is a name for more than one.
        let known = gpus.iter().any(|known| known.own_nodes(&gpu));
        if !known && gpus.len() < GPUS_MAX {
            gpus.push(gpu);
        }
    }
    gpus.sort_by(|a, b| a.name.cmp(&b.name));
    gpus
}

impl Gpu {
    fn nodes(&self) -> BTreeSet<&Path> {
        self.changes.own.iter().map(PathBuf::as_path).collect()
    }

    /// Whether the other one has all that is this one's own.
    fn own_nodes(&self, other: &Self) -> bool {
        self.nodes().is_subset(&other.nodes())
    }
}

/// What a container is given for a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) env: Vec<String>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) hooks: Vec<Hook>,
    /// Nodes of this device alone, without those that its whole kind shares.
    own: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    /// In the container.
    pub(crate) path: PathBuf,
    /// On this machine, where it is not the same.
    pub(crate) host_path: Option<PathBuf>,
    /// What may be done with it: of `rwm`.
    pub(crate) permissions: Option<String>,
}

impl Node {
    pub(crate) fn on_host(&self) -> &Path {
        self.host_path.as_deref().unwrap_or(&self.path)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mount {
    pub(crate) host_path: PathBuf,
    pub(crate) container_path: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hook {
    pub(crate) hook_name: String,
    pub(crate) path: PathBuf,
    #[serde(default)]
    pub(crate) args: Vec<String>,
    #[serde(default)]
    pub(crate) env: Vec<String>,
}

/// GPUs, and which of them are free.
#[derive(Debug, Clone)]
pub(crate) struct Gpus {
    turns: Arc<Semaphore>,
    free: Arc<Mutex<Vec<Gpu>>>,
    count: u32,
}

impl Gpus {
    pub(crate) fn new(gpus: Vec<Gpu>) -> Self {
        let count = u32::try_from(gpus.len()).unwrap_or(u32::MAX);
        Self {
            turns: Arc::new(Semaphore::new(gpus.len())),
            free: Arc::new(Mutex::new(gpus)),
            count,
        }
    }

    /// Waits until that many are free, and takes them.
    pub(crate) async fn lease(&self, wanted: u32) -> Result<Lease, FailureKind> {
        if wanted > self.count {
            return Err(FailureKind::NoGpu { wanted, here: self.count });
        }
        let turn = Arc::clone(&self.turns).acquire_many_owned(wanted).await;
        let turn = turn.map_err(|_| FailureKind::Cancelled)?;
        let mut free = self.free.lock();
        let first = free.len().saturating_sub(wanted as usize);
        let gpus = free.split_off(first);
        Ok(Lease { gpus, from: Arc::clone(&self.free), _turn: turn })
    }
}

/// GPUs that are one run's, until this goes.
pub(crate) struct Lease {
    gpus: Vec<Gpu>,
    from: Arc<Mutex<Vec<Gpu>>>,
    _turn: OwnedSemaphorePermit,
}

impl Lease {
    pub(crate) fn gpus(&self) -> &[Gpu] {
        &self.gpus
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Before the turn is given on.
        self.from.lock().append(&mut self.gpus);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.gpus.iter().map(|gpu| &gpu.name)).finish()
    }
}

/// A file by the standard.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    cdi_version: String,
    kind: String,
    #[serde(default)]
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Mount>,
    hooks: Vec<Hook>,
}

fn specs_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_spec = |path: &PathBuf| {
        path.extension().is_some_and(|it| it == "json" || it == "yaml" || it == "yml")
    };
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(is_spec).collect();
    found.sort();
    found
}

fn read(path: &Path, allow_hooks: bool) -> Result<Vec<Gpu>, String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SPEC_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    // JSON is YAML.
    let spec: Spec = serde_yaml_ng::from_str(&text).map_err(|error| error.to_string())?;
    let known = ["0.", "1."].iter().any(|version| spec.cdi_version.starts_with(version));
    if !known {
        return Err(format!("version {} is not known here", spec.cdi_version));
    }
    if spec.kind.split_once('/').is_none_or(|(_, class)| class != CLASS) {
        return Ok(vec![]);
    }
    let gpu = |device: Device| {
        let name = format!("{}={}", spec.kind, device.name);
        let own = device.container_edits.device_nodes.iter();
        let own = own.map(|node| node.on_host().to_owned()).collect();
        let changes = merged(own, device.container_edits, spec.container_edits.clone());
        match unusable(&changes, allow_hooks) {
            None => Some(Gpu { name, changes }),
            Some(why) => {
                tracing::warn!(name, why, "a GPU is not offered");
                None
            }
        }
    };
    Ok(spec.devices.into_iter().filter_map(gpu).collect())
}

fn merged(own: Vec<PathBuf>, device: Edits, all: Edits) -> Changes {
    let mut changes = Changes { own, ..Changes::default() };
    for edits in [all, device] {
        changes.env.extend(edits.env);
        changes.mounts.extend(edits.mounts);
        changes.hooks.extend(edits.hooks);
        for node in edits.device_nodes {
            changes.nodes.retain(|known| known.path != node.path);
            changes.nodes.push(node);
        }
    }
    changes
}

/// Why a device is not given to anybody. Files of the operator are trusted not to be malicious, and checked for mistakes.
fn unusable(changes: &Changes, allow_hooks: bool) -> Option<&'static str> {
    const RUNS: &str =
        "its specification runs programs on this machine; worker.cdi_hooks = true allows them";
    let reserved = |path: &Path| {
        path == Path::new("/")
            || ["/iexec_in", "/iexec_out", "/proc"].iter().any(|taken| path.starts_with(taken))
    };
    let climbs = |path: &Path| {
        !path.is_absolute() || path.components().any(|it| it == std::path::Component::ParentDir)
    };
    if !allow_hooks && !changes.hooks.is_empty() {
        return Some(RUNS);
    }
    if changes.own.is_empty() {
        return Some("it has no device node of its own");
    }
    let inside = changes.nodes.iter().map(|node| &node.path);
    let mut inside = inside.chain(changes.mounts.iter().map(|mount| &mount.container_path));
    if inside.any(|path| climbs(path) || reserved(path)) {
        return Some("it would be put where containers have something else");
    }
    if changes.nodes.iter().any(|node| !node.path.starts_with("/dev")) {
        return Some("one of its device nodes is not below /dev");
    }
    let missing = changes.nodes.iter().any(|node| !node.on_host().exists())
        || changes.mounts.iter().any(|mount| !mount.host_path.exists());
    missing.then_some("something that it names is not on this machine")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(specs: &[(&str, &str)], allow_hooks: bool, want: &Expect) {
        let dir = tempfile::tempdir().unwrap();
        for (name, spec) in specs {
            std::fs::write(dir.path().join(name), spec).unwrap();
        }
        let cdi = Cdi { dirs: vec![dir.path().to_owned(), "/nowhere".into()], allow_hooks };
        let gpus = discover(&cdi);
        let shown = gpus.iter().map(|gpu| {
            let nodes: Vec<_> =
                gpu.changes.nodes.iter().map(|node| node.path.display().to_string()).collect();
            format!("{} of {}: {}", gpu.name, gpu.vendor(), nodes.join(" "))
        });
        want.assert_eq(&shown.collect::<Vec<_>>().join("\n"));
    }

    const TWO: &str = r#"
cdiVersion: 0.6.0
kind: acme.example/gpu
devices:
- name: "0"
  containerEdits: { deviceNodes: [{ path: /dev/null }] }
- name: "1"
  containerEdits: { deviceNodes: [{ path: /dev/zero }] }
- name: GPU-2b0c
  containerEdits: { deviceNodes: [{ path: /dev/zero }] }
- name: all
  containerEdits:
    deviceNodes:
    - path: /dev/null
    - path: /dev/zero
containerEdits:
  deviceNodes:
  - path: /dev/acme-control
    hostPath: /dev/full
"#;

    #[test]
    fn each_device_counts_once_under_whatever_names() {
        check(
            &[("acme.yaml", TWO)],
            false,
            &expect![[r#"
                acme.example/gpu=0 of acme.example: /dev/acme-control /dev/null
                acme.example/gpu=1 of acme.example: /dev/acme-control /dev/zero"#]],
        );
    }

    #[test]
    fn what_is_no_gpu_or_cannot_be_used_is_left_out() {
        let spec = |kind: &str, edits: &str| {
            format!(
                r#"{{"cdiVersion":"1.0.0","kind":"{kind}","devices":[{{"name":"x","containerEdits":{edits}}}]}}"#
            )
        };
        let null = r#"{"deviceNodes":[{"path":"/dev/null"}]}"#;
        let files = [
            ("a.json", spec("acme.example/net", null)),
            ("b.json", spec("b.example/gpu", r#"{"deviceNodes":[{"path":"/dev/no-such"}]}"#)),
            ("c.json", spec("c.example/gpu", r#"{"deviceNodes":[{"path":"/etc/passwd"}]}"#)),
            ("d.json", spec("d.example/gpu", r#"{"env":["A=B"]}"#)),
            ("e.json", "{}".to_owned()),
            ("f.json", "cdiVersion: [".to_owned()),
            ("g.txt", spec("g.example/gpu", null)),
            ("h.json", spec("h.example/gpu", r#"{"deviceNodes":[{"path":"/dev/../etc/x"}]}"#)),
        ];
        let files: Vec<_> = files.iter().map(|(name, spec)| (*name, &**spec)).collect();
        check(&files, false, &expect![""]);
    }

    #[test]
    fn programs_of_a_specification_run_only_where_that_is_allowed() {
        let spec = r#"{"cdiVersion":"0.5.0","kind":"n.example/gpu","devices":[{"name":"0","containerEdits":{
            "deviceNodes":[{"path":"/dev/null"}],
            "hooks":[{"hookName":"createContainer","path":"/bin/true","args":["true"]}]}}]}"#;
        check(&[("n.json", spec)], false, &expect![""]);
        check(&[("n.json", spec)], true, &expect!["n.example/gpu=0 of n.example: /dev/null"]);
    }

    #[tokio::test]
    async fn a_gpu_is_one_runs_at_a_time() {
        let gpu = |name: &str| Gpu { name: name.to_owned(), changes: Changes::default() };
        let gpus = Gpus::new(vec![gpu("a"), gpu("b")]);
        assert_eq!(gpus.lease(3).await.unwrap_err(), FailureKind::NoGpu { wanted: 3, here: 2 });
        let one = gpus.lease(1).await.unwrap();
        assert_eq!(one.gpus().len(), 1);
        let mut both = tokio::spawn(async move { gpus.lease(2).await.map(|it| it.gpus().len()) });
        let pending = tokio::select! {
            biased;
            _ = &mut both => false,
            () = std::future::ready(()) => true,
        };
        assert!(pending, "one of them is somebody else's");
        drop(one);
        assert_eq!(both.await.unwrap(), Ok(2));
    }
}
