//! Server-sent events: the answers of polls, one after the other.

use std::time::Instant;

use serde_json::{Value, json};

use super::{cursor_of, fill};
use crate::harness::{
    Conn, DEADLINE, Keys, Options, Request, Server, claims, in_seconds, seqs, texts, within,
};

/// A stream of events on a connection.
struct Events {
    conn: Conn,
    text: String,
}

/// What the stream had next.
#[derive(Debug)]
enum Item {
    Event { id: String, data: Value },
    Comment(String),
    End,
}

impl Events {
    async fn open(server: &Server, request: Request) -> Self {
        let mut conn = server.conn().await;
        conn.send(&request.header("Accept", "text/event-stream")).await;
        let head = conn.head().await.expect("an answer");
        assert_eq!(head.status, 200, "{head:?}");
        let content_type = head.header("content-type").unwrap_or_default();
        assert!(content_type.starts_with("text/event-stream"), "{head:?}");
        assert_eq!(head.header("cache-control"), Some("no-store"));
        assert!(head.header("access-control-allow-origin").is_some(), "{head:?}");
        Self { conn, text: String::new() }
    }

    async fn next(&mut self) -> Item {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return item(&block);
            }
            match self.conn.chunk().await.expect("a chunk") {
                Some(chunk) => self.text += std::str::from_utf8(&chunk).expect("UTF-8"),
                None => {
                    assert_eq!(self.text, "", "the stream ends within an event");
                    return Item::End;
                }
            }
        }
    }

    /// The next event; comments are skipped.
    async fn event(&mut self) -> (String, Value) {
        loop {
            match self.next().await {
                Item::Event { id, data } => return (id, data),
                Item::Comment(_) => {}
                Item::End => panic!("the stream ended"),
            }
        }
    }

    /// Reads to the end, and gives the events on the way.
    async fn rest(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                Item::Event { data, .. } => events.push(data),
                Item::Comment(_) => {}
                Item::End => return events,
            }
        }
    }
}

fn item(block: &str) -> Item {
    if block.lines().all(|line| line.starts_with(':')) {
        return Item::Comment(block.trim_start_matches(':').trim().to_owned());
    }
    let field = |name: &str| {
        let prefix = format!("{name}:");
        let mut lines = block.lines().filter_map(|line| line.strip_prefix(&prefix));
        let value = lines.next().unwrap_or_else(|| panic!("no {name} in {block:?}")).trim_start().to_owned();
        assert!(lines.next().is_none(), "{name} has more than one line: {block:?}");
        value
    };
    let data = serde_json::from_str(&field("data")).expect("JSON on one line");
    Item::Event { id: field("id"), data }
}

#[tokio::test]
async fn events_are_the_answers_of_polls() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 1, 2).await;
    let mut events = Events::open(&server, Request::poll("r", "cursor=-1")).await;
    let (id, first) = events.event().await;
    assert_eq!((seqs(&first["priority"]), seqs(&first["messages"])), (vec![1], vec![1, 2]));
    assert_eq!(id, cursor_of(&first), "the id is the cursor");
    let mut cursor = id;
    for text in ["a", "b", "c"] {
        server.say("r", text).await;
        let (id, event) = events.event().await;
        assert_eq!(texts(&event["messages"]), [text]);
        assert!(event.get("gap").is_none(), "{event}");
        cursor = id;
    }
    server.say("r", "after").await;
    let got = server.poll("r", &format!("cursor={cursor}")).await;
    assert_eq!(texts(&got["messages"]), ["after"], "an event's id is good for a poll");
}

#[tokio::test]
async fn stream_goes_on_where_it_broke_off() {
    let server = Server::start(Options::default()).await;
    let start = server.cursor_now("r").await;
    server.say("r", "a").await;
    let mut events = Events::open(&server, Request::poll("r", &format!("cursor={start}"))).await;
    let (id, _) = events.event().await;
    drop(events);
    server.say("r", "b").await;
    // The browser repeats the first URL, cursor and all: its header says better.
    let again = Request::poll("r", &format!("cursor={start}")).header("Last-Event-ID", id);
    let (_, event) = Events::open(&server, again).await.event().await;
    assert_eq!(texts(&event["messages"]), ["b"]);
    let bad =
        Request::poll("r", "").header("Last-Event-ID", "nonsense").header("Accept", "text/event-stream");
    server.call(bad).await.expect_problem(400, "invalid_cursor");
}

