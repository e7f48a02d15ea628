//! The face: scheme, authority and prefix under which the client knows this server, so that addresses
//! inside answers lead it back the same way; and what virtual host names say of domain and owner.

use http::HeaderMap;
use http::header::HOST;
use std::net::IpAddr;
use url::Url;
use weir_core::error::{Error, Result};
use weir_core::name::{AccountId, DomainName, shown};

/// Scheme, authority and prefix of the addresses a client uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Face {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// `host` or `host:port`, in lower case.
    pub authority: String,
    /// Empty, or `/a/b` without a slash at its end.
    pub prefix: String,
}

/// The settings that say how a face is found.
#[derive(Debug, Clone, Default)]
pub struct FaceRules {
    /// `public-url`; where it is set it is every client's face.
    pub public_url: Option<Face>,
    /// `trusted-proxies`: peers whose `X-Forwarded-*` headers count.
    pub trusted_proxies: Vec<Network>,
    /// `host-suffix`: further suffixes of virtual hosts.
    pub host_suffixes: Vec<String>,
}

/// What the listener knows of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// The address of the peer.
    pub peer: IpAddr,
    /// Whether this listener speaks TLS.
    pub secure: bool,
}

impl Face {
    /// Parses a setting such as `public-url`.
    pub fn from_url(setting: &str, text: &str) -> Result<Self> {
        let wrong = |rule: &str| Error::invalid(setting, format_args!("'{}' {rule}", shown(text)));
        let url = Url::parse(text).map_err(|error| wrong(&format!("is not a URL: {error}")))?;
        let scheme = match url.scheme() {
            "http" => "http",
            "https" => "https",
            _ => return Err(wrong("must begin with http:// or https://")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("must not contain a user name or password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("must not have a query or a fragment"));
        }
        let host = url.host_str().ok_or_else(|| wrong("has no host"))?;
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Self {
            scheme,
            authority: parse_authority(setting, &authority)?,
            prefix: parse_prefix(setting, url.path())?,
        })
    }

    /// The face of one request: `public-url` where that is set, else what the client used.
    pub fn of(
        rules: &FaceRules,
        connection: Connection,
        headers: &HeaderMap,
        target_host: Option<&str>,
    ) -> Result<Self> {
        match &rules.public_url {
            Some(face) => Ok(face.clone()),
            None => Self::requested(rules, connection, headers, target_host),
        }
    }

    /// What the client used, whatever `public-url` says: `X-Forwarded-Proto`, `-Host` and `-Prefix`
    /// from a trusted proxy (the first value of a list), else the authority of the target, else
    /// `Host`. Its authority is what [`virtual_host`] is asked about.
    pub fn requested(
        rules: &FaceRules,
        connection: Connection,
        headers: &HeaderMap,
        target_host: Option<&str>,
    ) -> Result<Self> {
        let peer = connection.peer.to_canonical();
        let forwarded = rules.trusted_proxies.iter().any(|network| network.contains(peer));
        let forwarded = |name| if forwarded { first_value(headers, name) } else { Ok(None) };
        let scheme = match forwarded("x-forwarded-proto")? {
            Some(proto) if proto.eq_ignore_ascii_case("https") => "https",
            Some(proto) if proto.eq_ignore_ascii_case("http") => "http",
            Some(_) => return Err(Error::invalid("X-Forwarded-Proto", "must be 'http' or 'https'")),
            None if connection.secure => "https",
            None => "http",
        };
        let authority = match forwarded("x-forwarded-host")? {
            Some(host) => parse_authority("X-Forwarded-Host", host)?,
            None => requested_host(headers, target_host)?,
        };
        let prefix = match forwarded("x-forwarded-prefix")? {
            Some(prefix) => parse_prefix("X-Forwarded-Prefix", prefix)?,
            None => String::new(),
        };
        Ok(Self { scheme, authority, prefix })
    }

    /// `https://host/prefix`, without a slash at its end.
    pub fn base(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.prefix)
    }

    /// The segments after the prefix, for a proxy that passes it on; all of them where they do not
    /// begin with it.
    pub fn strip_prefix<'a>(&self, segments: &'a [String]) -> &'a [String] {
        let prefix: Vec<&str> = self.prefix.split('/').filter(|part| !part.is_empty()).collect();
        match segments.split_at_checked(prefix.len()) {
            Some((head, rest)) if head == prefix => rest,
            _ => segments,
        }
    }
}

fn requested_host(headers: &HeaderMap, target_host: Option<&str>) -> Result<String> {
    if let Some(host) = target_host {
        return parse_authority("request target", host);
    }
    let mut values = headers.get_all(HOST).iter();
    let value = values.next().ok_or_else(|| Error::invalid("Host", "this header is missing"))?;
    if values.next().is_some() {
        return Err(Error::invalid("Host", "this header comes more than once"));
    }
    parse_authority("Host", value.to_str().unwrap_or(""))
}

