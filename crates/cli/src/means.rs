//! What an operator gives: what runs programs on this machine, and how long inputs and results are kept. By the same
//! settings for services apart and for a market in one process.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use alloy_primitives::Address;
use primitives::CategoryId;
use sandbox::gpu::{Cdi, Gpu};
use sandbox::{Containers, Kind, Network, Sandbox};
use worker::Networked;

use crate::failure::{Exit, Failure};
use crate::keeper::{self, Keeping};
use crate::settings::Settings;

/// What runs programs, and on how many cores.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// Programs that compute at once.
    pub(crate) cpus: usize,
    containers: Containers,
    local_images: bool,
    gpus: Vec<Gpu>,
    network: Option<Network>,
    /// Whose containers have it.
    pub(crate) networked: Networked,
}

impl Engine {
    /// What the settings ask for.
    ///
    /// # Errors
    /// GM-5015 they make no sense.
    pub(crate) fn read(settings: &Settings) -> Result<Self, Failure> {
        let (network, networked) = network(settings)?;
        Ok(Self {
            network,
            networked,
            cpus: settings.get("worker.cpus")?.unwrap_or_else(cores),
            containers: containers(settings)?,
            local_images: settings.need("worker.local_images")?,
            gpus: gpus(settings)?,
        })
    }

    /// How to start it.
    pub(crate) fn sandbox(&self, dir: PathBuf) -> sandbox::Config {
        sandbox::Config {
            gpus: self.gpus.clone(),
            containers: self.containers.clone(),
            local_images: self.local_images,
            network: self.network.clone(),
            ..sandbox::Config::new(dir, self.cpus)
        }
    }

    /// The names of its GPUs, as far as the sandbox has a use for them.
    pub(crate) fn gpu_names(&self, sandbox: &Sandbox) -> Vec<String> {
        // Only containers have.
        let used = self.gpus.iter().filter(|_| sandbox.runs(Kind::Container));
        used.map(|gpu| gpu.name.clone()).collect()
    }
}

/// As without any setting.
impl Default for Engine {
    fn default() -> Self {
        let sandbox::Config { gpus, containers, local_images, .. } =
            sandbox::Config::new(PathBuf::new(), 1);
        let (network, networked) = (None, Networked::default());
        Self { cpus: cores(), containers, local_images, gpus, network, networked }
    }
}

/// How long inputs and results are kept, how much of them, and how often the rest is swept.
///
/// # Errors
/// GM-5015 the settings make no sense.
pub(crate) fn retention(settings: &Settings) -> Result<Keeping, Failure> {
    let policy = keeper::policy(
        settings.need("blobs.keep_results_days")?,
        settings.need("blobs.keep_inputs_days")?,
        settings.get("blobs.max_bytes")?,
    );
    let every = Duration::from_secs(settings.need::<u64>("blobs.sweep_seconds")?.max(1));
    Ok(Keeping { policy, every })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

fn containers(settings: &Settings) -> Result<Containers, Failure> {
    let choice: String = settings.need("worker.containers")?;
    match &*choice {
        "auto" => Ok(Containers::Auto),
        "oci" => Ok(Containers::Oci),
        "docker" => Ok(Containers::Daemon(settings.get("worker.docker_socket")?)),
        "off" => Ok(Containers::Off),
        _ => {
            let wrong = format!("worker.containers = \"{choice}\" makes no sense");
            Err(Failure::new("GM-5015", Exit::Usage, wrong).fix("auto, oci, docker or off"))
        }
    }
}

/// The network that containers may be given, and whose are.
fn network(settings: &Settings) -> Result<(Option<Network>, Networked), Failure> {
    let network = settings.get("worker.network")?;
    let apps: Option<List<Address>> = settings.get("worker.network_apps")?;
    let numbers: Option<List<u64>> = settings.get("worker.network_categories")?;
    if network.is_none() && (apps.is_some() || numbers.is_some()) {
        let what = "worker.network_apps and worker.network_categories say who has a network";
        let failure = Failure::new("GM-5015", Exit::Usage, format!("{what}, and there is none"));
        return Err(failure.fix("worker.network names the one that you made for containers"));
    }
    let categories = numbers.map(|List(numbers)| numbers).unwrap_or_default();
    let categories = categories.into_iter().map(CategoryId::new).collect();
    let apps = apps.map(|List(apps)| apps).unwrap_or_default();
    Ok((network, Networked { apps, categories }))
}

/// Several of them, with commas or spaces between.
struct List<T>(Vec<T>);

impl<T: FromStr> FromStr for List<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        let parts = text.split([',', ' ']).filter(|part| !part.is_empty());
        parts.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// The GPUs that programs may be given.
fn gpus(settings: &Settings) -> Result<Vec<Gpu>, Failure> {
    if !settings.need::<bool>("worker.gpus")? {
        return Ok(Vec::new());
    }
    let allow_hooks = settings.need("worker.cdi_hooks")?;
    let dir: Option<PathBuf> = settings.get("worker.cdi_dir")?;
    let usual = Cdi { allow_hooks, ..Cdi::default() };
    let cdi = match dir {
        Some(dir) => Cdi { dirs: vec![dir], ..usual },
        None => usual,
    };
    Ok(sandbox::gpu::discover(&cdi))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The network, how many apps and how many categories have it; nothing where the settings are refused.
    fn check(set: &[&str], expected: Option<(Option<&str>, usize, usize)>) {
        let none = tempfile::NamedTempFile::new().unwrap();
        let set: Vec<String> = set.iter().map(|it| format!("worker.{it}")).collect();
        let settings = Settings::load(Some(none.path()), &set).unwrap();
        let found = network(&settings).ok().map(|(network, networked)| {
            let Networked { apps, categories } = networked;
            (network.map(|it| it.to_string()), apps.len(), categories.len())
        });
        let expected = expected.map(|(name, apps, many)| (name.map(str::to_owned), apps, many));
        assert_eq!(found, expected, "{set:?}");
    }

    #[test]
    fn a_network_is_nobodys_until_somebody_is_named() {
        let app = "network_apps=0x00000000000000000000000000000000000000aa";
        check(&[], Some((None, 0, 0)));
        check(&["network=jobs"], Some((Some("jobs"), 0, 0)));
        check(&["network=jobs", app, "network_categories=3, 4"], Some((Some("jobs"), 1, 2)));
        // Nobody can be given what is not there, and nobody the machine's own.
        check(&[app], None);
        check(&["network=host"], None);
        check(&["network=jobs", "network_categories=long"], None);
    }
}
