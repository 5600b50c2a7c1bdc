//! Addresses of other nodes.

use std::net::Ipv6Addr;

/// A node that is reached over the network: `host:port`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeAddress(Box<str>);

impl NodeAddress {
    /// The address from its text; `None` if that is no `host:port`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        address(text).map(Self)
    }

    /// An address that is one.
    pub(super) fn known(text: &str) -> Self {
        Self(text.into())
    }

    /// The address, as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Nodes that are asked over the network: `host:port` each, in the order given, none twice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeAddresses(Vec<Box<str>>);

impl NodeAddresses {
    /// The nodes from their texts; `None` if one is no `host:port` or is there twice.
    pub(super) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut nodes: Vec<Box<str>> = Vec::new();
        for text in texts {
            let text = address(text)?;
            if nodes.contains(&text) {
                return None;
            }
            nodes.push(text);
        }
        Some(Self(nodes))
    }

    /// The addresses, as they were given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a text is `host:port`.
#[must_use]
pub fn is_node_address(text: &str) -> bool {
    address(text).is_some()
}

/// The text, if it is a host and a port.
fn address(text: &str) -> Option<Box<str>> {
    let (host, port) = text.rsplit_once(':')?;
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    (is_port && is_host).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_hosts_with_ports() {
        let nodes = NodeAddresses::parse(["127.0.0.1:7070", "stats-1.internal:7070", "[::1]:7070"]).unwrap();
        assert_eq!(
            nodes.iter().collect::<Vec<_>>(),
            ["127.0.0.1:7070", "stats-1.internal:7070", "[::1]:7070"]
        );
        for bad in ["", "a", "a:", "a:0", "a:65536", "a:+1", ":1", "http://a:1", "a:1/x", "[x]:1", "a b:1"] {
            assert_eq!(NodeAddresses::parse([bad]), None, "{bad}");
        }
        assert_eq!(NodeAddresses::parse(["a:1", "a:1"]), None);
    }
}