fn first_value<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Error::invalid(name, "must be ASCII text"))?;
    let first = text.split(',').next().unwrap_or("").trim();
    Ok((!first.is_empty()).then_some(first))
}

/// Parses `host` or `host:port`; the host is a name of letters, digits, `.`, `-` and `_`, or an
/// address. Returns it in lower case.
pub fn parse_authority(field: &str, text: &str) -> Result<String> {
    let wrong =
        || Error::invalid(field, format_args!("'{}' is not a host, or a host and a port", shown(text)));
    let (host_length, is_host) = match text
        .strip_prefix('[')
        .map(|rest| rest.find(']').map(|end| &rest[..end]))
    {
        Some(Some(address)) => (address.len() + 2, address.parse::<std::net::Ipv6Addr>().is_ok()),
        Some(None) => return Err(wrong()),
        None => {
            let length = text.find(':').unwrap_or(text.len());
            let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            (length, (1..=253).contains(&length) && text.as_bytes()[..length].iter().all(|byte| name(*byte)))
        }
    };
    let is_port = match text.as_bytes().get(host_length) {
        None => true,
        Some(b':') => {
            let port = &text[host_length + 1..];
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        }
        Some(_) => false,
    };
    if !is_host || !is_port {
        return Err(wrong());
    }
    Ok(text.to_ascii_lowercase())
}

fn parse_prefix(field: &str, text: &str) -> Result<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
    let mut prefix = String::new();
    for part in text.split('/').filter(|part| !part.is_empty()) {
        if part == "." || part == ".." || !part.bytes().all(allowed) {
            return Err(Error::invalid(
                field,
                format_args!(
                    "'{}' may contain letters, digits and '._~-' between its slashes only",
                    shown(text)
                ),
            ));
        }
        prefix.push('/');
        prefix.push_str(part);
    }
    if prefix.len() > 1024 {
        return Err(Error::invalid(field, "must not be longer than 1024 bytes"));
    }
    Ok(prefix)
}

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: u128,
    mask: u128,
    is_v4: bool,
}

impl Network {
    /// Parses `10.0.0.0/8`, `fd00::/8`, or a single address; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let wrong = || Error::invalid(field, format_args!("'{}' is not an address or network", shown(text)));
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let (number, is_v4) = number(address);
        let width = if is_v4 { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        if bits > width {
            return Err(wrong());
        }
        let mask = u128::MAX.checked_shl(width - bits).unwrap_or(0);
        Ok(Self { address: number & mask, mask, is_v4 })
    }

    /// Whether the address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (number, is_v4) = number(address);
        is_v4 == self.is_v4 && number & self.mask == self.address
    }
}

fn number(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), true),
        IpAddr::V6(address) => (u128::from(address), false),
    }
}

/// What a virtual host name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualHost {
    /// The domain.
    pub domain: DomainName,
    /// The account that owns it.
    pub owner: AccountId,
    /// The region in the name, which is not compared with the setting.
    pub region: Option<String>,
}

/// Reads `{domain}-{owner}.d.codeartifact.{region}.amazonaws.com`,
/// `{domain}-{owner}.codeartifact.{region}.on.aws` and `{domain}-{owner}.d.SUFFIX`, with or without a
/// port. `None` for every other authority.
pub fn virtual_host(authority: &str, suffixes: &[String]) -> Option<VirtualHost> {
    let host = authority.split(':').next()?.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let (label, rest) = host.split_once('.')?;
    // A domain name may contain hyphens, an account id does not.
    let (domain, owner) = label.rsplit_once('-')?;
    let domain = DomainName::parse("domain", domain).ok()?;
    let owner = AccountId::parse("domain-owner", owner).ok()?;
    let aws = |head, tail| region(rest.strip_prefix(head)?.strip_suffix(tail)?);
    let region = aws("d.codeartifact.", ".amazonaws.com").or_else(|| aws("codeartifact.", ".on.aws"));
    let is_own = || {
        let own = rest.strip_prefix("d.");
        own.is_some_and(|own| suffixes.iter().any(|s| s.trim_start_matches('.').eq_ignore_ascii_case(own)))
    };
    (region.is_some() || is_own()).then_some(VirtualHost { domain, owner, region })
}

