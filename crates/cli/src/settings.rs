//! Settings of the services that run apart: what is in force, and where each value came from.
//!
//! Four layers, the later the stronger: built-in defaults, `gristmill.toml`, the environment, `--set key=value`. Every key
//! is in one table here, so an unknown one is an error that names its neighbours, and `gristmill config show` can tell
//! about all of them. Values are text until somebody asks for them as something.
//!
//! Not here: flags of the verbs for people (`args`), and secrets. Settings name the *files* that hold keys.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Not as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::failure::{Exit, Failure, OrFail};

/// The file that is read when none is named.
pub const FILE: &str = "gristmill.toml";
/// The most elements of a list.
const LIST_MAX: usize = 64;

/// A key that exists: its name, its default, and what it is for.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `section.name`.
    pub name: &'static str,
    /// Its value when nobody says anything.
    pub default: Option<&'static str>,
    /// What it is for.
    pub about: &'static str,
}

const fn key(name: &'static str, default: Option<&'static str>, about: &'static str) -> Key {
    Key { name, default, about }
}

/// All keys but those in lists.
pub const KEYS: &[Key] = &[
    key(
        "market.rpc",
        None,
        "where the chain answers JSON-RPC: ws:// is pushed to, http:// is asked again and again",
    ),
    key("market.hub", None, "the hub contract's address"),
    key("market.orderbook", None, "where the order book answers"),
    key("market.gateway", None, "where inputs and results are stored (IPFS add and gateway)"),
    key("market.sms", None, "where the secret management service answers"),
    key(
        "market.start_block",
        Some("0"),
        "the block before the market's first; saves time on an old chain",
    ),
    key("chain.host", Some("127.0.0.1"), "where the embedded chain listens"),
    key("chain.port", Some("8545"), "0 takes a free one"),
    key("chain.id", Some("31337"), "the embedded chain's id"),
    key("chain.data_dir", None, "where it is kept; nowhere without"),
    key("chain.block_time_ms", None, "time between blocks; made on demand without"),
    key("orderbook.host", Some("127.0.0.1"), "where it listens"),
    key("orderbook.port", Some("3000"), "0 takes a free one"),
    key("orderbook.data_dir", None, "where the book is kept; nowhere without"),
    key("gateway.host", Some("127.0.0.1"), "where it listens"),
    key("gateway.port", Some("8080"), "0 takes a free one"),
    key("gateway.data_dir", None, "where inputs and results are kept"),
    key(
        "blobs.keep_results_days",
        Some("30"),
        "how long a result stays after its deal can no longer be open",
    ),
    key(
        "blobs.keep_inputs_days",
        Some("30"),
        "how long a file stays that no deal and no open order needs, after it was last added",
    ),
    key("blobs.sweep_seconds", Some("3600"), "how often what nobody needs is looked for"),
    key("blobs.max_bytes", None, "the most that inputs and results take; as much as fits without"),
    key("scheduler.host", Some("127.0.0.1"), "where it listens, for workers and for requesters"),
    key("scheduler.port", Some("13000"), "0 takes a free one"),
    key(
        "scheduler.data_dir",
        None,
        "where it keeps how far it followed the chain; nowhere without",
    ),
    key("scheduler.logs_days", Some("3"), "how long what programs printed is kept"),
    key("scheduler.logs_mb", Some("256"), "how much of it is kept at most, in MiB"),
    key("scheduler.workerpool", None, "the workerpool's address"),
    key(
        "scheduler.key_file",
        None,
        "a file with the pool owner's private key, as 64 hexadecimal digits",
    ),
    key(
        "scheduler.canary_rate",
        Some("0.05"),
        "the least share of tasks of one worker that a second worker confirms unknown to either; newcomers' more often; 0 is never",
    ),
    key("worker.scheduler", None, "where the scheduler answers"),
    key("worker.workerpool", None, "the workerpool to work for"),
    key("worker.key_file", None, "a file with the worker's private key, as 64 hexadecimal digits"),
    key(
        "worker.data_dir",
        None,
        "programs, inputs, results and the journal; lost at the end without",
    ),
    key("worker.slots", None, "tasks in hand at once; four for each of worker.cpus without"),
    key("worker.cpus", None, "programs computing at once; all cores without"),
    key(
        "worker.memory_mb",
        None,
        "memory for programs, in MiB; three quarters of the machine's without",
    ),
    key(
        "worker.disk_mb",
        None,
        "disk for programs, inputs and results, in MiB; what is free at the start without",
    ),
    key(
        "worker.gpus",
        Some("true"),
        "whether programs may be given the GPUs that the machine's CDI files name",
    ),
    key("worker.cdi_dir", None, "where those files are; /etc/cdi and /var/run/cdi without"),
    key(
        "worker.cdi_hooks",
        Some("false"),
        "whether programs that those files name may run on this machine",
    ),
    key("worker.region", None, "where the worker is, in its operator's words: eu-west"),
    key(
        "worker.host",
        None,
        "the machine's name to the scheduler, which spreads replicas over machines; made of its id without",
    ),
    key(
        "worker.owner",
        None,
        "an address that all workers of one owner name: they never check each other",
    ),
    key("worker.price_floor", None, "the least to work for, per task, like 0.01RLC"),
    key(
        "worker.when_idle",
        Some("false"),
        "whether the worker pauses while others use the machine",
    ),
    key(
        "worker.idle_percent",
        Some("25"),
        "so much of all cores used by others is use, in per cent",
    ),
    key(
        "worker.idle_calm_seconds",
        Some("60"),
        "how long it must be calm before tasks are taken again",
    ),
    key(
        "worker.idle_patience_seconds",
        Some("30"),
        "how long it must be busy before unfinished tasks are handed back",
    ),
    key(
        "worker.idle_file",
        None,
        "a file with the use by others in per cent, instead of what the system says",
    ),
    key(
        "worker.drain_seconds",
        Some("30"),
        "how long tasks in hand may take to be finished when the worker is asked to end",
    ),
    key(
        "worker.containers",
        Some("auto"),
        "what runs images: oci (runc or crun, as root), docker (a Docker or Podman daemon), auto (the first that works), off",
    ),
    key(
        "worker.local_images",
        Some("false"),
        "whether apps may name images that this machine's Docker or Podman has: whoever does can run them",
    ),
    key(
        "worker.network",
        None,
        "the network that some containers have: a namespace made by ip netns add, or a daemon's network",
    ),
    key("worker.network_apps", None, "the apps whose containers have it: 0x…, 0x…"),
    key("worker.network_categories", None, "the categories whose containers have it: 3, 4"),
    key("worker.docker_socket", None, "where the daemon listens; one of the usual places without"),
    key(
        "worker.simulate_tee",
        Some("false"),
        "whether tasks that demand trusted execution run in a software enclave, which protects nothing",
    ),
    key("compass.host", Some("127.0.0.1"), "where it listens"),
    key("compass.port", Some("8069"), "0 takes a free one"),
    key("vault.host", Some("127.0.0.1"), "where it listens"),
    key("vault.port", Some("13300"), "0 takes a free one"),
    key("vault.data_dir", None, "where sealed secrets are kept"),
    key(
        "vault.key",
        None,
        "the storage key: file:<path>, env:<variable> or command:<program and arguments>; a file in the data directory without",
    ),
    key(
        "vault.older_key",
        None,
        "the storage key before this one: what it sealed is sealed anew at the start",
    ),
    key(
        "vault.admin_key_file",
        None,
        "a file with what the operator gives as X-API-KEY to make backups; none are made without",
    ),
    key("vault.backup_dir", None, "where backups are kept; in the data directory without"),
    key(
        "vault.simulate_tee",
        Some("false"),
        "whether secrets are given to software enclaves, which protect nothing",
    ),
    key(
        "vault.simulate_tee_in_public",
        Some("false"),
        "the same where others than this machine can ask",
    ),
    key("worker.allow_private", Some("false"), "whether inputs may come from private networks"),
];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// `--set`.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Flag => f.write_str("--set"),
        }
    }
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<String, (String, Source)>,
}

