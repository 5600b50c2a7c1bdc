//! Which web pages may call from a browser.

/// The origins that CORS admits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum CorsOrigins {
    /// Any page, without credentials.
    #[default]
    Any,
    /// Pages of these origins, with credentials. None at all if empty.
    ///
    /// Each as browsers send it in `Origin`: `scheme://host[:port]` in lower case, without the scheme's own port.
    Listed(Vec<Box<str>>),
}

impl CorsOrigins {
    /// The origins from their texts: `*` alone, or `scheme://host[:port]` each. `None` if one is neither.
    pub(super) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let texts: Vec<_> = texts.into_iter().collect();
        if texts == ["*"] {
            return Some(Self::Any);
        }
        texts.into_iter().map(origin).collect::<Option<Vec<_>>>().map(Self::Listed)
    }

    /// Whether a page of `origin` (the header's bytes) is listed. Any page is admitted by [`CorsOrigins::Any`],
    /// but none is listed there.
    #[must_use]
    pub fn lists(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => false,
            Self::Listed(origins) => origins.iter().any(|listed| listed.as_bytes() == origin),
        }
    }
}

/// The text as browsers send it, if it is an origin.
fn origin(text: &str) -> Option<Box<str>> {
    let text = text.to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    // The port follows the last colon, unless that is within the brackets of an IPv6 address.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            (host, Some(port.parse::<u16>().ok().filter(|port| *port > 0)?))
        }
        _ => (authority, None),
    };
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    let port = port.filter(|port| !matches!((scheme, port), ("http", 80) | ("https", 443)));
    (is_scheme && is_host).then(|| match port {
        Some(port) => format!("{scheme}://{host}:{port}").into(),
        None => format!("{scheme}://{host}").into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_follow_their_rule() {
        for (text, expect) in [
            ("https://example.com", Some("https://example.com")),
            ("HTTPS://Example.com:443", Some("https://example.com")),
            ("http://localhost:3000", Some("http://localhost:3000")),
            ("http://[::1]:3000", Some("http://[::1]:3000")),
            ("http://[::1]", Some("http://[::1]")),
            ("capacitor://localhost", Some("capacitor://localhost")),
            ("example.com", None),
            ("https://", None),
            ("https://example.com/", None),
            ("https://example.com:0", None),
            ("https://example.com:x", None),
            ("https://*.example.com", None),
            ("https://a b", None),
            ("null", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(origin(text).as_deref(), expect, "{text}");
        }
    }

    #[test]
    fn star_stands_alone() {
        assert_eq!(CorsOrigins::parse(["*"]), Some(CorsOrigins::Any));
        assert_eq!(CorsOrigins::parse(["*", "https://a"]), None);
        assert_eq!(CorsOrigins::parse([]), Some(CorsOrigins::Listed(vec![])));
    }

    #[test]
    fn only_listed_origins_are_echoed() {
        let listed = CorsOrigins::parse(["https://a.example"]).unwrap();
        assert!(listed.lists(b"https://a.example"));
        assert!(!listed.lists(b"https://b.example"));
        assert!(!CorsOrigins::Any.lists(b"https://a.example"));
    }
}
