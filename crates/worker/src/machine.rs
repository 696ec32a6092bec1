//! The machine that a worker is on: what it has, and how busy others keep it. Read from the system, as far as it tells.
//!
//! What to make of it is for `idle` to decide, and for the operator, who may set every number.

use std::path::{Path, PathBuf};

use alloy_primitives::{Address, hex};
use primitives::{CategoryId, Nrlc};
use sha2::{Digest, Sha256};
use wire::link::NetworkGrant;

use crate::idle::Policy;

/// What of its machine a worker offers, and to whom.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Programs that may compute at once; all processors without.
    pub cpus: Option<usize>,
    /// Memory for programs; three quarters of the machine's without.
    pub memory_bytes: Option<u64>,
    /// Disk for programs, inputs and results; what is free at the start without.
    pub disk_bytes: Option<u64>,
    /// The names of the GPUs that its sandbox may give to programs.
    pub gpus: Vec<String>,
    /// Where it is, in its operator's words.
    pub region: Option<String>,
    /// The machine's name to the scheduler, so that it does not ask the same machine twice; made of the machine's id
    /// without.
    pub host: Option<String>,
    /// Whom the worker belongs to, if it says so.
    pub owner: Option<Address>,
    /// The least that it works for, per task.
    pub price_floor: Nrlc,
    /// Whether it gives way to its owner, and to what.
    pub when_idle: Option<WhenIdle>,
    /// Whose containers have the network that its sandbox may give them.
    pub networked: Networked,
}

/// Whose containers have a network: nobody's, unless the provider names them. No field of the protocol asks for one, so
/// requesters and app owners agree with the provider elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networked {
    /// Of these apps.
    pub apps: Vec<Address>,
    /// Of these categories.
    pub categories: Vec<CategoryId>,
}

impl Networked {
    /// Whether tasks of that app in that category are among them.
    pub(crate) fn has(&self, app: Address, category: CategoryId) -> bool {
        self.apps.contains(&app) || self.categories.contains(&category)
    }

    /// As the scheduler is told, and by it whoever asks before paying.
    pub(crate) fn told(&self) -> NetworkGrant {
        let categories = self.categories.iter().map(|it| it.0.saturating_to()).collect();
        NetworkGrant { apps: self.apps.clone(), categories }
    }
}

/// How a worker gives way.
#[derive(Debug, Clone, Default)]
pub struct WhenIdle {
    /// What counts as use by others.
    pub policy: Policy,
    /// A file with the use by others in per cent, for an owner who knows better than the processors do; they are asked
    /// without, or while it cannot be read.
    pub file: Option<PathBuf>,
}

impl Machine {
    /// Programs that may compute at once.
    pub(crate) fn cpus(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        self.cpus.unwrap_or_else(all).max(1)
    }

    /// Memory for programs: what the operator says, or three quarters of what there is.
    pub(crate) fn memory_bytes(&self, least: u64) -> u64 {
        let found = || memory().map(|bytes| bytes / 4 * 3);
        // A machine that does not say is believed to have enough for what its processors can compute.
        let enough = least.saturating_mul(self.cpus() as u64);
        self.memory_bytes.or_else(found).unwrap_or(enough).max(least)
    }

    /// Disk for a worker in that directory; 0 where nobody knows.
    pub(crate) fn disk_bytes(&self, dir: &Path) -> u64 {
        self.disk_bytes.or_else(|| free_disk(dir)).unwrap_or(0)
    }

    /// The machine's name: the same for all workers on it, and telling nobody which machine it is.
    pub(crate) fn host(&self) -> Option<String> {
        self.host.clone().or_else(|| {
            let id = std::fs::read_to_string("/etc/machine-id").ok()?;
            let id = id.trim();
            if id.is_empty() {
                return None;
            }
            let mut hash = Sha256::new();
            hash.update(b"gristmill host ");
            hash.update(id);
            Some(hex::encode(&hash.finalize()[..8]))
        })
    }
}

/// All memory that this process may have: of the machine, or of its control group if that is less.
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|limit| limit.trim().parse().ok()).unwrap_or(u64::MAX);
    Some(kib.saturating_mul(1024).min(limit))
}

#[cfg(unix)]
fn free_disk(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free_disk(_: &Path) -> Option<u64> {
    None
}

/// Looks at the machine again and again.
#[derive(Debug)]
pub(crate) struct Gauge {
    file: Option<PathBuf>,
    last: Option<Ticks>,
}

/// Processor time since the machine was started, in the system's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    all: u64,
    busy: u64,
    /// Of the busy ones, the worker's own and its programs'.
    own: u64,
}

