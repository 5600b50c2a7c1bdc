//! bigroom, as a client sees it.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{Identity, Peer, Server, Start, directory_in};
use crate::{
    client::{Position, Target, ask},
    machine::{profile_of, version_of},
    mark::{List, Mark},
    process::{Process, logged},
};

/// Settings for every run: what one user or one room may send is not what is measured.
const WITHOUT_LIMITS: [(&str, &str); 3] = [
    ("BIGROOM_LIMITS__ROOM_RATE", "0"),
    ("BIGROOM_LIMITS__USER_RATE", "0"),
    ("BIGROOM_LIMITS__PRIORITY_RATE", "0"),
];
/// Answers everybody at once, so that a delivery costs what it costs.
const WITHOUT_POLICY: (&str, &str) = ("BIGROOM_POLL__POLICY", "off");
/// Where a viewer begins to read who has no place yet.
const FROM_THE_OLDEST: &[u8] = b"-1";
const CURSOR_BEFORE: &[u8] = b"\"next_cursor\":\"";

/// A bigroom binary.
#[derive(Debug)]
pub(crate) struct Bigroom {
    /// Its name in tables: two builds may play beside each other.
    pub(crate) name: &'static str,
    pub(crate) binary: PathBuf,
}

impl Peer for Bigroom {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> String {
        format!(
            "{}, {} build; `serve` as shipped with {}, and {}={} except where the server is to hold viewers back; \
             anonymous access, every viewer a user of its own",
            version_of(&self.binary, "--version"),
            profile_of(&self.binary),
            WITHOUT_LIMITS.map(|(name, value)| format!("{name}={value}")).join(" "),
            WITHOUT_POLICY.0,
            WITHOUT_POLICY.1
        )
    }

    fn puts_priority_first(&self) -> bool {
        true
    }

    fn does_tls(&self) -> bool {
        true
    }

    fn start(&self, start: Start<'_>) -> Result<Server> {
        let directory = directory_in(start.temp_dir)?;
        let mut command = Command::new(&self.binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(directory.path().join("data"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BIGROOM_") {
                command.env_remove(name);
            }
        }
        command.envs(WITHOUT_LIMITS).env("BIGROOM_LOG__FORMAT", "json").env("BIGROOM_DRAIN__GRACE", "4s");
        if !start.holds {
            command.env(WITHOUT_POLICY.0, WITHOUT_POLICY.1);
        }
        if let Some(identity) = start.tls {
            let [certificate, key] = identity.write_into(directory.path())?;
            command.env("BIGROOM_TLS__CERT", certificate).env("BIGROOM_TLS__KEY", key);
        }
        let mut process = Process::start(command, directory.path(), start.cores, start.placement)?;
        let listen: SocketAddr = process.await_start(|log| logged(log, "listening", "listen"))?;
        let target = Target { address: listen, tls: start.tls.map(Identity::client) };
        Ok(Server::new(process, target.clone(), target, directory))
    }

    fn origin(&self, server: &Server) -> Result<Position> {
        let request = "GET /v1/rooms/bench/messages?timeout_ms=0 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let (status, answer) = ask(&server.polls, request.as_bytes())?;
        ensure!(
            status == 200,
            "the first poll was answered with status {status}: {}",
            String::from_utf8_lossy(&answer)
        );
        self.position_after(&[], &answer).context("find next_cursor in the first answer")
    }

    fn write_poll(&self, out: &mut Vec<u8>, room: u32, viewer: u32, position: &Position) {
        out.extend_from_slice(b"GET /v1/rooms/");
        write_room(out, room);
        out.extend_from_slice(b"/messages?cursor=");
        out.extend_from_slice(if position.as_bytes().is_empty() {
            FROM_THE_OLDEST
        } else {
            position.as_bytes()
        });
        write!(out, "&timeout_ms=30000&user=u{viewer} HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .expect("memory takes all writes");
    }

    fn write_send(&self, out: &mut Vec<u8>, room: u32, mark: &Mark, text: &str) {
        let mut body = b"{\"id\":\"".to_vec();
        mark.write_id(&mut body);
        let priority = match mark.list {
            List::Priority => "high",
            List::Normal => "normal",
        };
        write!(body, "\",\"priority\":\"{priority}\",\"text\":\"{text}\"}}")
            .expect("memory takes all writes");
        out.extend_from_slice(b"POST /v1/rooms/");
        write_room(out, room);
        write!(
            out,
            "/messages?user=sender HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .expect("memory takes all writes");
        out.extend_from_slice(&body);
    }

    fn position_after(&self, _headers: &[httparse::Header<'_>], body: &[u8]) -> Option<Position> {
        // Behind the messages, so from the end it is near; and what somebody wrote into a message comes before it.
        let at = memchr::memmem::rfind(body, CURSOR_BEFORE)? + CURSOR_BEFORE.len();
        let end = at + memchr::memchr(b'"', &body[at..])?;
        Position::of(&[&body[at..end]])
    }
}

fn write_room(out: &mut Vec<u8>, room: u32) {
    match room {
        0 => out.extend_from_slice(b"bench"),
        _ => write!(out, "bench-{room}").expect("memory takes all writes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Bigroom {
        Bigroom { name: "bigroom", binary: PathBuf::new() }
    }

    #[test]
    fn cursor_goes_into_the_next_poll() {
        let body =
            br#"{"messages":[{"text":"\"next_cursor\":\"x\""}],"next_cursor":"abc-1","up_to_date":true}"#;
        let position = peer().position_after(&[], body).unwrap();
        let mut poll = Vec::new();
        peer().write_poll(&mut poll, 0, 7, &position);
        let poll = String::from_utf8(poll).unwrap();
        assert!(
            poll.starts_with(
                "GET /v1/rooms/bench/messages?cursor=abc-1&timeout_ms=30000&user=u7 HTTP/1.1\r\n"
            ),
            "{poll}"
        );
    }

    #[test]
    fn send_is_json_of_its_stated_length() {
        let mark = Mark { list: List::Priority, sender: 0, number: 3, due_us: 0 };
        let mut send = Vec::new();
        peer().write_send(&mut send, 12, &mark, &mark.text(40));
        let send = String::from_utf8(send).unwrap();
        let (head, body) = send.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /v1/rooms/bench-12/messages?user=sender HTTP/1.1\r\n"), "{head}");
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((body["id"].as_str(), body["priority"].as_str()), (Some("p0.3"), Some("high")));
    }
}
