//! Connections that begin with a header of the PROXY protocol count as whose they are, those of clients who are no balancers
//! have none, and what is no header ends them.
//!
//! The balancer is the test: it comes from 127.0.0.1, which the server trusts.

use serde_json::json;

use crate::harness::{Conn, DEADLINE, H2, Options, Request, Server, eventually, texts};

async fn server(rest: &str) -> Server {
    let keys = "[http]\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n";
    Server::start(Options::default().and(&format!("connections_per_ip = 1\n{keys}{rest}"))).await
}

/// A header of version 1.
fn v1(client: &str) -> Vec<u8> {
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let server = if client.contains(':') { "::1" } else { "127.0.0.1" };
    format!("PROXY {family} {client} {server} 49152 80\r\n").into_bytes()
}

/// A header of version 2 with this command, family and rest.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[0x20 | command, family][..], &length, rest].concat()
}

fn v2_of(client: [u8; 4]) -> Vec<u8> {
    v2(1, 0x11, &[&client[..], &[127, 0, 0, 1, 192, 0, 0, 80]].concat())
}

async fn announced(server: &Server, header: &[u8]) -> Conn {
    let mut conn = server.conn().await;
    conn.write(header).await;
    conn
}

fn held() -> Request {
    Request::poll("r", "timeout_ms=30000")
}

fn brief() -> Request {
    Request::poll("r", "timeout_ms=0")
}

#[tokio::test]
async fn connections_count_as_their_clients() {
    let server = server("").await;
    let mut ann = announced(&server, &v1("192.0.2.1")).await;
    ann.send(&held()).await;
    let mut bob = announced(&server, &v1("2001:db8::b")).await;
    bob.send(&held()).await;
    let mut cid = announced(&server, &v2_of([192, 0, 2, 3])).await;
    cid.send(&held()).await;
    server.await_parked(3.0).await;
    for header in [v1("192.0.2.1"), v2_of([192, 0, 2, 1]), v1("2001:db8::b"), v2_of([192, 0, 2, 3])] {
        let mut second = announced(&server, &header).await;
        assert_eq!(second.call(&held()).await.expect_problem(429, "rate_limited")["scope"], "ip");
        second.expect_close().await;
    }
    // Whose client is none of the balancer's has no word on whose requests they are.
    let mut claims = announced(&server, &v1("192.0.2.4")).await;
    claims.call(&brief().header("X-Forwarded-For", "192.0.2.1")).await.expect(200);
    drop(ann);
    eventually(DEADLINE, "a place", || async {
        let mut conn = announced(&server, &v2_of([192, 0, 2, 1])).await;
        match conn.try_call(&brief()).await {
            Some(answer) if answer.status == 200 => Ok(()),
            answer => Err(format!("{answer:?}")),
        }
    })
    .await;
    assert_eq!(server.metric("bigroom_proxy_headers_refused_total", &[]).await, 0.0);
}

#[tokio::test]
async fn header_may_come_with_the_request_or_in_pieces() {
    let server = server("").await;
    for (at, header) in [v1("192.0.2.1"), v2_of([192, 0, 2, 2])].iter().enumerate() {
        let send = Request::send("r", &json!({ "text": format!("{at}") }));
        let mut conn = server.conn().await;
        conn.write([&header[..], &send.encode()].concat()).await;
        conn.answer().await.expect(201);
        conn.call(&brief()).await.expect(200);
    }
    for header in [v1("192.0.2.3"), v2_of([192, 0, 2, 4])] {
        let mut conn = server.conn().await;
        for byte in header {
            conn.write([byte]).await;
            tokio::task::yield_now().await;
        }
        conn.call(&brief()).await.expect(200);
    }
    // Another protocol than HTTP/1 may follow, which begins with bytes of its own.
    let stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    stream.writable().await.unwrap();
    assert_eq!(stream.try_write(&v1("192.0.2.5")).unwrap(), v1("192.0.2.5").len());
    let h2 = H2::over(stream).await;
    let messages = h2.call(&Request::poll("r", "cursor=-1&timeout_ms=0")).await.expect_json(200);
    assert_eq!(texts(&messages["messages"]), ["0", "1"]);
}

#[tokio::test]
async fn balancers_own_connections_are_served() {
    let server = server("").await;
    for header in [v2(0, 0, &[]), v2(1, 0, &[]), b"PROXY UNKNOWN\r\n".to_vec()] {
        // They are not limited as one client's are; their requests are, by the balancer's address or as it says.
        let mut first = announced(&server, &header).await;
        first.call(&brief()).await.expect(200);
        let mut second = announced(&server, &header).await;
        second.call(&Request::get("/openapi.json")).await.expect(200);
        second.call(&brief().header("X-Forwarded-For", "192.0.2.1")).await.expect(200);
        first.call(&brief()).await.expect(200);
    }
    // It may also look only whether somebody listens.
    drop(server.conn().await);
    let mut conn = announced(&server, &v1("192.0.2.1")).await;
    conn.call(&brief()).await.expect(200);
    assert_eq!(server.metric("bigroom_proxy_headers_refused_total", &[]).await, 0.0);
}

#[tokio::test]
async fn connection_without_a_header_is_ended() {
    let server = server("header_timeout = \"500ms\"\n").await;
    let mut refused = 0.0;
    for bytes in [
        brief().encode(),
        b"PROXY TCP4 192.0.2.1\r\n".to_vec(),
        [v2(2, 0x11, &[0; 12]), brief().encode()].concat(),
        v2(1, 0x11, &[0; 11]),
        v2(1, 0x11, &[0; 5000]),
        [b"PROXY ".as_slice(), &[b'x'; 200]].concat(),
        // Too slow, or cut off.
        Vec::new(),
        b"PROXY TCP4 192.0.2.1 127.".to_vec(),
        v2_of([192, 0, 2, 1])[..20].to_vec(),
    ] {
        let mut conn = server.conn().await;
        drop(conn.try_write(&bytes).await);
        let answer = conn.try_answer().await;
        assert!(answer.is_err(), "{bytes:?}: {answer:?}");
        refused += 1.0;
        eventually(DEADLINE, "the count", || async {
            let count = server.metric("bigroom_proxy_headers_refused_total", &[]).await;
            if count == refused { Ok(()) } else { Err(format!("{count}, not {refused}")) }
        })
        .await;
    }
    // One header is enough: a second is no request.
    let mut conn = announced(&server, &[v1("192.0.2.1"), v1("192.0.2.2")].concat()).await;
    conn.answer().await.expect_problem(400, "invalid_request");
    announced(&server, &v1("192.0.2.9")).await.call(&brief()).await.expect(200);
}

#[tokio::test]
async fn header_of_a_peer_that_is_not_trusted_is_no_header() {
    let server = server("").await;
    let from = |last| Conn::open_from([127, 0, 0, last].into(), server.addr);
    // It is a client that comes by itself, and served as one.
    let mut direct = from(2).await;
    direct.call(&brief()).await.expect(200);
    let mut second = from(2).await;
    second.send(&held()).await;
    second.answer().await.expect_problem(429, "rate_limited");
    for (last, header) in [(3, v1("192.0.2.1")), (4, v2_of([192, 0, 2, 1]))] {
        let mut forger = from(last).await;
        forger.write(&[&header[..], &brief().encode()].concat()).await;
        forger.answer().await.expect_problem(400, "invalid_request");
        forger.expect_close().await;
    }
    announced(&server, &v1("192.0.2.1")).await.call(&brief()).await.expect(200);
}
