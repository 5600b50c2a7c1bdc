//! What a balancer does with bytes, seen from both sides: its proxies here are listeners of the test.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::{Notify, mpsc},
};

use crate::harness::{Balancer, Conn, DEADLINE, Kind, Request, within};

/// Stands in for both proxies.
struct Relay {
    balancer: Balancer,
    /// The heads of requests, as they came.
    heads: mpsc::Receiver<String>,
    connections: Arc<AtomicUsize>,
    /// The rest of an answer may go out.
    go_on: Arc<Notify>,
}

impl Relay {
    /// Answers `/halved` in two halves, closes on `/broken`, says `ok` to all else. Its ops listener never is: HAProxy has to do
    /// without.
    async fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let second = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let upstreams = [(listener.local_addr().unwrap(), nowhere), (second.local_addr().unwrap(), nowhere)];
        let (tell, heads) = mpsc::channel(1000);
        let (connections, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        for listener in [listener, second] {
            let (tell, connections, go_on) = (tell.clone(), Arc::clone(&connections), Arc::clone(&go_on));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, SeqCst);
                    tokio::spawn(answer(stream, tell.clone(), Arc::clone(&go_on)));
                }
            });
        }
        let balancer = Balancer::start(kind, upstreams).await;
        Self { balancer, heads, connections, go_on }
    }

    async fn conn(&self) -> Conn {
        self.balancer.conn().await
    }

    /// How often a path was asked for until now.
    fn asked(&mut self, path: &str) -> Vec<String> {
        let mut asked = Vec::new();
        while let Ok(head) = self.heads.try_recv() {
            if head.split(' ').nth(1) == Some(path) {
                asked.push(head);
            }
        }
        asked
    }
}

async fn answer(mut stream: tokio::net::TcpStream, tell: mpsc::Sender<String>, go_on: Arc<Notify>) {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(read.drain(..end).collect()).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        while read.len() < length.unwrap_or(0) {
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
        read.drain(..length.unwrap_or(0));
        let path = head.split(' ').nth(1).unwrap().to_owned();
        tell.send(head).await.unwrap();
        match path.as_str() {
            "/broken" => return,
            "/halved" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf").await.unwrap();
                go_on.notified().await;
                stream.write_all(b"rest").await.unwrap();
            }
            _ => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap(),
        }
    }
}

async fn first_half_comes_while_the_second_is_not_sent_yet(kind: Kind) {
    let relay = Relay::start(kind).await;
    let mut conn = relay.conn().await;
    conn.send(&Request::get("/halved")).await;
    assert_eq!(conn.head().await.unwrap().status, 200);
    assert_eq!(within(DEADLINE, "the first half", conn.bytes(4)).await, b"half");
    relay.go_on.notify_one();
    assert_eq!(within(DEADLINE, "the rest", conn.bytes(4)).await, b"rest");
}

async fn connections_to_proxies_are_used_again(kind: Kind) {
    let relay = Relay::start(kind).await;
    let mut conn = relay.conn().await;
    conn.call(&Request::get("/")).await.expect(200);
    let before = relay.connections.load(SeqCst);
    for _ in 0..40 {
        conn.call(&Request::get("/")).await.expect(200);
    }
    let made = relay.connections.load(SeqCst) - before;
    assert!(made <= 2, "{made} connections for 40 requests");
}

async fn claims_of_clients_about_their_address_are_written_over(kind: Kind) {
    let mut relay = Relay::start(kind).await;
    let request =
        Request::get("/").header("X-Forwarded-For", "192.0.2.1").header("Forwarded", "for=192.0.2.1");
    relay.conn().await.call(&request).await.expect(200);
    let heads = relay.asked("/");
    let [head] = &heads[..] else { panic!("{heads:?}") };
    let lower = head.to_ascii_lowercase();
    assert!(!lower.contains("192.0.2.1"), "{head}");
    assert!(lower.contains("x-forwarded-for: 127.0.0.1\r\n"), "{head}");
    assert!(head.starts_with("GET / HTTP/1.1\r\n") && lower.contains("host: bigroom.test\r\n"), "{head}");
    assert!(!lower.contains("connection: close"), "{head}");
}

async fn get_without_an_answer_is_asked_once_more_and_a_send_is_not(kind: Kind) {
    let mut relay = Relay::start(kind).await;
    let refusal = relay.conn().await.call(&Request::get("/broken")).await;
    assert!(matches!(refusal.status, 502 | 503), "{refusal:?}");
    assert_eq!(refusal.json()["code"], "draining");
    assert_eq!(refusal.header("retry-after"), Some("1"));
    assert_eq!(relay.asked("/broken").len(), 2);
    let refusal = relay.conn().await.call(&Request::post("/broken").json(&json!({}))).await;
    assert!(matches!(refusal.status, 502 | 503), "{refusal:?}");
    assert_eq!(refusal.json()["code"], "draining");
    assert_eq!(relay.asked("/broken").len(), 1, "it may have been taken: only the client may repeat it");
}

/// Each case through each balancer.
macro_rules! through_each {
    ($($case:ident),* $(,)?) => {
        mod nginx {
            $(#[tokio::test] async fn $case() { super::$case(super::Kind::Nginx).await })*
        }
        mod haproxy {
            $(#[tokio::test] async fn $case() { super::$case(super::Kind::Haproxy).await })*
        }
    };
}

through_each!(
    first_half_comes_while_the_second_is_not_sent_yet,
    connections_to_proxies_are_used_again,
    claims_of_clients_about_their_address_are_written_over,
    get_without_an_answer_is_asked_once_more_and_a_send_is_not,
);
