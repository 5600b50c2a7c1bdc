//! The balancers whose word on a client's address counts.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Peers that are trusted to say whose connection or request they pass on, by address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Prefixes from their texts, such as `10.0.0.0/8`, `fd00::/8`, or an address alone; `None` if one is none of these.
    pub(crate) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        texts.into_iter().map(prefix).collect::<Option<_>>().map(Self)
    }

    /// Whether an address is among them. It is to be canonical: IPv4 not in the form of IPv6.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|prefix| prefix.contains(&address))
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every address of a family is trusted.
    pub(super) fn has_all_of_a_family(&self) -> bool {
        self.0.iter().any(|prefix| prefix.prefix_len() == 0)
    }
}

/// One prefix. Peers are looked up by their canonical address, so that is what prefixes are made of.
fn prefix(text: &str) -> Option<IpNet> {
    /// Of IPv4 addresses in the form of IPv6, `::ffff:0:0/96`.
    const MAPPED_BITS: u8 = 96;
    let prefix = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().ok()?,
    };
    match (prefix.addr().to_canonical(), prefix.prefix_len().checked_sub(MAPPED_BITS)) {
        (IpAddr::V4(address), Some(bits)) if prefix.addr().is_ipv6() => {
            Ipv4Net::new(address, bits).ok().map(IpNet::V4)
        }
        _ => Some(prefix),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contains(prefixes: &[&str], address: &str) -> bool {
        let trusted = TrustedProxies::parse(prefixes.iter().copied()).expect("prefixes");
        trusted.contains(address.parse().unwrap())
    }

    #[test]
    fn peers_are_trusted_by_prefix() {
        let prefixes = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "::ffff:172.16.0.0/108"];
        for address in ["10.255.0.1", "192.0.2.7", "2001:db8:ffff::1", "::1", "172.16.0.1", "172.31.255.255"]
        {
            assert!(contains(&prefixes, address), "{address}");
        }
        for address in ["11.0.0.1", "192.0.2.8", "2001:db9::1", "::2", "172.32.0.1", "127.0.0.1"] {
            assert!(!contains(&prefixes, address), "{address}");
        }
        assert!(!contains(&[], "127.0.0.1"));
        // Bits behind the prefix do not matter.
        assert!(contains(&["10.1.2.3/8"], "10.9.9.9"));
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for bad in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "localhost",
            "10.0.0.1:80",
            "[::1]",
            "*",
            "10.0.0.0/",
            "10.0.0.0/-1",
        ] {
            assert_eq!(TrustedProxies::parse([bad]), None, "{bad}");
        }
        assert_eq!(TrustedProxies::parse(["10.0.0.0/8", "x"]), None);
    }

    proptest! {
        #[test]
        fn prefix_holds_what_begins_like_it(network: u128, bits in 0_u8..=128, address: u128) {
            let prefix = format!("{}/{bits}", IpAddr::from(network.to_be_bytes()));
            let trusted = TrustedProxies::parse([&*prefix]).unwrap();
            let begins_alike = bits == 0 || (network ^ address) >> (128 - bits) == 0;
            let address = IpAddr::from(address.to_be_bytes());
            prop_assume!(address == address.to_canonical());
            prop_assert_eq!(trusted.contains(address), begins_alike);
        }
    }
}
