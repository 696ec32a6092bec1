//! So many at once, and so many from one caller: what everything that strangers can hold open is counted with.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// A number of seats. Callers on the same machine count for the total only.
#[derive(Debug, Clone)]
pub(crate) struct Seats {
    total_max: usize,
    per_caller_max: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_caller: HashMap<IpAddr, usize>,
}

/// A taken seat; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    caller: Option<IpAddr>,
    taken: Arc<Mutex<Taken>>,
}

impl Seats {
    pub(crate) fn new(total_max: usize, per_caller_max: usize) -> Self {
        Self { total_max, per_caller_max, taken: Arc::default() }
    }

    /// A seat, unless all are taken or this caller has as many as it may.
    pub(crate) fn take(&self, caller: Option<IpAddr>) -> Option<Seat> {
        let caller = caller.map(network).filter(|caller| !caller.is_loopback());
        let mut taken = self.taken.lock();
        if taken.total >= self.total_max {
            return None;
        }
        if let Some(caller) = caller {
            let held = taken.by_caller.entry(caller).or_default();
            if *held >= self.per_caller_max {
                return None;
            }
            *held += 1;
        }
        taken.total += 1;
        Some(Seat { caller, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.total -= 1;
        let Some(caller) = self.caller else { return };
        if let Some(held) = taken.by_caller.get_mut(&caller) {
            *held -= 1;
            if *held == 0 {
                taken.by_caller.remove(&caller);
            }
        }
    }
}

/// Who counts as one caller: an IPv4 address, or an IPv6 network of 64 bits, since a host has all of its addresses.
pub(crate) fn network(caller: IpAddr) -> IpAddr {
    match caller.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_run_out_for_one_and_for_all_and_come_back() {
        let seats = Seats::new(3, 2);
        let take = |caller: &str| seats.take(Some(caller.parse().expect("an address")));
        let mut held = vec![take("192.0.2.1"), take("::ffff:192.0.2.1")];
        assert!(held.iter().all(Option::is_some) && take("192.0.2.1").is_none());
        held.push(take("2001:db8::1"));
        assert!(held[2].is_some() && take("127.0.0.1").is_none(), "none is left for anybody");
        held.clear();
        assert!(seats.taken.lock().by_caller.is_empty(), "nobody is remembered");
        assert!([take("::1"), take("::1"), take("127.0.0.1")].iter().all(Option::is_some));
    }
}