impl Gauge {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self { file, last: None }
    }

    /// What others have used of all processors since the last look, in per cent; nothing where nobody knows.
    pub(crate) fn look(&mut self) -> Option<u32> {
        let told = self.file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        if let Some(percent) = told.and_then(|text| text.trim().parse::<f64>().ok()) {
            // Out of range is as much as there can be, either way.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped"
            )]
            return Some(percent.clamp(0.0, 100.0) as u32);
        }
        let now = ticks()?;
        let before = self.last.replace(now)?;
        Some(used_by_others(before, now))
    }
}

fn used_by_others(before: Ticks, now: Ticks) -> u32 {
    let all = now.all.saturating_sub(before.all);
    let busy = now.busy.saturating_sub(before.busy);
    let own = now.own.saturating_sub(before.own);
    let percent = busy.saturating_sub(own).saturating_mul(100).checked_div(all).unwrap_or(0);
    u32::try_from(percent.min(100)).unwrap_or(100)
}

fn ticks() -> Option<Ticks> {
    let (all, busy) = all_and_busy(&std::fs::read_to_string("/proc/stat").ok()?)?;
    let own = own_ticks(&std::fs::read_to_string("/proc/self/stat").ok()?)?;
    // Containers are not this process's children to the end; their group counts for them, in microseconds.
    let group = std::fs::read_to_string("/sys/fs/cgroup/gristmill/cpu.stat").unwrap_or_default();
    let group = group.lines().find_map(|line| line.strip_prefix("usage_usec "));
    let micros: u64 = group.and_then(|usage| usage.trim().parse().ok()).unwrap_or(0);
    Some(Ticks { all, busy, own: own.saturating_add(micros / MICROS_PER_TICK) })
}

/// The system counts in hundredths of a second.
const MICROS_PER_TICK: u64 = 10_000;

/// From the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal. What runs only when nobody
/// else wants the processor (nice) is nobody's use of the machine.
fn all_and_busy(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = line.split_whitespace().map_while(|it| it.parse().ok()).collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = numbers[..] else {
        return None;
    };
    let busy = user + system + irq + softirq;
    Some((busy + nice + idle + iowait + steal, busy))
}

/// From `/proc/self/stat`: what this process and those children of it that have ended used.
fn own_ticks(stat: &str) -> Option<u64> {
    // The name is in brackets and may hold anything.
    let after = stat.rsplit_once(')')?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(number(11)? + number(12)? + number(13)? + number(14)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_only_for_those_who_are_named() {
        let [named, other] = [1, 2].map(Address::repeat_byte);
        let [long, short] = [3, 0].map(CategoryId::new);
        let networked = Networked { apps: vec![named], categories: vec![long] };
        let has = |app, category| networked.has(app, category);
        assert!(has(named, short) && has(other, long) && has(named, long));
        assert!(!has(other, short));
        assert!(!Networked::default().has(named, long));
    }

    #[test]
    fn what_others_use_is_what_is_busy_and_not_ours() {
        let before = Ticks { all: 1_000, busy: 100, own: 50 };
        let check = |all: u64, busy: u64, own: u64, percent| {
            let now = Ticks { all: 1_000 + all, busy: 100 + busy, own: 50 + own };
            assert_eq!(used_by_others(before, now), percent);
        };
        check(200, 100, 0, 50);
        check(200, 100, 100, 0);
        check(200, 100, 130, 0);
        check(0, 0, 0, 0);
    }

    #[test]
    fn the_systems_tables_are_read() {
        let stat = "cpu  10 20 30 400 5 1 2 3 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(all_and_busy(stat), Some((471, 43)));
        assert_eq!(all_and_busy("intr 1 2"), None);
        let own = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 1";
        assert_eq!(own_ticks(own), Some(127));
    }

    #[test]
    fn an_owner_who_says_so_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("load");
        let mut gauge = Gauge::new(Some(file.clone()));
        for (text, percent) in [("80\n", 80), ("12.7", 12), ("900", 100), ("-3", 0)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(gauge.look(), Some(percent), "{text}");
        }
    }

    #[test]
    fn a_machine_has_at_least_what_one_task_needs() {
        let machine = Machine { memory_bytes: Some(1), ..Machine::default() };
        assert_eq!(machine.memory_bytes(512), 512);
        assert!(Machine::default().memory_bytes(512) >= 512);
    }
}
