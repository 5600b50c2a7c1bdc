//! A crowd of real clients that comes and goes by a script, and the numbers beside it at every mark.

use std::collections::BTreeMap;

use super::{await_counts, counts, leave, settled, stay, visit, window};
use crate::harness::{Conn, Request, Server, raise_fd_limit};

/// 200 users with nine devices for five: 1.8 each.
const USERS: u32 = 200;
const DEVICES: u32 = 360;
const ROOM: &str = "r";
/// Who only visits is gone after it; two settled looks fit into it.
const WINDOW: &str = "8s";

/// Devices that are there, by number, each with its connection and a poll on it.
struct Crowd<'s> {
    server: &'s Server,
    conns: BTreeMap<u32, Conn>,
}

/// The user whose device it is.
fn user_of(device: u32) -> u32 {
    device * 5 / 9
}

fn user(device: u32) -> String {
    format!("u{}", user_of(device))
}

impl Crowd<'_> {
    async fn come(&mut self, devices: impl IntoIterator<Item = u32>) {
        for device in devices {
            let mut conn = self.server.conn().await;
            conn.send(&stay(ROOM, &user(device), &device.to_string())).await;
            assert!(self.conns.insert(device, conn).is_none(), "{device} is there already");
        }
    }

    /// They say so; their polls are answered.
    async fn leave(&mut self, devices: impl IntoIterator<Item = u32>) {
        for device in devices {
            let mut conn = self.conns.remove(&device).expect("it is there");
            let query = format!("user={}&device={device}", user(device));
            self.server.call(leave(ROOM, &query)).await.expect(204);
            conn.answer().await.expect(200);
        }
    }

    /// They end their connections and say nothing.
    fn close(&mut self, devices: impl IntoIterator<Item = u32>) {
        devices.into_iter().for_each(|device| drop(self.conns.remove(&device).expect("it is there")));
    }

    /// A message goes to all, and all but these ask again: those fall silent, with their connections open.
    async fn answer_all_but(&mut self, silent: impl IntoIterator<Item = u32>) -> BTreeMap<u32, Conn> {
        self.server.await_parked(self.conns.len() as f64).await;
        self.server.say(ROOM, "x").await;
        let silent = silent.into_iter().collect::<Vec<_>>();
        let mut fallen = BTreeMap::new();
        for (device, mut conn) in std::mem::take(&mut self.conns) {
            let answer = conn.answer().await.expect_json(200);
            assert_eq!(answer["messages"].as_array().map(Vec::len), Some(1), "{answer}");
            if silent.contains(&device) {
                fallen.insert(device, conn);
                continue;
            }
            let cursor = answer["next_cursor"].as_str().expect("a cursor");
            let query = format!("cursor={cursor}&user={}&device={device}&timeout_ms=30000", user(device));
            conn.send(&Request::poll(ROOM, &query)).await;
            self.conns.insert(device, conn);
        }
        fallen
    }

    /// Users and clients by the script, with `others` besides.
    fn expect(&self, others: (u64, u64)) -> (u64, u64) {
        let users: std::collections::BTreeSet<_> = self.conns.keys().map(|device| user_of(*device)).collect();
        (users.len() as u64 + others.0, self.conns.len() as u64 + others.1)
    }

    /// The API's numbers are the script's.
    async fn check(&self, mark: &str, others: (u64, u64)) {
        let numbers = settled(self.server, ROOM).await;
        assert_eq!(counts(&numbers), self.expect(others), "{mark}: {numbers}");
        assert_eq!(numbers["exact"], true, "{mark}: {numbers}");
    }
}

#[tokio::test]
async fn numbers_are_the_scripts_at_every_mark() {
    raise_fd_limit();
    let server = Server::start(window(WINDOW)).await;
    let mut crowd = Crowd { server: &server, conns: BTreeMap::new() };
    crowd.come(0..DEVICES / 2).await;
    crowd.check("half of them came", (0, 0)).await;
    crowd.come(DEVICES / 2..DEVICES).await;
    assert_eq!(crowd.expect((0, 0)), (USERS.into(), DEVICES.into()));
    crowd.check("all came", (0, 0)).await;

    crowd.leave(0..90).await;
    crowd.check("a quarter left", (0, 0)).await;
    // Every other one: of many users one device stays.
    crowd.close((90..180).step_by(2));
    crowd.check("some closed their connections", (0, 0)).await;
    crowd.come(0..45).await;
    crowd.check("some came back", (0, 0)).await;

    // The one who sends is a user, too, for a window.
    let silent = crowd.answer_all_but(270..DEVICES).await;
    let fallen = u64::from(user_of(DEVICES - 1) - user_of(270) + 1);
    crowd.check("some have fallen silent within the window", (fallen + 1, silent.len() as u64 + 1)).await;
    await_counts(&server, ROOM, crowd.expect((0, 0))).await;
    crowd.check("the silent ones are gone, their connections are not", (0, 0)).await;
    drop(silent);

    server.call(visit(ROOM, "u7")).await.expect(200);
    let numbers = await_counts(&server, ROOM, crowd.expect((0, 1))).await;
    // Everybody once, and the sender.
    assert_eq!(numbers["unique_viewers"], USERS + 1, "{numbers}");
    assert_eq!(numbers["peak_num_users"], USERS, "{numbers}");
    let rest: Vec<_> = crowd.conns.keys().copied().collect();
    crowd.leave(rest).await;
    await_counts(&server, ROOM, (0, 0)).await;
}
