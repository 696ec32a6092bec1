//! What a run may use at most.

use std::fmt;
use std::time::Duration;

/// One limit for each thing that a program could use without end.
///
/// Memory, fuel and time belong together: a program that allocates in a loop against a memory limit alone only becomes
/// slow, and one that sleeps burns no fuel. Fuel makes running out the *same* event on every machine; time is the net
/// under it for slow machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the program, in bytes: of WebAssembly all its linear memories together, of a container everything.
    pub memory_bytes: usize,
    /// Elements in all its tables together.
    pub table_elements: usize,
    /// WebAssembly instructions, roughly: one unit each. Containers are not counted.
    pub fuel: u64,
    /// Time on the clock of the machine that runs it.
    pub wall: Duration,
    /// Bytes of standard output.
    pub stdout_bytes: usize,
    /// Bytes of standard error.
    pub stderr_bytes: usize,
    /// Files and directories in `/iexec_out`.
    pub output_entries: usize,
    /// Bytes of all files in `/iexec_out` together.
    pub output_bytes: u64,
    /// Bytes of the program itself.
    pub program_bytes: u64,
    /// Bytes of a container's image, packed and unpacked.
    pub image_bytes: u64,
    /// Processes and threads of a container.
    pub processes: u32,
    /// Processor time of a container, in thousandths of one processor.
    pub cpu_millis: u32,
    /// Whether a container has the network that the provider made for containers ([`crate::Network`]); never more.
    pub network: bool,
}

/// As a requester reads them before paying: `300 s, 512 MiB memory, …`. Without the network: that is each provider's own.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = u64::try_from(self.memory_bytes).unwrap_or(u64::MAX);
        let cpus = f64::from(self.cpu_millis) / 1_000.0;
        write!(
            f,
            "{} s, {} memory, {} output in {} files, {cpus} CPU, {} processes",
            self.wall.as_secs(),
            Size(memory),
            Size(self.output_bytes),
            self.output_entries,
            self.processes,
        )
    }
}

/// A number of bytes, in the largest unit that gives a whole number.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        match bytes {
            0 => write!(f, "0 B"),
            _ if bytes % (1 << 30) == 0 => write!(f, "{} GiB", bytes >> 30),
            _ if bytes % (1 << 20) == 0 => write!(f, "{} MiB", bytes >> 20),
            _ if bytes % (1 << 10) == 0 => write!(f, "{} KiB", bytes >> 10),
            _ => write!(f, "{bytes} B"),
        }
    }
}

/// Fuel granted for each second of a category's time. A current machine burns about this much or more in a second, so
/// on it a program that never ends meets the fuel limit, which is the same everywhere, before the clock's.
const FUEL_PER_SECOND: u64 = 1_000_000_000;
/// The most of `/tmp` and of `/dev/shm` of a container; they count as memory too.
const TEMPORARY_BYTES_MAX: u64 = 256 << 20;

impl Limits {
    /// The limits of a category whose reference time (`workClockTimeRef`) is that many seconds.
    ///
    /// Time and fuel grow with it; the rest are fixed, chosen so that a worker with a few slots fits in a small machine:
    /// 512 MiB of memory, 8 MiB of standard output, 1 MiB of standard error, 1,000 entries and 1 GiB of output, a program
    /// of at most 64 MiB, an image of at most 4 GiB, 256 processes, one processor, no network.
    pub fn for_timeref(seconds: u64) -> Self {
        Self {
            memory_bytes: 512 << 20,
            table_elements: 1_000_000,
            fuel: seconds.max(1).saturating_mul(FUEL_PER_SECOND),
            wall: Duration::from_secs(seconds.max(1)),
            stdout_bytes: 8 << 20,
            stderr_bytes: 1 << 20,
            output_entries: 1_000,
            output_bytes: 1 << 30,
            program_bytes: 64 << 20,
            image_bytes: 4 << 30,
            processes: 256,
            cpu_millis: 1_000,
            network: false,
        }
    }

    /// Bytes of `/tmp`, and as many of `/dev/shm`, in a container.
    pub fn temporary_bytes(&self) -> u64 {
        TEMPORARY_BYTES_MAX.min(self.output_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requester_can_read_them() {
        let expected = "300 s, 512 MiB memory, 1 GiB output in 1000 files, 1 CPU, 256 processes";
        assert_eq!(Limits::for_timeref(300).to_string(), expected);
    }

    #[test]
    fn time_and_fuel_follow_the_category_and_never_overflow() {
        let short = Limits::for_timeref(0);
        let long = Limits::for_timeref(300);
        assert_eq!(short.wall, Duration::from_secs(1));
        assert_eq!(long.fuel, 300 * FUEL_PER_SECOND);
        assert_eq!(Limits::for_timeref(u64::MAX).fuel, u64::MAX);
    }
}
