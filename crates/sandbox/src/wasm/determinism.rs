//! Clocks and randomness that are the same for every run of a task, on every machine.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy_primitives::B256;
use primitives::UnixSeconds;
use sha2::{Digest, Sha256};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// How far a clock moves when it is read. A program that waits for time to pass by reading the clock comes to an end.
const STEP_NS: u64 = 1_000;

/// Wall clock and monotonic clock in one: they start at a time that the chain fixes and move only when read or slept on.
#[derive(Clone)]
pub(super) struct VirtualClock {
    start: Duration,
    elapsed_ns: Arc<AtomicU64>,
}

impl VirtualClock {
    pub(super) fn starting_at(time: UnixSeconds) -> Self {
        Self { start: Duration::from_secs(time.0), elapsed_ns: Arc::default() }
    }

    /// Nanoseconds since the program began, one step later each time.
    pub(super) fn elapsed_ns(&self) -> u64 {
        self.elapsed_ns.fetch_add(STEP_NS, Ordering::Relaxed)
    }

    /// Nanoseconds of Unix time, one step later each time.
    pub(super) fn unix_ns(&self) -> u64 {
        let start = u64::try_from(self.start.as_nanos()).unwrap_or(u64::MAX);
        start.saturating_add(self.elapsed_ns())
    }

    /// Lets time pass at once: what sleeping means to a program that is alone in its world.
    pub(super) fn advance(&self, ns: u64) {
        let _ = self
            .elapsed_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_add(ns)));
    }
}

impl HostWallClock for VirtualClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(STEP_NS)
    }

    fn now(&self) -> Duration {
        self.start + Duration::from_nanos(self.elapsed_ns())
    }
}

impl HostMonotonicClock for VirtualClock {
    fn resolution(&self) -> u64 {
        STEP_NS
    }

    fn now(&self) -> u64 {
        self.elapsed_ns()
    }
}

/// Randomness from a seed: SHA-256 in counter mode. Good for simulations and hash tables; anybody who knows the task can
/// predict it, so it must never make keys, and a program here has nothing to keep secret.
pub(super) struct SeededRandom {
    seed: B256,
}

impl From<B256> for SeededRandom {
    fn from(seed: B256) -> Self {
        Self { seed }
    }
}

impl SeededRandom {
    /// One of several independent streams.
    pub(super) fn stream(&self, number: u8) -> RandomStream {
        RandomStream { seed: self.seed, number, block: 0, bytes: [0; 32], used: 32 }
    }

    /// A number for hash tables.
    pub(super) fn word(&self) -> u128 {
        let mut word = [0; 16];
        self.stream(2).fill(&mut word);
        u128::from_le_bytes(word)
    }
}

/// Bytes of one stream.
pub(super) struct RandomStream {
    seed: B256,
    number: u8,
    block: u64,
    bytes: [u8; 32],
    used: usize,
}

impl RandomStream {
    fn fill(&mut self, into: &mut [u8]) {
        for byte in into {
            if self.used == self.bytes.len() {
                let hash = Sha256::new().chain_update(self.seed).chain_update([self.number]);
                self.bytes = hash.chain_update(self.block.to_le_bytes()).finalize().into();
                self.block += 1;
                self.used = 0;
            }
            *byte = self.bytes[self.used];
            self.used += 1;
        }
    }
}

impl rand_core::TryRng for RandomStream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut word = [0; 4];
        self.fill(&mut word);
        Ok(u32::from_le_bytes(word))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut word = [0; 8];
        self.fill(&mut word);
        Ok(u64::from_le_bytes(word))
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        self.fill(into);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_bytes_and_streams_differ() {
        let take = |seed: u8, stream: u8| {
            let mut bytes = [0; 100];
            SeededRandom::from(B256::repeat_byte(seed)).stream(stream).fill(&mut bytes);
            bytes
        };
        assert_eq!(take(1, 0), take(1, 0));
        assert_ne!(take(1, 0), take(2, 0));
        assert_ne!(take(1, 0), take(1, 1));
    }

    #[test]
    fn the_clock_moves_when_read_and_when_slept_on() {
        let clock = VirtualClock::starting_at(UnixSeconds(100));
        assert_eq!(HostWallClock::now(&clock), Duration::from_secs(100));
        assert_eq!(clock.elapsed_ns(), STEP_NS);
        clock.advance(5_000_000_000);
        assert_eq!(clock.unix_ns(), 105_000_002_000);
        clock.advance(u64::MAX);
        assert_eq!(clock.unix_ns(), u64::MAX, "the end of time, not its beginning");
    }
}
