//! What a run may use at most.

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
}

/// Fuel granted for each second of a category's time. A current machine burns about this much or more in a second, so
/// on it a program that never ends meets the fuel limit, which is the same everywhere, before the clock's.
const FUEL_PER_SECOND: u64 = 1_000_000_000;

impl Limits {
    /// The limits of a category whose reference time (`workClockTimeRef`) is that many seconds.
    ///
    /// Time and fuel grow with it; the rest are fixed, chosen so that a worker with a few slots fits in a small machine:
    /// 512 MiB of memory, 8 MiB of standard output, 1 MiB of standard error, 1,000 entries and 256 MiB of output, a
    /// program of at most 64 MiB, an image of at most 4 GiB, 256 processes, one processor.
    pub fn for_timeref(seconds: u64) -> Self {
        Self {
            memory_bytes: 512 << 20,
            table_elements: 1_000_000,
            fuel: seconds.max(1).saturating_mul(FUEL_PER_SECOND),
            wall: Duration::from_secs(seconds.max(1)),
            stdout_bytes: 8 << 20,
            stderr_bytes: 1 << 20,
            output_entries: 1_000,
            output_bytes: 256 << 20,
            program_bytes: 64 << 20,
            image_bytes: 4 << 30,
            processes: 256,
            cpu_millis: 1_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_fuel_follow_the_category_and_never_overflow() {
        let short = Limits::for_timeref(0);
        let long = Limits::for_timeref(300);
        assert_eq!(short.wall, Duration::from_secs(1));
        assert_eq!(long.fuel, 300 * FUEL_PER_SECOND);
        assert_eq!(Limits::for_timeref(u64::MAX).fuel, u64::MAX);
    }
}