fn region(text: &str) -> Option<String> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (!text.is_empty() && text.bytes().all(letter)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn rules() -> FaceRules {
        let trusted_proxies = vec![Network::parse("trusted-proxies", "10.0.0.0/8").unwrap()];
        FaceRules { trusted_proxies, ..FaceRules::default() }
    }

    fn check(peer: &str, secure: bool, pairs: &[(&'static str, &str)], target: Option<&str>, base: &str) {
        let connection = Connection { peer: peer.parse().unwrap(), secure };
        let face = Face::of(&rules(), connection, &headers(pairs), target).unwrap();
        assert_eq!(face.base(), base);
    }

    const FORWARDED: &[(&str, &str)] = &[
        ("host", "inner:8090"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "Pkg.Example.test, inner"),
        ("x-forwarded-prefix", "/weir//a/"),
    ];

    #[test]
    fn the_face_is_what_the_client_used() {
        check("192.0.2.1", false, &[("host", "Pkg.example.test:8090")], None, "http://pkg.example.test:8090");
        check("192.0.2.1", true, &[("host", "[::1]:8443")], None, "https://[::1]:8443");
        check("192.0.2.1", false, &[("host", "inner")], Some("example.test"), "http://example.test");
    }

    #[test]
    fn forwarded_headers_count_from_trusted_proxies_only() {
        check("10.1.2.3", false, FORWARDED, None, "https://pkg.example.test/weir/a");
        check("::ffff:10.1.2.3", false, FORWARDED, None, "https://pkg.example.test/weir/a");
        check("192.0.2.1", false, FORWARDED, None, "http://inner:8090");
    }

    #[test]
    fn the_public_url_is_everybodys_face() {
        let public_url = Some(Face::from_url("public-url", "https://Example.test:443/weir/").unwrap());
        let rules = FaceRules { public_url, ..rules() };
        let connection = Connection { peer: [10, 0, 0, 1].into(), secure: false };
        let face = Face::of(&rules, connection, &headers(FORWARDED), None).unwrap();
        assert_eq!(face.base(), "https://example.test/weir");
        let segments = ["weir", "npm", "main"].map(str::to_owned);
        assert_eq!(face.strip_prefix(&segments), &segments[1..]);
        assert_eq!(face.strip_prefix(&segments[1..]), &segments[1..]);
        for wrong in ["ftp://x", "https://u:p@x/", "https://x/?q", "https://x/#f", "https://x/a%20b", "x"] {
            assert!(Face::from_url("public-url", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_cannot_carry_anything_else() {
        for wrong in [
            "", ":80", "a b", "a/b", "a@b", "a\"b", "a:b", "a:80:80", "a:99999", "a:+1", "[::1", "[x]",
            "[::1]x", "a%2fb", "é",
        ] {
            assert!(parse_authority("Host", wrong).is_err(), "{wrong}");
        }
        let none = Face::of(
            &rules(),
            Connection { peer: [10, 0, 0, 1].into(), secure: false },
            &HeaderMap::new(),
            None,
        );
        assert!(none.unwrap_err().to_string().contains("Host"));
        for (name, value) in
            [("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a\tb"), ("x-forwarded-prefix", "/../x")]
        {
            let headers = headers(&[("host", "a"), (name, value)]);
            let connection = Connection { peer: [10, 0, 0, 1].into(), secure: false };
            assert!(Face::of(&rules(), connection, &headers, None).is_err(), "{name}");
        }
    }

    #[test]
    fn a_network_contains_its_addresses() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("::/0", "203.0.113.1", false),
            ("::/0", "fd00::1", true),
            ("fd00::/8", "fe00::1", false),
        ];
        for (network, address, expected) in cases {
            let network = Network::parse("trusted-proxies", network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network:?} {address}");
        }
        for wrong in ["10.0.0.0/33", "x", "10.0.0.0/", "::/129", ""] {
            assert!(Network::parse("trusted-proxies", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_virtual_host_names_domain_and_owner() {
        let suffixes = ["pkg.example.test".to_owned()];
        let check = |authority: &str, expected: Option<(&str, Option<&str>)>| {
            let found = virtual_host(authority, &suffixes);
            let found = found.as_ref().map(|v| (v.domain.as_str(), v.region.as_deref()));
            assert_eq!(found, expected, "{authority}");
        };
        let region = Some("eu-west-1");
        check("my-team-123456789012.d.codeartifact.eu-west-1.amazonaws.com", Some(("my-team", region)));
        check("MY-team-123456789012.d.codeartifact.eu-west-1.amazonaws.com:443", Some(("my-team", region)));
        check("team-123456789012.codeartifact.eu-west-1.on.aws", Some(("team", region)));
        check("team-123456789012.d.pkg.example.test:8090", Some(("team", None)));
        check("team-123456789012.pkg.example.test", None);
        check("team-12345678901.d.pkg.example.test", None);
        check("123456789012.d.pkg.example.test", None);
        check("team-123456789012.d.codeartifact.a.b.amazonaws.com", None);
        check("codeartifact.eu-west-1.amazonaws.com", None);
        check("localhost:8090", None);
        check("[::1]:8090", None);
    }
}
