//! HAProxy as a balancer of TCP, which tells whose connections it passes on by the PROXY protocol.

use crate::harness::{Balancer, Conn, Options, Request, Server};

async fn clients_are_limited_by_their_own_addresses(send_proxy: &str) {
    let trusting = "[http]\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let server = Server::start(Options::default().and(&format!("connections_per_ip = 1\n{trusting}"))).await;
    let balancer = Balancer::start_tcp(server.addr, send_proxy).await;
    let from = async |last| Conn::open_from([127, 0, 0, last].into(), balancer.addr).await;
    let (held, brief) = (Request::poll("r", "timeout_ms=30000"), Request::poll("r", "timeout_ms=0"));
    let (mut ann, mut bob) = (from(2).await, from(3).await);
    for (conn, count) in [(&mut ann, 1.0), (&mut bob, 2.0)] {
        conn.send(&held).await;
        server.await_parked(count).await;
    }
    for request in [&brief, &brief.clone().header("X-Forwarded-For", "192.0.2.1")] {
        let refusal = from(2).await.call(request).await.expect_problem(429, "rate_limited");
        assert_eq!(refusal["scope"], "ip");
    }
    // A header that the client sends itself comes behind the balancer's.
    let mut forger = from(4).await;
    forger.write([b"PROXY TCP4 192.0.2.1 127.0.0.1 49152 80\r\n", &brief.encode()[..]].concat()).await;
    forger.answer().await.expect_problem(400, "invalid_request");
    from(5).await.call(&brief).await.expect(200);
    // The balancer's checks are connections of its own, and good ones: it would have given the server up.
    assert_eq!(server.metric("bigroom_proxy_headers_refused_total", &[]).await, 0.0);
    assert!(!balancer.log().contains("DOWN"), "{}", balancer.log());
}

#[tokio::test]
async fn version_1() {
    clients_are_limited_by_their_own_addresses("send-proxy").await;
}

#[tokio::test]
async fn version_2() {
    clients_are_limited_by_their_own_addresses("send-proxy-v2").await;
}
