//! Which addresses a public registry may lead to: none in the private network.

use super::client::FetchError;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use url::{Host, Url};
use weir_core::ConnectionName;

/// Marks the resolver's refusal in an error text.
pub(super) const PRIVATE: &str = "a private address";

/// Refuses a URL whose host is a private address; names are checked after DNS.
pub(super) fn refuse_private_literal(url: &Url, connection: &ConnectionName) -> Result<(), FetchError> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err(FetchError::Bad("a URL without a host".to_owned())),
    };
    if is_public(address) {
        return Ok(());
    }
    Err(FetchError::Bad(format!(
        "it points to {PRIVATE} ({address}); allowed only with allowed-hosts of {connection}"
    )))
}

/// Resolves names to public addresses only.
pub(super) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> = found.into_iter().filter(|a| is_public(a.ip())).collect();
            if public.is_empty() {
                return Err(format!("it points to {PRIVATE} ({}); see allowed-hosts", name.as_str()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address lies on the public internet: not loopback, private, link-local, carrier-grade NAT,
/// multicast, documentation, or an IPv6 form that hides one of these.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmark = a == 198 && (b == 18 || b == 19);
    let protocol = a == 192 && b == 0 && c == 0;
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || shared
        || benchmark
        || protocol)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = address.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let segments = address.segments();
    // NAT64 and 6to4 carry an IPv4 address within.
    if segments[0] == 0x64 && segments[1] == 0xff9b {
        let [a, b] = segments[6].to_be_bytes();
        let [c, d] = segments[7].to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    if segments[0] == 0x2002 {
        let [a, b] = segments[1].to_be_bytes();
        let [c, d] = segments[2].to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    let documentation = segments[0] == 0x2001 && segments[1] == 0xdb8;
    (segments[0] & 0xe000) == 0x2000 && !documentation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        let public = ["93.184.216.34", "2606:4700::1111", "64:ff9b::5db8:d822"];
        let private = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "198.18.0.1",
            "2001:db8::1",
        ];
        for text in public {
            assert!(is_public(text.parse().expect("address")), "{text}");
        }
        for text in private {
            assert!(!is_public(text.parse().expect("address")), "{text}");
        }
    }
}
