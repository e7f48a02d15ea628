//! The address of the client behind trusted proxies, for the log and the limiter.

use http::HeaderMap;
use std::net::IpAddr;
use weir_protocol::face::Network;

/// The peer, or where that is a trusted proxy the nearest address of `X-Forwarded-For` that is not one.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address.to_canonical()));
    if !is_trusted(peer) {
        return peer;
    }
    let mut nearest = peer;
    let values: Vec<&str> =
        headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
    for item in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        let Ok(address) = item.trim().parse() else { break };
        nearest = address;
        if !is_trusted(address) {
            break;
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, forwarded: &[&'static str], expected: &str) {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", http::HeaderValue::from_static(value));
        }
        let trusted = [Network::parse("trusted-proxies", "10.0.0.0/8").unwrap()];
        let found = client_address(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(found, expected.parse::<IpAddr>().unwrap());
    }

    #[test]
    fn only_trusted_proxies_say_for_whom_they_ask() {
        check("192.0.2.1", &["203.0.113.5"], "192.0.2.1");
        check("10.0.0.1", &["203.0.113.5"], "203.0.113.5");
        check("10.0.0.1", &["198.51.100.9, 203.0.113.5, 10.0.0.2"], "203.0.113.5");
        check("10.0.0.1", &["198.51.100.9", "203.0.113.5"], "203.0.113.5");
        check("10.0.0.1", &["203.0.113.5, garbage"], "10.0.0.1");
        check("10.0.0.1", &[], "10.0.0.1");
    }
}
