//! A network that a provider made for containers. Only its name is known here: what can be reached through it is for whoever
//! made it to decide.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where `ip netns add` puts namespaces, and where what belongs to each is kept.
const NAMESPACES: &str = "/run/netns";
const ABOUT: &str = "/etc/netns";
/// Names that mean the machine's own network, or another container's, to a daemon.
const TAKEN: [&str; 5] = ["host", "none", "bridge", "default", "private"];
const NAME_CHARS_MAX: usize = 64;

/// A network for containers, by its name: the namespace that `ip netns add NAME` makes, or under a daemon the network that
/// `docker network create NAME` makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    name: String,
}

/// What cannot be the name of such a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a network for containers has a name of its own, of letters, digits, - and _")]
pub struct NetworkNameError;

impl FromStr for Network {
    type Err = NetworkNameError;

    fn from_str(name: &str) -> Result<Self, NetworkNameError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let fits = (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(is_plain);
        if fits && !TAKEN.contains(&name) {
            Ok(Self { name: name.to_owned() })
        } else {
            Err(NetworkNameError)
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Network {
    /// Its namespace.
    pub(crate) fn namespace(&self) -> PathBuf {
        Path::new(NAMESPACES).join(&self.name)
    }

    /// How names are resolved there, if its maker says.
    pub(crate) fn resolver(&self) -> Option<PathBuf> {
        let file = Path::new(ABOUT).join(&self.name).join("resolv.conf");
        file.is_file().then_some(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<&str>) {
        let namespace = name.parse::<Network>().ok().map(|network| network.namespace());
        assert_eq!(namespace.as_deref(), expected.map(Path::new), "{name}");
    }

    #[test]
    fn a_network_is_never_the_machines_own() {
        check("jobs", Some("/run/netns/jobs"));
        check("jobs-2_b", Some("/run/netns/jobs-2_b"));
        for other in
            ["", "host", "bridge", "container:abc", "..", "../host", "/proc/1/ns/net", "a b"]
        {
            check(other, None);
        }
    }
}
