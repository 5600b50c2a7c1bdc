//! TLS, where a certificate is configured.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::harness::{Conn, DEADLINE, H2, Options, Request, Server, spawn_refused, texts, within};

/// A certificate for localhost, on disk.
struct Certificate {
    dir: TempDir,
    signed: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Certificate {
    fn new() -> Self {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("cert.pem"), signed.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), signed.signing_key.serialize_pem()).unwrap();
        Self { dir, signed }
    }

    fn toml(&self) -> String {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        format!("[tls]\ncert = {:?}\nkey = {:?}\n", path("cert.pem"), path("key.pem"))
    }

    async fn connect(&self, server: &Server, protocols: &[&str]) -> TlsStream<TcpStream> {
        self.secure(TcpStream::connect(server.addr).await.unwrap(), protocols).await
    }

    async fn secure(&self, stream: TcpStream, protocols: &[&str]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.signed.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }
}

fn agreed(stream: &TlsStream<TcpStream>) -> Option<&str> {
    stream.get_ref().1.alpn_protocol().map(|name| std::str::from_utf8(name).unwrap())
}

#[tokio::test]
async fn both_versions_of_http_are_negotiated() {
    let certificate = Certificate::new();
    let server = Server::start(Options::default().and(&certificate.toml())).await;
    for (offered, expect) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let stream = certificate.connect(&server, offered).await;
        assert_eq!(agreed(&stream), expect, "{offered:?}");
        let (send, poll) = (Request::send("r", &json!({ "text": "x" })), Request::poll("r", "tail=1"));
        if expect == Some("h2") {
            let h2 = H2::over(stream).await;
            h2.call(&send).await.expect(201);
            assert_eq!(texts(&h2.call(&poll).await.expect_json(200)["messages"]), ["x"]);
        } else {
            let mut conn = Conn::over(stream);
            conn.call(&send).await.expect(201);
            assert_eq!(texts(&conn.call(&poll).await.expect_json(200)["messages"]), ["x"]);
        }
    }
}

#[tokio::test]
async fn parked_poll_is_answered_over_tls() {
    let certificate = Certificate::new();
    let server = Server::start(Options::default().and(&certificate.toml())).await;
    let mut conn = Conn::over(certificate.connect(&server, &["http/1.1"]).await);
    conn.send(&Request::poll("r", "timeout_ms=30000")).await;
    server.await_parked(1.0).await;
    let h2 = H2::over(certificate.connect(&server, &["h2"]).await).await;
    h2.call(&Request::send("r", &json!({ "text": "woken" }))).await.expect(201);
    assert_eq!(texts(&conn.answer().await.expect_json(200)["messages"]), ["woken"]);
    conn.send(&Request::poll("r", "timeout_ms=30000")).await;
    server.await_parked(1.0).await;
    drop(conn);
    server.await_unparked(0.0).await;
}

#[tokio::test]
async fn proxy_header_comes_before_tls() {
    let certificate = Certificate::new();
    let trusting = "[http]\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let options = Options::default().and("connections_per_ip = 1\n").and(trusting).and(&certificate.toml());
    let server = Server::start(options).await;
    let announced = async |client: &str, protocols: &'static [&str]| {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        let header = format!("PROXY TCP4 {client} 127.0.0.1 49152 443\r\n");
        stream.write_all(header.as_bytes()).await.unwrap();
        certificate.secure(stream, protocols).await
    };
    let poll = Request::poll("r", "timeout_ms=0");
    let mut ann = Conn::over(announced("192.0.2.1", &["http/1.1"]).await);
    ann.call(&poll).await.expect(200);
    let bob = H2::over(announced("192.0.2.2", &["h2"]).await).await;
    bob.call(&poll).await.expect(200);
    let mut second = Conn::over(announced("192.0.2.1", &[]).await);
    second.call(&poll).await.expect_problem(429, "rate_limited");
    // The balancer's own connection, which tells its clients apart by the other way.
    let own = H2::over(announced("127.0.0.1", &["h2"]).await).await;
    own.call(&poll.clone().header("X-Forwarded-For", "192.0.2.3")).await.expect(200);
    let refusal = own.call(&poll.header("X-Forwarded-For", "192.0.2.1")).await;
    assert_eq!(refusal.expect_problem(429, "rate_limited")["scope"], "ip");
}

#[tokio::test]
async fn plain_http_and_garbage_do_not_hurt() {
    let certificate = Certificate::new();
    let server = Server::start(Options::default().and(&certificate.toml())).await;
    for bytes in
        [Request::poll("r", "timeout_ms=0").encode(), vec![0; 1_000], b"\x16\x03\x01\xff\xff".repeat(500)]
    {
        let mut conn = server.conn().await;
        drop(conn.try_write(&bytes).await);
        // TLS may say goodbye by an alert, which is no HTTP answer.
        assert!(conn.try_answer().await.is_err());
    }
    let mut conn = Conn::over(certificate.connect(&server, &[]).await);
    conn.call(&Request::poll("r", "timeout_ms=0")).await.expect(200);
}

#[tokio::test]
async fn certificate_that_cannot_be_read_is_no_start() {
    let certificate = Certificate::new();
    std::fs::write(certificate.dir.path().join("key.pem"), "no key").unwrap();
    let refusal = spawn_refused(Options::default().and(&certificate.toml())).await;
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("key.pem"), "{}", refusal.stderr);
    std::fs::remove_file(certificate.dir.path().join("cert.pem")).unwrap();
    let refusal = spawn_refused(Options::default().and(&certificate.toml())).await;
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("cert.pem"), "{}", refusal.stderr);
}

#[tokio::test]
async fn handshake_that_never_comes_runs_out_of_time() {
    let certificate = Certificate::new();
    // Longer than unless configured, so that the least time shows which bound it was.
    let bounds = "[http]\nheader_timeout = \"12s\"\nidle_timeout = \"1s\"\n";
    let server = Server::start(Options::default().and(bounds).and(&certificate.toml())).await;
    let ends = [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"].map(async |start| {
        let mut conn = server.conn().await;
        let asked = Instant::now();
        conn.write(start).await;
        within(DEADLINE, "the end of the connection", conn.expect_end()).await;
        assert!(asked.elapsed() >= Duration::from_millis(11_500), "{start:?} after {:?}", asked.elapsed());
    });
    futures_util::future::join_all(ends).await;
}

#[tokio::test]
async fn http2_that_never_begins_runs_out_of_time() {
    let certificate = Certificate::new();
    let short = "[http]\nheader_timeout = \"1s\"\nidle_timeout = \"1s\"\n";
    let server = Server::start(Options::default().and(short).and(&certificate.toml())).await;
    let mut stream = certificate.connect(&server, &["h2"]).await;
    assert_eq!(agreed(&stream), Some("h2"));
    let mut rest = Vec::new();
    // Whether TLS is told goodbye or not: the connection is over.
    drop(within(DEADLINE, "the end of the connection", stream.read_to_end(&mut rest)).await);
}
