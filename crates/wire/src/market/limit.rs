//! Callers that ask too much.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::seats::network;

/// Callers remembered at once; when there are more, those whose time is over are forgotten first.
const CALLERS_MAX: usize = 65_536;

/// How often one address may ask. Callers on the same machine are never limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests within a period.
    pub requests_max: u32,
    /// How long a period is.
    pub period: Duration,
}

/// As the official API: 100 a minute.
impl Default for RateLimit {
    fn default() -> Self {
        Self { requests_max: 100, period: Duration::from_secs(60) }
    }
}

/// What to tell a caller about its allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// When the period ends, in seconds since 1970.
    pub(super) reset_unix_s: u64,
    pub(super) exceeded: bool,
}

/// Counts requests by caller, a period at a time.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: RateLimit,
    callers: HashMap<IpAddr, Period>,
}

#[derive(Debug, Clone, Copy)]
struct Period {
    began: Instant,
    requests: u32,
}

impl Limiter {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self { limit, callers: HashMap::new() }
    }

    /// Counts a request of that caller. An unknown caller (nobody told the router who connects) is not limited.
    pub(super) fn count(&mut self, caller: Option<IpAddr>, now: Instant) -> Allowance {
        let RateLimit { requests_max: limit, period } = self.limit;
        let Some(caller) = caller.map(network).filter(|caller| !caller.is_loopback()) else {
            return Allowance {
                limit,
                remaining: limit,
                reset_unix_s: unix_s_after(period),
                exceeded: false,
            };
        };
        self.make_room(now);
        let current = self.callers.entry(caller).or_insert(Period { began: now, requests: 0 });
        if now.duration_since(current.began) >= period {
            *current = Period { began: now, requests: 0 };
        }
        current.requests = current.requests.saturating_add(1);
        Allowance {
            limit,
            remaining: limit.saturating_sub(current.requests),
            reset_unix_s: unix_s_after(period.saturating_sub(now.duration_since(current.began))),
            exceeded: current.requests > limit,
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.callers.len() < CALLERS_MAX {
            return;
        }
        let period = self.limit.period;
        self.callers.retain(|_, current| now.duration_since(current.began) < period);
        if self.callers.len() >= CALLERS_MAX {
            // Too many within one period: start over rather than grow. It forgives; it does not lock anybody out.
            self.callers.clear();
        }
    }
}

fn unix_s_after(wait: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_add(wait).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter() -> Limiter {
        Limiter::new(RateLimit { requests_max: 2, period: Duration::from_secs(60) })
    }

    fn check(limiter: &mut Limiter, caller: &str, now: Instant, exceeded: bool) {
        let caller = caller.parse().expect("an address");
        assert_eq!(limiter.count(Some(caller), now).exceeded, exceeded, "{caller}");
    }

    #[test]
    fn a_caller_may_ask_so_often_in_a_period() {
        let (mut limiter, now) = (limiter(), Instant::now());
        check(&mut limiter, "192.0.2.1", now, false);
        check(&mut limiter, "::ffff:192.0.2.1", now, false);
        check(&mut limiter, "192.0.2.1", now, true);
        check(&mut limiter, "192.0.2.2", now, false);
        check(&mut limiter, "192.0.2.1", now + Duration::from_secs(60), false);
    }

    #[test]
    fn an_ipv6_network_is_one_caller_and_this_machine_is_free() {
        let (mut limiter, now) = (limiter(), Instant::now());
        for host in ["2001:db8::1", "2001:db8::2"] {
            check(&mut limiter, host, now, false);
        }
        check(&mut limiter, "2001:db8::3", now, true);
        for _ in 0..5 {
            check(&mut limiter, "127.0.0.1", now, false);
            check(&mut limiter, "::1", now, false);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut limiter, now) = (limiter(), Instant::now());
        for caller in 0..100_000u32 {
            limiter.count(Some(IpAddr::V4(caller.wrapping_add(1 << 28).into())), now);
        }
        assert!(limiter.callers.len() <= CALLERS_MAX);
    }
}
