//! Clients by address: whose a request is that a balancer passes on, and how much of one address is under way.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use dashmap::{DashMap, Entry};
use room::Problem;

use super::front::Front;
use crate::config::{Config, TrustedProxies};

/// What is under way by address: connections, and requests of clients who come through a trusted balancer.
pub(crate) struct PerAddress {
    /// 0 for no limit.
    most: u32,
    trusted: TrustedProxies,
    counts: DashMap<IpAddr, u32>,
}

/// A connection, or a request, that counts against its address's limit, for as long as it lives. Boxed: there is mostly
/// no limit.
#[derive(Default)]
pub(crate) struct AddressPlace(Option<Box<(Arc<Front>, IpAddr)>>);

/// The address of the trusted balancer that a connection comes from, where each request counts as its own client's.
/// Boxed: there is mostly none.
#[derive(Default)]
pub(crate) struct Relay(Option<Box<IpAddr>>);

impl PerAddress {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            most: config.limits.connections_per_ip,
            trusted: config.http.trusted_proxies.clone(),
            counts: DashMap::new(),
        }
    }

    /// Whether an address, in its canonical form, is a balancer's.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.contains(address)
    }

    /// Lets in a connection from an address: it takes one of the address's places, unless that is a balancer's.
    ///
    /// # Errors
    /// `rate_limited` if all are taken.
    pub(crate) fn let_in(front: &Arc<Front>, address: IpAddr) -> Result<(AddressPlace, Relay), Problem> {
        let this = &front.per_address;
        if this.most > 0 && this.trusts(address) {
            return Ok((AddressPlace::default(), Relay(Some(Box::new(address)))));
        }
        Ok((Self::take(front, address, "connections at a time: close")?, Relay::default()))
    }

    /// Lets in a request: where its connection is a balancer's, it takes one of its client's places.
    ///
    /// # Errors
    /// `rate_limited` if all are taken; `draining` before that.
    pub(crate) fn let_request_in(
        front: &Arc<Front>,
        relay: &Relay,
        forwarded: Option<&str>,
    ) -> Result<AddressPlace, Problem> {
        let Some(relay) = relay.0.as_deref() else { return Ok(AddressPlace::default()) };
        let client = client(&front.per_address.trusted, *relay, forwarded);
        Self::take(front, client, "requests under way: end")
            .or_else(|refusal| front.check_open().and(Err(refusal)))
    }

    fn take(front: &Arc<Front>, address: IpAddr, what: &str) -> Result<AddressPlace, Problem> {
        let Self { most, counts, .. } = &front.per_address;
        if *most == 0 {
            return Ok(AddressPlace::default());
        }
        let mut count = counts.entry(address).or_insert(0);
        if *count < *most {
            *count += 1;
            return Ok(AddressPlace(Some(Box::new((Arc::clone(front), address)))));
        }
        let detail = format!("an address may have {most} {what} one first");
        Err(Problem::rate_limited("ip", Duration::from_secs(1), detail))
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let Some((front, address)) = self.0.take().map(|place| *place) else { return };
        if let Entry::Occupied(mut count) = front.per_address.counts.entry(address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Whose a request is that comes from a trusted balancer, by `X-Forwarded-For`: each balancer adds the address that it was
/// asked from at the right, so from there the first that is no balancer's. If all are, the first of all.
///
/// The balancer's own address where the field is absent, or what has to be read of it is no list of addresses. What stands
/// to the left of the client is the client's claim, and not read.
pub(crate) fn client(trusted: &TrustedProxies, relay: IpAddr, forwarded: Option<&str>) -> IpAddr {
    let mut client = relay;
    for item in forwarded.into_iter().flat_map(|list| list.rsplit(',')) {
        let Some(address) = address(item.trim_matches([' ', '\t'])) else { return relay };
        client = address;
        if !trusted.contains(client) {
            break;
        }
    }
    client
}

/// An address as balancers write them: some add the port, some write IPv6 with brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let address = text.parse().ok().or_else(bracketed);
    address.or_else(|| text.parse::<SocketAddr>().ok().map(|it| it.ip())).map(|it| it.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BALANCER: &str = "10.0.0.1";

    fn trusted() -> TrustedProxies {
        TrustedProxies::parse(["10.0.0.0/8", "fd00::/8"]).unwrap()
    }

    #[track_caller]
    fn check(forwarded: Option<&str>, expect: &str) {
        let client = client(&trusted(), BALANCER.parse().unwrap(), forwarded);
        assert_eq!(client.to_string(), expect, "{forwarded:?}");
    }

    #[test]
    fn client_is_the_first_from_the_right_who_is_not_trusted() {
        check(Some("192.0.2.1"), "192.0.2.1");
        check(Some("198.51.100.9, 192.0.2.1"), "192.0.2.1");
        check(Some("192.0.2.1, 10.0.0.2,\t10.0.0.3 "), "192.0.2.1");
        check(Some("198.51.100.9,192.0.2.1,fd00::2"), "192.0.2.1");
        // A client within: the farthest of those who are trusted.
        check(Some("10.0.0.9"), "10.0.0.9");
        check(Some("10.0.0.9, 10.0.0.2"), "10.0.0.9");
    }

    #[test]
    fn addresses_are_read_as_balancers_write_them() {
        check(Some("192.0.2.1:4711"), "192.0.2.1");
        check(Some("2001:db8::1"), "2001:db8::1");
        check(Some("[2001:db8::1]"), "2001:db8::1");
        check(Some("[2001:db8::1]:4711"), "2001:db8::1");
        check(Some("::ffff:192.0.2.1"), "192.0.2.1");
        // Of a trusted one as well.
        check(Some("192.0.2.1, ::ffff:10.0.0.2"), "192.0.2.1");
        check(Some("192.0.2.1, 10.0.0.2:4711"), "192.0.2.1");
    }

    #[test]
    fn without_a_list_of_addresses_it_is_the_balancer() {
        check(None, BALANCER);
        for bad in [
            "",
            " ",
            ",",
            "192.0.2.1,",
            "unknown",
            "_hidden",
            "192.0.2",
            "192.0.2.1 192.0.2.2",
            "for=192.0.2.1",
        ] {
            check(Some(bad), BALANCER);
        }
        check(Some("unknown, 10.0.0.2"), BALANCER);
        // What a client claims may be anything.
        check(Some("unknown, 192.0.2.1"), "192.0.2.1");
        check(Some(",, 192.0.2.1, 10.0.0.2"), "192.0.2.1");
    }

    /// An address of nobody who is trusted.
    fn outside() -> impl Strategy<Value = IpAddr> {
        any::<[u8; 4]>().prop_map(|[a, b, c, d]| IpAddr::from([if a == 10 { 11 } else { a }, b, c, d]))
    }

    proptest! {
        #[test]
        fn claims_of_a_client_do_not_matter(
            claim in "\\PC{0,40}",
            client in outside(),
            balancers in prop::collection::vec(any::<[u8; 3]>(), 0..4),
        ) {
            let mut list = format!("{claim},{client}");
            for [b, c, d] in balancers {
                list += &format!(", 10.{b}.{c}.{d}");
            }
            prop_assert_eq!(super::client(&trusted(), BALANCER.parse().unwrap(), Some(&list)), client);
        }
    }
}
