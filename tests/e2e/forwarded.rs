//! Clients behind a trusted balancer are told apart by `X-Forwarded-For`, and by nothing that they say themselves.
//!
//! The balancer is the test: it comes from 127.0.0.1, which the server trusts.

use serde_json::json;

use crate::harness::{Answer, Conn, DEADLINE, H2, Options, Request, Server, eventually, texts, within};

const ANN: &str = "192.0.2.1";
const BOB: &str = "2001:db8::b";

/// A server with so many places an address, which trusts 127.0.0.1 and a range that no test comes from.
async fn server(most: u32) -> Server {
    let keys = "[http]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n";
    Server::start(Options::default().and(&format!("connections_per_ip = {most}\n{keys}"))).await
}

fn held(client: &str) -> Request {
    Request::poll("r", "timeout_ms=30000").header("X-Forwarded-For", client)
}

fn brief(client: &str) -> Request {
    Request::poll("r", "timeout_ms=0").header("X-Forwarded-For", client)
}

#[track_caller]
fn expect_refused(answer: Answer) {
    assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
    assert_eq!(answer.expect_problem(429, "rate_limited")["scope"], "ip");
}

/// Asks again until there is a place: it is given back a moment after the client is gone or answered.
async fn eventually_a_place(server: &Server, request: &Request) {
    eventually(DEADLINE, "a place", || async {
        let answer = server.conn().await.call(request).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

#[tokio::test]
async fn requests_of_a_balancer_count_as_their_clients() {
    let server = server(1).await;
    let mut first = server.conn().await;
    first.send(&held(ANN)).await;
    server.await_parked(1.0).await;
    // The same connection carries the requests of one client and of another; none of them ends it.
    let mut second = server.conn().await;
    expect_refused(second.call(&held(ANN)).await);
    second.call(&brief(BOB)).await.expect(200);
    expect_refused(second.call(&brief(ANN)).await);
    second.send(&held(BOB)).await;
    server.await_parked(2.0).await;
    let mut third = server.conn().await;
    expect_refused(third.call(&held(BOB)).await);
    // What is answered gives its place back, though its connection stays.
    third.call(&Request::send("r", &json!({ "text": "x" }))).await.expect(201);
    for conn in [&mut first, &mut second] {
        assert_eq!(texts(&conn.answer().await.expect_json(200)["messages"]), ["x"]);
    }
    third.call(&brief(ANN)).await.expect(200);
    third.call(&brief(BOB)).await.expect(200);
    first.send(&held(BOB)).await;
    second.send(&held(ANN)).await;
    server.await_parked(2.0).await;
    drop(second);
    eventually_a_place(&server, &brief(ANN)).await;
    expect_refused(third.call(&brief(BOB)).await);
}

#[tokio::test]
async fn every_kind_of_request_has_its_place() {
    let server = server(1).await;
    let events = Request::poll("r", "cursor=now").header("Accept", "text/event-stream");
    let several = Request::get("/v1/poll?rooms=r:now,s:now&timeout_ms=30000");
    let of = |request: Request, client: &str| request.header("X-Forwarded-For", client);
    let history = Request::get("/v1/rooms/r/history");
    let numbers = Request::get("/v1/rooms/r/stats");
    let send = Request::send("r", &json!({ "text": "x" }));
    for (request, parked) in [(held(ANN), 1.0), (of(events, ANN), 1.0), (of(several, ANN), 2.0)] {
        let mut holding = server.conn().await;
        holding.send(&request).await;
        server.await_parked(parked).await;
        let mut conn = server.conn().await;
        expect_refused(conn.call(&brief(ANN)).await);
        expect_refused(conn.call(&of(send.clone(), ANN)).await);
        // Once the numbers are in memory, they are told by another way.
        eventually(DEADLINE, "the room's numbers", || async {
            let told = server.conn().await.call(&of(numbers.clone(), BOB)).await.expect_json(200);
            if told["num_clients"].as_u64() > Some(0) { Ok(()) } else { Err(format!("{told}")) }
        })
        .await;
        expect_refused(conn.call(&of(numbers.clone(), ANN)).await);
        // The connection goes on behind the body, however it comes.
        let body = send_head(&mut conn, &of(send.clone(), ANN)).await;
        conn.write(body).await;
        expect_refused(conn.answer().await);
        expect_refused(conn.call(&of(history.clone(), ANN)).await);
        conn.call(&of(history.clone(), BOB)).await.expect(200);
        drop(holding);
        eventually_a_place(&server, &brief(ANN)).await;
    }
    // A request is under way while its body is.
    let mut slow = server.conn().await;
    let body = send_head(&mut slow, &of(send, ANN)).await;
    let mut conn = server.conn().await;
    expect_refused(conn.call(&brief(ANN)).await);
    slow.write(body).await;
    slow.answer().await.expect(201);
    // Its place is free once all of its answer is written, which the client may have read by then.
    eventually_a_place(&server, &brief(ANN)).await;
}

/// Sends a request but for its body, which it gives back, and waits until the server has read that.
async fn send_head(conn: &mut Conn, request: &Request) -> Vec<u8> {
    let bytes = request.clone().header("Expect", "100-continue").encode();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    conn.write(&bytes[..end]).await;
    conn.answer().await.expect(100);
    bytes[end..].to_vec()
}

#[tokio::test]
async fn requests_of_one_http2_connection_are_told_apart() {
    let server = server(1).await;
    let h2 = H2::open(server.addr).await;
    let poll = tokio::spawn({
        let h2 = h2.clone();
        async move { h2.call(&held(ANN)).await }
    });
    server.await_parked(1.0).await;
    expect_refused(h2.call(&held(ANN)).await);
    h2.call(&brief(BOB)).await.expect(200);
    h2.call(&Request::send("r", &json!({ "text": "x" }))).await.expect(201);
    assert_eq!(
        texts(&within(DEADLINE, "the message", poll).await.unwrap().expect_json(200)["messages"]),
        ["x"]
    );
    h2.call(&brief(ANN)).await.expect(200);
    // Events last beyond the request that asked for them.
    let events = Request::poll("r", "cursor=now").header("Accept", "text/event-stream");
    let stream = tokio::spawn({
        let h2 = h2.clone();
        async move { h2.call(&events.header("X-Forwarded-For", ANN)).await }
    });
    server.await_parked(1.0).await;
    expect_refused(h2.call(&brief(ANN)).await);
    stream.abort();
    eventually_a_place(&server, &brief(ANN)).await;
}

#[tokio::test]
async fn claims_of_clients_gain_nothing() {
    let server = server(1).await;
    // From a peer that is not trusted, the field is nothing: its connections count as its own, and the second is closed.
    let mut untrusted = Conn::open_from([127, 0, 0, 2].into(), server.addr).await;
    untrusted.send(&held(ANN)).await;
    server.await_parked(1.0).await;
    let mut second = Conn::open_from([127, 0, 0, 2].into(), server.addr).await;
    expect_refused(second.call(&held(BOB)).await);
    second.expect_close().await;
    // And it has taken no place of those that it named.
    let mut balancer = server.conn().await;
    balancer.call(&brief(ANN)).await.expect(200);
    expect_refused(balancer.call(&brief("127.0.0.2")).await);

    // Through a balancer that adds to what is there: only what was added counts.
    balancer.send(&held(ANN)).await;
    server.await_parked(2.0).await;
    let mut again = server.conn().await;
    for claim in [BOB, "10.0.0.1", "unknown", "\u{fffd}", ",,", "127.0.0.1"] {
        expect_refused(again.call(&brief(&format!("{claim}, {ANN}"))).await);
        expect_refused(again.call(&brief(&format!("{claim},{ANN}:4711,10.0.0.7 , 10.0.0.8"))).await);
        expect_refused(again.call(&brief(claim).header("X-Forwarded-For", ANN)).await);
    }
    let forwarded = brief(ANN).header("Forwarded", "for=192.0.2.9").header("X-Real-IP", "192.0.2.9");
    expect_refused(again.call(&forwarded).await);
    again.call(&brief(&format!("{ANN}, {BOB}"))).await.expect(200);
}

#[tokio::test]
async fn request_without_a_client_is_the_balancers() {
    let server = server(1).await;
    let mut held_for_itself = server.conn().await;
    held_for_itself.send(&Request::poll("r", "timeout_ms=30000")).await;
    server.await_parked(1.0).await;
    let mut conn = server.conn().await;
    expect_refused(conn.call(&Request::poll("r", "timeout_ms=0")).await);
    for nobody in ["", "unknown", "localhost", "192.0.2.1 192.0.2.2", "unknown, 10.0.0.1"] {
        expect_refused(conn.call(&brief(nobody)).await);
    }
    conn.call(&brief(ANN)).await.expect(200);
    // Any number of connections, though: they are its clients'.
    let mut idle = Vec::new();
    for _ in 0..5 {
        let mut conn = server.conn().await;
        conn.call(&brief(BOB)).await.expect(200);
        idle.push(conn);
    }
}
