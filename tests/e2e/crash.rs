//! `kill -9` under load, again and again: nothing that was acknowledged is lost, nothing is there twice.
//!
//! `E2E_CRASH_ROUNDS` raises the number of rounds, `E2E_SEED` repeats the moments of an earlier run.

use std::{cell::RefCell, env, net::SocketAddr, rc::Rc, str::FromStr, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::{
    auditor::{Acknowledged, Delivery, LISTS, Log, Reader},
    harness::{Conn, Options, Request, Server},
};

const ROUNDS: u32 = 20;
const SENDERS: usize = 64;
const ROOM: &str = "crash";
/// Nothing of this test ages out or is counted out.
const KEEP_ALL: &str = "[retention.normal]\ncount = 10000000\nage = \"24h\"\n[retention.priority]\ncount = 10000000\nage = \"24h\"";

fn from_env<T: FromStr>(name: &str) -> Option<T> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// One client that sends message after message, or batch after batch, and repeats what it got no answer to.
struct Sender {
    name: usize,
    next: u64,
    /// How many messages it sends at a time.
    batch: u64,
}

impl Sender {
    /// Every fourth message is a priority message.
    fn message(&self, at: u64) -> Value {
        let priority = if at.is_multiple_of(4) { "high" } else { "normal" };
        json!({ "id": format!("s{}-{at}", self.name), "text": "still here", "priority": priority })
    }

    fn body(&self) -> Value {
        match self.batch {
            1 => self.message(self.next),
            _ => (self.next..self.next + self.batch).map(|at| self.message(at)).collect(),
        }
    }

    /// Sends until the connection breaks.
    async fn run(&mut self, addr: SocketAddr, acknowledged: &RefCell<Acknowledged>) {
        let Ok(mut conn) = Conn::try_open(addr).await else { return };
        loop {
            let path = format!("/v1/rooms/{ROOM}/messages?user=u{}", self.name);
            if conn.try_write(&Request::post(path).json(&self.body()).encode()).await.is_err() {
                return;
            }
            let Ok(answer) = conn.try_answer().await else { return };
            assert!(matches!(answer.status, 200 | 201), "{answer:?}");
            let body = answer.json();
            for result in body["results"].as_array().unwrap_or(&vec![body.clone()]) {
                acknowledged.borrow_mut().add(result);
            }
            self.next += self.batch;
        }
    }
}

/// Reads to the end, and leaves the cursor there for the next life of the server.
async fn catch_up(server: &Server, reader: &mut Reader, at: &mut String) {
    let mut conn = server.conn().await;
    loop {
        let query = format!("cursor={at}&limit=1000&timeout_ms=0");
        let answer = conn.call(&Request::poll(ROOM, &query)).await.expect(200);
        let delivery: Delivery = serde_json::from_slice(&answer.body).expect("a poll's answer");
        at.clone_from(&delivery.next_cursor);
        let is_up_to_date = delivery.up_to_date;
        reader.take(delivery);
        if is_up_to_date {
            return;
        }
    }
}

#[tokio::test]
async fn crashes_lose_and_repeat_no_acknowledged_message() {
    let seed = from_env("E2E_SEED").unwrap_or_else(|| rand::rng().random());
    eprintln!("E2E_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = Server::start(Options::default().and(KEEP_ALL)).await;
    let mut senders: Vec<_> =
        (0..SENDERS).map(|name| Sender { name, next: 0, batch: if name % 8 == 0 { 5 } else { 1 } }).collect();
    let acknowledged = Rc::new(RefCell::new(Acknowledged::default()));
    let (mut log, mut reader, mut at) = (Log::default(), Reader::default(), server.cursor_now(ROOM).await);

    for round in 0..from_env("E2E_CRASH_ROUNDS").unwrap_or(ROUNDS) {
        let before = acknowledged.borrow().len();
        let addr = server.addr;
        let local = LocalSet::new();
        let running: Vec<_> = senders
            .drain(..)
            .map(|mut sender| {
                let acknowledged = Rc::clone(&acknowledged);
                local.spawn_local(async move {
                    sender.run(addr, &acknowledged).await;
                    sender
                })
            })
            .collect();
        let alive = Duration::from_millis(random.random_range(50..600));
        let stopped = local
            .run_until(async {
                tokio::time::sleep(alive).await;
                let stopped = server.kill9();
                for sender in running {
                    senders.push(sender.await.expect("the sender ends well"));
                }
                stopped
            })
            .await;

        server = stopped.start().await;
        for list in LISTS {
            log.extend(list, &server.log_after(ROOM, list, log.last(list)).await);
        }
        acknowledged.borrow().check(&log);
        catch_up(&server, &mut reader, &mut at).await;
        reader.check(&log);
        assert_eq!(reader.skipped(), 0, "nothing was to be skipped");
        let count = acknowledged.borrow().len();
        eprintln!("round {round}: {} acknowledged in {alive:?}, {count} in all", count - before);
    }

    // What the increments have shown must also be there at the end, as a whole.
    let mut whole = Log::default();
    for list in LISTS {
        whole.extend(list, &server.log_after(ROOM, list, 0).await);
    }
    acknowledged.borrow().check(&whole);
    assert!(acknowledged.borrow().len() > SENDERS, "hardly anything was sent");
}