#[tokio::test]
async fn long_backlog_comes_in_several_events() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 3, 10).await;
    let mut events = Events::open(&server, Request::poll("r", "cursor=-1&limit=4")).await;
    let (mut priority, mut normal) = (Vec::new(), Vec::new());
    while normal.last() != Some(&10) {
        let (_, event) = events.event().await;
        let count = seqs(&event["priority"]).len() + seqs(&event["messages"]).len();
        assert!((1..=4).contains(&count), "{event}");
        priority.extend(seqs(&event["priority"]));
        normal.extend(seqs(&event["messages"]));
    }
    assert_eq!((priority, normal), ((1..=3).collect(), (1..=10).collect()));
}

#[tokio::test]
async fn timeouts_make_no_events_but_keep_alives() {
    let server = Server::start(Options::default()).await;
    let mut events = Events::open(&server, Request::poll("r", "timeout_ms=100")).await;
    let asked = Instant::now();
    let mut hourglass = server.hourglass().await;
    // One may come at once, to open the stream; then every 15 s.
    loop {
        match events.next().await {
            Item::Comment(comment) if comment == "keep-alive" && asked.elapsed().as_secs() > 5 => break,
            Item::Comment(_) => {}
            other => panic!("{other:?} in a quiet room"),
        }
    }
    assert!(asked.elapsed().as_secs() >= 13, "a keep-alive after {:?}", asked.elapsed());
    hourglass.expect_running("a keep-alive").await;
    server.say("r", "x").await;
    assert_eq!(texts(&events.event().await.1["messages"]), ["x"]);
}

#[tokio::test]
async fn closing_sends_one_last_event() {
    let server = Server::start(Options::default()).await;
    let mut events = Events::open(&server, Request::poll("r", "")).await;
    server.await_parked(1.0).await;
    server.call(Request::new("DELETE", "/v1/rooms/r")).await.expect(204);
    let last = events.rest().await;
    assert_eq!((last.len(), &last[0]["room"]["state"]), (1, &json!("closed")), "{last:?}");
    let mut again = Events::open(&server, Request::poll("r", "")).await;
    assert_eq!(again.rest().await.len(), 1, "a closed room's stream ends at once");
}

#[tokio::test]
async fn draining_sends_one_last_event() {
    let server = Server::start(Options::default()).await;
    let mut events = Events::open(&server, Request::poll("r", "")).await;
    server.await_parked(1.0).await;
    server.sigterm();
    let last = events.rest().await;
    assert_eq!(last.len(), 1, "{last:?}");
    assert!(last[0]["poll_after_ms"].as_u64().is_some_and(|wait| wait <= 5_000), "{last:?}");
    assert_eq!(server.exit(DEADLINE).await.0.code(), Some(0));
}

#[tokio::test]
async fn stream_ends_with_its_token() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let mut claims = claims("u1", "viewer");
    claims["exp"] = json!(in_seconds(1));
    let mut events = Events::open(&server, Request::poll("r", "").bearer(&keys.sign(&claims))).await;
    // Nothing else ends it.
    within(DEADLINE, "the end of a stream whose token was good for 6 s", events.rest()).await;
}

#[tokio::test]
async fn stream_that_is_left_frees_its_place() {
    let server = Server::start(Options::default()).await;
    let events = Events::open(&server, Request::poll("r", "")).await;
    server.await_parked(1.0).await;
    drop(events);
    server.await_unparked(0.0).await;
}

#[tokio::test]
async fn refusals_are_problems_also_for_streams() {
    let server = Server::start(Options::default()).await;
    let poll = Request::poll("r", "limit=0").header("Accept", "text/event-stream");
    server.call(poll).await.expect_problem(400, "invalid_parameter");
}
