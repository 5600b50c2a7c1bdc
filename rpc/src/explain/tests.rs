//! Two nodes over a real connection, with TLS that fits and that does not.

use std::{net::SocketAddr, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, service::Routes};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::*;
use crate::{Address, Peer, SecurityError};

const NAME: &str = "bigroom";

/// An authority, and its files.
struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca"), issuer.as_ref().pem()).unwrap();
        Self { dir, issuer }
    }

    fn sign(&self, params: &CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.dir.path().join("cert"), cert.pem()).unwrap();
        std::fs::write(self.dir.path().join("key"), key.serialize_pem()).unwrap();
    }

    /// A node with a new certificate for a name.
    fn node(&self, name: &str, trusted: &Self) -> Security {
        self.sign(&CertificateParams::new([name.to_owned()]).unwrap());
        self.security(trusted).unwrap()
    }

    fn expired(&self) -> Security {
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self.sign(&params);
        self.security(self).unwrap()
    }

    fn security(&self, trusted: &Self) -> Result<Security, SecurityError> {
        let [cert, key] = ["cert", "key"].map(|file| self.dir.path().join(file));
        Security::mutual(&cert, &key, &trusted.dir.path().join("ca"), NAME)
    }
}

async fn served(security: &Security) -> SocketAddr {
    let (_, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = security.server().unwrap();
    let server = server.add_routes(Routes::new(health));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

async fn asked(address: SocketAddr, security: &Security) -> Result<(), String> {
    let peer = Peer::new(&Address::new(&address.to_string()), security).unwrap();
    let mut client = HealthClient::new(peer.channel());
    let asked = peer.ask(Duration::from_secs(20), client.check(HealthCheckRequest::default()));
    asked.await.map(drop).map_err(|status| {
        assert_ne!(status.code(), Code::DeadlineExceeded);
        peer.explain(&status)
    })
}

/// Asks until the failure is explained: what breaks first, the connection or the handshake on it, is a matter of luck.
async fn check(server: &Security, client: &Security, advice: &str) {
    let address = served(server).await;
    let mut said = String::new();
    for _ in 0..100 {
        said = asked(address, client).await.unwrap_err();
        if said.contains(advice) {
            return;
        }
    }
    panic!("expected {advice:?} in {said:?}");
}

#[tokio::test]
async fn nodes_of_one_authority_understand_each_other() {
    let ours = Authority::new("ours");
    let address = served(&ours.node(NAME, &ours)).await;
    asked(address, &ours.node(NAME, &ours)).await.unwrap();
    asked(served(&Security::none()).await, &Security::none()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_do_not_fit_are_told_what_to_do() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (node, plain) = (ours.node(NAME, &ours), Security::none());
    check(&node, &plain, "set cluster.tls.cert, key and ca on this node, too").await;
    check(&plain, &node, "set cluster.tls.cert, key and ca on all nodes or on none").await;
    let stranger = theirs.node(NAME, &theirs);
    check(&node, &stranger, "not signed by the authority in cluster.tls.ca of this node").await;
    check(&node, &theirs.node(NAME, &ours), "does not take cluster.tls.cert of this node").await;
    check(&ours.node("other", &ours), &node, "for another name").await;
    check(&ours.expired(), &node, "renew it").await;
    check(&node, &ours.expired(), "look whether it has expired").await;
}

#[tokio::test]
async fn authority_of_the_same_name_is_another_one() {
    let (ours, theirs) = (Authority::new("ca"), Authority::new("ca"));
    let node = ours.node(NAME, &ours);
    check(&node, &theirs.node(NAME, &theirs), "not signed by the authority in cluster.tls.ca of this node")
        .await;
}

#[tokio::test]
async fn node_that_is_away_is_not_taken_for_another_kind() {
    let ours = Authority::new("ours");
    for security in [ours.node(NAME, &ours), Security::none()] {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let said = asked(gone, &security).await.unwrap_err();
        assert!(said.contains("refused") && !said.contains("cluster.tls"), "{said}");
    }
}

#[test]
fn files_that_are_no_good_are_named() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    ours.node(NAME, &ours);
    theirs.node(NAME, &theirs);
    let refused = |expect: &str| {
        let said = ours.security(&ours).unwrap_err().to_string();
        assert!(said.contains(expect) && said.contains(ours.dir.path().to_str().unwrap()), "{said}");
    };
    let file = |name: &str| ours.dir.path().join(name);
    std::fs::copy(theirs.dir.path().join("key"), file("key")).unwrap();
    refused("must be the key of the certificate in cluster.tls.cert");
    std::fs::write(file("key"), "no key").unwrap();
    refused("must be a private key in PEM");
    ours.node(NAME, &ours);
    std::fs::write(file("cert"), "").unwrap();
    refused("has no CERTIFICATE block");
    ours.node(NAME, &ours);
    std::fs::write(file("ca"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    refused("must be certificates of authorities");
    std::fs::remove_file(file("ca")).unwrap();
    refused("the file can't be read");
    let [cert, key] = ["cert", "key"].map(file);
    let named = Security::mutual(&cert, &key, &theirs.dir.path().join("ca"), "a b");
    assert!(matches!(named, Err(SecurityError::Name(_))), "{named:?}");
}