impl Settings {
    /// Reads all layers. Without a `file`, [`FILE`] is read if there is one.
    ///
    /// # Errors
    /// GM-5015 the file cannot be read or a key is unknown.
    pub fn load(file: Option<&Path>, set: &[String]) -> Result<Self, Failure> {
        let text = match file {
            Some(path) => Some((path.to_path_buf(), read(path)?)),
            None => Path::new(FILE)
                .exists()
                .then(|| Ok((PathBuf::from(FILE), read(Path::new(FILE))?)))
                .transpose()?,
        };
        for (name, _) in std::env::vars_os() {
            known_variable(&name.to_string_lossy())?;
        }
        Self::layered(text, |name| std::env::var(name).ok(), set)
    }

    fn layered(
        file: Option<(PathBuf, String)>,
        environment: impl Fn(&str) -> Option<String>,
        set: &[String],
    ) -> Result<Self, Failure> {
        let mut values = BTreeMap::new();
        for key in KEYS {
            if let Some(value) = key.default {
                values.insert(key.name.to_owned(), (value.to_owned(), Source::Default));
            }
        }
        if let Some((path, text)) = file {
            let table: toml::Table = text.parse().or_fail(
                "GM-5015",
                Exit::Usage,
                &format!("{} is not TOML", path.display()),
            )?;
            let mut found = Vec::new();
            flatten("", toml::Value::Table(table), &mut found);
            for (name, value) in found {
                known(&name, &path.display().to_string())?;
                values.insert(name, (value, Source::File(path.clone())));
            }
        }
        for key in KEYS {
            let variable = variable_of(key.name);
            if let Some(value) = environment(&variable) {
                values.insert(key.name.to_owned(), (value, Source::Environment(variable)));
            }
        }
        for one in set {
            let Some((name, value)) = one.split_once('=') else {
                return Err(Failure::new(
                    "GM-5015",
                    Exit::Usage,
                    format!("--set {one} sets nothing"),
                )
                .fix("--set worker.slots=4"));
            };
            known(name, "--set")?;
            values.insert(name.to_owned(), (value.to_owned(), Source::Flag));
        }
        Ok(Self { values })
    }

