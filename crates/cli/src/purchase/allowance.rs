//! What a task may use, as far as it is known before anything is paid: the category's limits, and whether the chosen
//! workerpool gives the app a network.

use std::fmt;

use sandbox::Limits;
use wire::scheduler::PoolNetwork;

/// Apps that are WebAssembly and nothing else; it never has a network.
const WASM: &str = "WASM";

/// What a task may use at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// The same at every workerpool, by the category.
    pub limits: Limits,
    /// The provider's to give.
    pub network: Connection,
}

/// Whether a task has a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// No worker gives one.
    None,
    /// All workers give one.
    All,
    /// So many of so many workers give one.
    Some(u32, u32),
    /// Nobody says.
    Unknown,
}

impl Connection {
    /// Of an app of that kind, by what the scheduler says, if it does.
    pub fn of(kind: &str, told: Option<PoolNetwork>) -> Self {
        if kind.eq_ignore_ascii_case(WASM) {
            return Self::None;
        }
        match told {
            None | Some(PoolNetwork { workers: 0, .. }) => Self::Unknown,
            Some(PoolNetwork { granting: 0, silent: 0, .. }) => Self::None,
            Some(PoolNetwork { granting: 0, .. }) => Self::Unknown,
            Some(pool) if pool.granting == pool.workers => Self::All,
            Some(pool) => Self::Some(pool.granting, pool.workers),
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no network"),
            Self::All => f.write_str("the network that its provider made for it"),
            Self::Some(granting, workers) => write!(
                f,
                "the network that its provider made for it on {granting} of {workers} workers"
            ),
            Self::Unknown => f.write_str("whether it has a network is not known"),
        }
    }
}

/// As a requester reads it: `300 s, 512 MiB memory, …, no network`.
impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.limits, self.network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown for workers, those that give a network, and those that do not say.
    fn check(kind: &str, told: Option<[u32; 3]>, expected: &str) {
        let told =
            told.map(|[workers, granting, silent]| PoolNetwork { workers, granting, silent });
        assert_eq!(Connection::of(kind, told).to_string(), expected, "{kind} {told:?}");
    }

    #[test]
    fn nothing_is_said_that_nobody_knows() {
        let unknown = "whether it has a network is not known";
        let given = "the network that its provider made for it";
        check("DOCKER", Some([3, 0, 0]), "no network");
        check("DOCKER", Some([3, 3, 0]), given);
        check("DOCKER", Some([3, 1, 0]), &format!("{given} on 1 of 3 workers"));
        check("DOCKER", Some([3, 1, 1]), &format!("{given} on 1 of 3 workers"));
        check("DOCKER", Some([3, 0, 1]), unknown);
        check("DOCKER", Some([0, 0, 0]), unknown);
        check("DOCKER", None, unknown);
        // Whatever it is registered under, and whoever answers.
        check("WASM", None, "no network");
        check("wasm", Some([1, 1, 0]), "no network");
    }

    #[test]
    fn limits_and_network_are_one_line() {
        let limits = Limits::for_timeref(300);
        let shown = Allowance { limits, network: Connection::None }.to_string();
        let expected =
            "300 s, 512 MiB memory, 1 GiB output in 1000 files, 1 CPU, 256 processes, no network";
        assert_eq!(shown, expected);
    }
}
