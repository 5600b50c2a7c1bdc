//! Who may tell a worker what to do, and where workers and targets may be.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use tonic::{Request, Status, metadata::AsciiMetadataValue, service::Interceptor};

/// Header that carries the secret.
const HEADER: &str = "authorization";
/// Shortest secret that is taken for one.
const SECRET_CHARS_MIN: usize = 16;

/// What controller and worker both know; without it, everybody on the machine may control a worker.
#[derive(Clone, Debug)]
pub(super) struct Secret(Option<AsciiMetadataValue>);

impl Secret {
    /// The first line of a file; no secret without a file.
    pub(super) fn read(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let secret = text.lines().next().unwrap_or_default().trim();
        ensure!(
            secret.chars().count() >= SECRET_CHARS_MIN,
            "{} must begin with a line of {SECRET_CHARS_MIN} characters or more",
            path.display()
        );
        let header = AsciiMetadataValue::try_from(format!("Bearer {secret}"))
            .with_context(|| format!("{} must hold visible ASCII", path.display()))?;
        Ok(Self(Some(header)))
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Adds it to what a controller sends.
    pub(super) fn adder(&self) -> impl Interceptor + Clone + use<> {
        let secret = self.0.clone();
        move |mut request: Request<()>| {
            if let Some(secret) = &secret {
                request.metadata_mut().insert(HEADER, secret.clone());
            }
            Ok(request)
        }
    }

    /// Refuses whoever does not have it.
    pub(super) fn checker(&self) -> impl Interceptor + Clone + use<> {
        let secret = self.0.clone();
        move |request: Request<()>| match &secret {
            Some(secret) if !is_equal(request.metadata().get(HEADER), secret) => {
                Err(Status::unauthenticated(
                    "the secret is missing or another one: give both sides the same --secret-file",
                ))
            }
            _ => Ok(request),
        }
    }
}

/// Compares all bytes whatever they are, so that the time it takes does not tell how many were right.
fn is_equal(given: Option<&AsciiMetadataValue>, secret: &AsciiMetadataValue) -> bool {
    let (given, secret) = (given.map_or(&b""[..], AsciiMetadataValue::as_bytes), secret.as_bytes());
    let difference = given.iter().zip(secret).fold(0, |difference, (one, two)| difference | (one ^ two));
    given.len() == secret.len() && std::hint::black_box(difference) == 0
}

/// Refuses an address that is not this machine's own, unless that was asked for.
pub(super) fn check_address(what: &str, address: SocketAddr, allow_remote: bool) -> Result<()> {
    let is_loopback = match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    };
    ensure!(
        is_loopback || allow_remote,
        "{what} {address} is not on loopback: add --allow-remote if it is yours to put under load"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Result<Secret> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Secret::read(Some(file.path()))
    }

    fn passes(controller: &Secret, worker: &Secret) -> bool {
        let request = controller.adder().call(Request::new(())).unwrap();
        worker.checker().call(request).is_ok()
    }

    #[test]
    fn only_the_same_secret_passes() {
        let (one, two) = (secret("0123456789abcdef\n").unwrap(), secret("0123456789abcdeX").unwrap());
        let none = Secret::read(None).unwrap();
        assert!(passes(&one, &one) && passes(&none, &none) && passes(&one, &none));
        assert!(!passes(&two, &one) && !passes(&none, &one));
        let longer = secret("0123456789abcdef0").unwrap();
        assert!(!passes(&longer, &one) && !passes(&one, &longer));
    }

    #[test]
    fn short_or_odd_secret_is_refused() {
        assert!(secret("").is_err() && secret("short\n0123456789abcdef").is_err());
        assert!(secret("0123456789abcde\u{1}").is_err());
    }

    #[test]
    fn address_elsewhere_needs_permission() {
        for (address, is_own) in [
            ("127.0.0.1:1", true),
            ("127.7.8.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("10.0.0.1:1", false),
            ("[::]:1", false),
            ("[2001:db8::1]:1", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(check_address("target", address, false).is_ok(), is_own, "{address}");
            assert!(check_address("target", address, true).is_ok());
        }
    }
}