    /// A value, if there is one.
    ///
    /// # Errors
    /// GM-5015 it is not what it must be.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure>
    where
        T::Err: fmt::Display,
    {
        let Some((text, source)) = self.values.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|error: T::Err| {
            Failure::new("GM-5015", Exit::Usage, format!("{name} = \"{text}\" makes no sense"))
                .because(error)
                .fix(format!("it was set by {source}: {}", about(name)))
        })
    }

    /// A value that must be there.
    ///
    /// # Errors
    /// GM-5016 it is not; GM-5015 it is not what it must be.
    pub fn need<T: FromStr>(&self, name: &str) -> Result<T, Failure>
    where
        T::Err: fmt::Display,
    {
        self.get(name)?.ok_or_else(|| {
            let (section, rest) = name.split_once('.').unwrap_or(("", name));
            Failure::new("GM-5016", Exit::Usage, format!("{name} is not set"))
                .because(about(name))
                .fix(format!(
                    "in {FILE}: [{section}] {rest} = …; or ${}; or --set {name}=…",
                    variable_of(name)
                ))
        })
    }

    /// How many elements a list has: `scheduler.offers.0` and so on.
    pub fn count(&self, list: &str) -> usize {
        (0..LIST_MAX)
            .take_while(|index| {
                let prefix = format!("{list}.{index}.");
                self.values.keys().any(|name| name.starts_with(&prefix))
            })
            .count()
    }

    /// Everything that is in force: name, value, where it came from.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, &Source)> {
        self.values.iter().map(|(name, (value, source))| (name.as_str(), value.as_str(), source))
    }
}

