//! The everyday calls: send, poll, park, look at the log.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Answer, Conn, DEADLINE, Request, Server, eventually};

/// A poll that the server holds.
pub(crate) struct Parked {
    conn: Conn,
    _counted: Arc<()>,
}

/// Counts the polls that a test holds.
#[derive(Default)]
pub(crate) struct ParkedCount(Arc<()>);

impl ParkedCount {
    fn count(&self) -> f64 {
        (Arc::strong_count(&self.0) - 1) as f64
    }

    fn add(&self) -> Arc<()> {
        Arc::clone(&self.0)
    }
}

impl Parked {
    /// Awaits the answer, which must be 200; gives its body.
    pub(crate) async fn answer(mut self) -> Value {
        self.conn.answer().await.expect_json(200)
    }

    /// The connection that the poll is on.
    pub(crate) fn into_conn(self) -> Conn {
        self.conn
    }
}

impl Server {
    /// Sends a message.
    pub(crate) async fn send(&self, room: &str, message: &Value) -> Answer {
        self.call(Request::send(room, message)).await
    }

    /// Sends a message that must be taken; gives the answer's body.
    pub(crate) async fn sent(&self, room: &str, message: &Value) -> Value {
        self.send(room, message).await.expect_json(201)
    }

    /// Sends a text to the normal list.
    pub(crate) async fn say(&self, room: &str, text: &str) -> Value {
        self.sent(room, &json!({ "text": text })).await
    }

    /// Sends a text to the priority list.
    pub(crate) async fn signal(&self, room: &str, text: &str) -> Value {
        self.sent(room, &json!({ "text": text, "priority": "high" })).await
    }

    /// Sends a batch that must be taken as such; gives the results.
    pub(crate) async fn batch(&self, room: &str, messages: &Value) -> Vec<Value> {
        let body = self.send(room, messages).await.expect_json(200);
        body["results"].as_array().unwrap_or_else(|| panic!("no results in {body}")).clone()
    }

    /// Polls, with `query` behind the `?`; the answer must be 200.
    pub(crate) async fn poll(&self, room: &str, query: &str) -> Value {
        self.call(Request::poll(room, query)).await.expect_json(200)
    }

    /// The cursor of the present.
    pub(crate) async fn cursor_now(&self, room: &str) -> String {
        cursor(&self.poll(room, "cursor=now&timeout_ms=0").await)
    }

    /// Sends a poll and waits until the server holds it, on top of those that earlier calls gave and that are held
    /// still.
    pub(crate) async fn park(&self, request: Request) -> Parked {
        // The gauge may still count polls that were just answered.
        let held = self.parked.count();
        self.await_unparked(held).await;
        let mut conn = self.conn().await;
        conn.send(&request).await;
        self.await_parked(held + 1.0).await;
        Parked { conn, _counted: self.parked.add() }
    }

    /// Waits until at least that many polls are parked.
    pub(crate) async fn await_parked(&self, count: f64) {
        self.await_parked_where(&format!("{count} parked polls"), |parked| parked >= count).await;
    }

    /// Waits until the statistics have counted at least so many in a room.
    pub(crate) async fn await_counted(&self, room: &str, num_users: u64) {
        eventually(DEADLINE, &format!("{num_users} users or more in {room}"), || async {
            let answer = self.call(Request::get(format!("/v1/rooms/{room}/stats"))).await;
            let is_counted = answer.status == 200 && answer.json()["num_users"].as_u64() >= Some(num_users);
            if is_counted { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    }

    /// Waits until at most that many polls are parked.
    pub(crate) async fn await_unparked(&self, count: f64) {
        self.await_parked_where(&format!("no more than {count} parked polls"), |parked| parked <= count)
            .await;
    }

    async fn await_parked_where(&self, what: &str, is_reached: impl Fn(f64) -> bool) {
        eventually(DEADLINE, what, || async {
            let parked = self.metric("bigroom_parked_polls", &[]).await;
            if is_reached(parked) { Ok(()) } else { Err(parked.to_string()) }
        })
        .await;
    }

    /// One page of history, which must be 200.
    pub(crate) async fn history(&self, room: &str, query: &str) -> Value {
        self.call(Request::get(format!("/v1/rooms/{room}/history?{query}"))).await.expect_json(200)
    }

    /// All that is kept of a list after `since`, page by page.
    pub(crate) async fn log_after(&self, room: &str, list: &str, mut since: u64) -> Vec<Value> {
        let mut messages = Vec::new();
        loop {
            let page = self.history(room, &format!("list={list}&since={since}&limit=1000")).await;
            let page = page["messages"].as_array().expect("messages");
            let Some(last) = page.last() else { return messages };
            since = last["seq"].as_u64().expect("a seq");
            messages.extend_from_slice(page);
        }
    }

    /// Changes settings of a room; gives them all.
    pub(crate) async fn patch_room(&self, room: &str, change: &Value) -> Value {
        self.call(Request::new("PATCH", format!("/v1/rooms/{room}")).json(change)).await.expect_json(200)
    }
}

/// The next cursor of a poll's answer.
pub(crate) fn cursor(answer: &Value) -> String {
    answer["next_cursor"].as_str().unwrap_or_else(|| panic!("no next_cursor in {answer}")).to_owned()
}

/// The sequences of messages.
pub(crate) fn seqs(messages: &Value) -> Vec<u64> {
    let messages = messages.as_array().unwrap_or_else(|| panic!("no messages: {messages}"));
    messages.iter().map(|message| message["seq"].as_u64().expect("a seq")).collect()
}

/// The texts of messages.
pub(crate) fn texts(messages: &Value) -> Vec<&str> {
    let messages = messages.as_array().unwrap_or_else(|| panic!("no messages: {messages}"));
    messages.iter().map(|message| message["text"].as_str().unwrap_or_default()).collect()
}
