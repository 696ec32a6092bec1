//! Which addresses belong to the public internet.
//!
//! Requesters name the URLs that a worker fetches, so a URL must not be a way into the network that the worker stands
//! in. Everything that is not plainly public is refused, after the special-purpose registries of RFC 6890 and its
//! successors, and whatever an IPv6 address carries inside is judged as the IPv4 address that it stands for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether that address is a public host's.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // This network, private, loopback, multicast and reserved (broadcast is in there too).
        (0 | 10 | 127 | 224.., _, _) => true,
        // Shared by carriers.
        (100, 64..=127, _) => true,
        // Link-local: clouds answer there with credentials.
        (169, 254, _) => true,
        // One cloud's own services answer its machines there, in the midst of public addresses.
        (168, 63, 129) => true,
        (172, 16..=31, _) | (192, 168, _) => true,
        // Protocol assignments, documentation, 6to4 relays, benchmarks.
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) => true,
        (198, 51, 100) | (203, 0, 113) => true,
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let inside = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b, c, d, e, f) {
        // Mapped, and translated by NAT64.
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => inside(g, h),
        // 6to4.
        (0x2002, high, low, ..) => inside(high, low),
        // Teredo and other protocol assignments, documentation.
        (0x2001, 0..=0x1ff | 0xdb8, ..) | (0x3fff, 0..=0xfff, ..) => false,
        // Global unicast is all that is public.
        _ => (0x2000..=0x3fff).contains(&a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: bool, addresses: &[&str]) {
        for address in addresses {
            let parsed: IpAddr = address.parse().unwrap();
            assert_eq!(is_public(parsed), expected, "{address}");
        }
    }

    #[test]
    fn hosts_of_the_internet_are_public() {
        check(
            true,
            &["1.1.1.1", "8.8.8.8", "100.63.0.1", "172.15.0.1", "172.32.0.1", "192.167.1.1"],
        );
        check(
            true,
            &["2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808"],
        );
        check(true, &["2002:808:808::1"]);
    }

    #[test]
    fn no_way_into_the_workers_own_network() {
        check(false, &["127.0.0.1", "127.8.9.1", "0.0.0.0", "0.1.2.3", "10.1.2.3", "172.16.0.1"]);
        check(false, &["172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1"]);
        check(false, &["192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1"]);
        check(false, &["240.0.0.1", "255.255.255.255", "192.0.0.8"]);
    }

    #[test]
    fn no_cloud_tells_its_machines_secrets() {
        check(false, &["169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200"]);
        check(
            false,
            &["192.0.0.192", "fd00:ec2::254", "fe80::a9fe:a9fe", "::ffff:169.254.169.254"],
        );
    }

    #[test]
    fn nor_through_ipv6() {
        check(false, &["::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1"]);
        check(false, &["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1"]);
        check(false, &["2002:7f00:1::", "2002:a00:1::1", "2001::1", "2001:db8::1", "100::1"]);
        check(false, &["64:ff9b:1::1", "3fff::1"]);
    }
}