/// The variable of the environment that sets a key: `worker.slots` is `GRISTMILL_WORKER_SLOTS`.
pub fn variable_of(name: &str) -> String {
    format!("GRISTMILL_{}", name.replace('.', "_").to_uppercase())
}

/// Refuses a variable that begins as those of a section do and is none of them: it would be passed over in silence.
fn known_variable(name: &str) -> Result<(), Failure> {
    let is_known = KEYS.iter().any(|key| variable_of(key.name) == name);
    let section = name.strip_prefix("GRISTMILL_").and_then(|rest| rest.split_once('_'));
    let section = section.map(|(section, _)| format!("{}.", section.to_lowercase()));
    let of_section = |key: &&Key| section.as_ref().is_some_and(|it| key.name.starts_with(it));
    let neighbours: Vec<_> =
        KEYS.iter().filter(of_section).map(|key| variable_of(key.name)).collect();
    if is_known || neighbours.is_empty() {
        return Ok(());
    }
    let what = format!("${name} sets nothing");
    Err(Failure::new("GM-5015", Exit::Usage, what)
        .fix(format!("unset it; what exists: {}", neighbours.join(", "))))
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .or_fail("GM-5015", Exit::Usage, &format!("cannot read {}", path.display()))
        .map_err(|failure| failure.fix("name a file that is there with --config, or none"))
}

/// Names with dots for everything in a tree; elements of lists by their number.
fn flatten(prefix: &str, value: toml::Value, into: &mut Vec<(String, String)>) {
    let name = |part: &str| {
        if prefix.is_empty() { part.to_owned() } else { format!("{prefix}.{part}") }
    };
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                flatten(&name(&key), value, into);
            }
        }
        toml::Value::Array(list) => {
            for (index, value) in list.into_iter().enumerate() {
                flatten(&name(&index.to_string()), value, into);
            }
        }
        toml::Value::String(text) => into.push((prefix.to_owned(), text)),
        other => into.push((prefix.to_owned(), other.to_string())),
    }
}

/// Keys of the elements of lists, without their number.
const LISTS: &[Key] = &[
    key("scheduler.offers.category", None, "how long a task may run: a category's number"),
    key("scheduler.offers.price", None, "per task, like 0.03RLC"),
    key("scheduler.offers.trust", None, "the highest trust; 1 without"),
    key(
        "scheduler.offers.volume",
        None,
        "tasks per order, 100 without; the owner's stake must cover 30 % of price times volume",
    ),
    key("market.workerpools.address", None, "a workerpool that requesters are told of"),
    key("market.workerpools.url", None, "where its scheduler answers"),
    key("market.workerpools.description", None, "what it says of itself"),
    key("market.apps.name", None, "the name of an app that requesters are told of"),
    key("market.apps.address", None, "its address"),
];

/// A name without the number of a list's element.
fn unnumbered(name: &str) -> String {
    let parts =
        name.split('.').filter(|part| part.parse::<usize>().is_ok_and(|n| n < LIST_MAX).not());
    parts.collect::<Vec<_>>().join(".")
}

fn about(name: &str) -> &'static str {
    let plain = KEYS.iter().find(|key| key.name == name);
    let listed = || LISTS.iter().find(|key| key.name != name && key.name == unnumbered(name));
    plain.or_else(listed).map(|key| key.about).unwrap_or_default()
}

fn known(name: &str, by: &str) -> Result<(), Failure> {
    if !about(name).is_empty() {
        return Ok(());
    }
    let section = name.split('.').next().unwrap_or_default();
    let mut neighbours: Vec<&str> = KEYS
        .iter()
        .chain(LISTS)
        .map(|key| key.name)
        .filter(|key| key.split('.').next() == Some(section))
        .collect();
    if neighbours.is_empty() {
        neighbours = KEYS.iter().filter_map(|key| key.name.split('.').next()).collect();
        neighbours.sort_unstable();
        neighbours.dedup();
    }
    Err(Failure::new("GM-5015", Exit::Usage, format!("{by} sets {name}, which does not exist"))
        .fix(format!("what exists: {}", neighbours.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)], set: &[&str]) -> Result<Settings, Failure> {
        let file = Some((PathBuf::from("g.toml"), file.to_owned()));
        let environment = |name: &str| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let set: Vec<String> = set.iter().map(|one| (*one).to_owned()).collect();
        Settings::layered(file, environment, &set)
    }

    #[test]
    fn a_mistyped_variable_is_refused() {
        let code = |name: &str| known_variable(name).map_err(|failure| failure.code);
        for fine in ["GRISTMILL_WORKER_SLOTS", "GRISTMILL_MARKET", "GRISTMILL_KEY_FILE", "HOME"] {
            assert_eq!(code(fine), Ok(()), "{fine}");
        }
        assert_eq!(code("GRISTMILL_WORKER_SLOTZ"), Err("GM-5015".to_owned()));
    }

    fn check(name: &str, file: &str, environment: &[(&str, &str)], set: &[&str], expected: &str) {
        let settings = load(file, environment, set).unwrap();
        let found = settings.all().find(|(key, ..)| *key == name);
        let found =
            found.map_or("nothing".to_owned(), |(_, value, source)| format!("{value} by {source}"));
        assert_eq!(found, expected);
    }

    #[test]
    fn the_later_layer_is_stronger() {
        let file = "[worker]\nslots = 3";
        check("worker.slots", "", &[], &[], "nothing");
        check("worker.drain_seconds", "", &[], &[], "30 by default");
        check("worker.slots", file, &[], &[], "3 by g.toml");
        let environment = [("GRISTMILL_WORKER_SLOTS", "4")];
        check("worker.slots", file, &environment, &[], "4 by $GRISTMILL_WORKER_SLOTS");
        check("worker.slots", file, &environment, &["worker.slots=5"], "5 by --set");
        check("worker.key_file", file, &[], &[], "nothing");
    }

    #[test]
    fn what_does_not_exist_is_said_with_what_does() {
        let failure = load("[worker]\nslot = 3", &[], &[]).unwrap_err();
        assert_eq!(failure.code, "GM-5015");
        let text = failure.to_string();
        assert!(
            text.contains("g.toml sets worker.slot") && text.contains("worker.slots"),
            "{text}"
        );
        let text = load("[labour]\nslots = 3", &[], &[]).unwrap_err().to_string();
        assert!(text.contains("scheduler, vault, worker"), "{text}");
        assert!(load("", &[], &["worker.slots"]).is_err());
        assert!(load("= 3", &[], &[]).is_err());
    }

    #[test]
    fn what_is_missing_is_said_with_all_ways_to_set_it() {
        let settings = load("", &[], &[]).unwrap();
        let failure = settings.need::<String>("worker.scheduler").unwrap_err();
        assert_eq!(failure.code, "GM-5016");
        assert!(failure.to_string().contains("$GRISTMILL_WORKER_SCHEDULER"), "{failure}");
        let settings = load("", &[], &["worker.slots=many"]).unwrap();
        assert_eq!(settings.need::<usize>("worker.slots").unwrap_err().code, "GM-5015");
    }

    #[test]
    fn offers_are_counted() {
        let file = "[[scheduler.offers]]\ncategory = 0\nprice = \"0.1RLC\"\n[[scheduler.offers]]\ncategory = 1";
        let settings = load(file, &[], &[]).unwrap();
        assert_eq!(settings.count("scheduler.offers"), 2);
        assert_eq!(settings.get::<u64>("scheduler.offers.1.category").unwrap(), Some(1));
        assert!(load("[[scheduler.offers]]\ncolour = 1", &[], &[]).is_err());
    }
}
