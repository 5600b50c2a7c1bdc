//! The backend behind Pushpin: keeps the messages, and tells the proxy to hold who has seen them all.
//!
//! A thread a connection, because the proxy keeps few of them open. A poll `GET /poll?after=N` is answered with all
//! messages after the N-th, or with an instruction to hold it until the next is published. `POST /send` keeps a
//! message, publishes it through the proxy's control port, and is acknowledged then.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cli::GripOriginArgs;

/// Response header with the id of the last message that the reader has now.
pub(super) const LAST_HEADER: &str = "X-Last";
/// The one channel of the proxy.
const CHANNEL: &str = "bench";
/// Connections at a time; the next one is closed at once.
const CONNECTIONS_MAX: usize = 4096;
/// Bytes of one send.
const SEND_BYTES_MAX: usize = 1 << 20;
/// Bytes of a line of a head.
const LINE_BYTES_MAX: u64 = 16 * 1024;
/// Messages that are kept; the next one is refused.
const MESSAGES_MAX: usize = 1_000_000;
/// How long the proxy holds a request (seconds): longer than any run.
const HOLD_S: u32 = 300;

/// Serves until the process is killed.
pub(crate) fn serve(args: &GripOriginArgs) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
    let listen = listener.local_addr()?.to_string();
    eprintln!("{}", serde_json::json!({ "message": "listening", "listen": listen }));
    let origin =
        Arc::new(Mutex::new(Origin { messages: Vec::new(), control: args.control, publisher: None }));
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (origin, open) = (Arc::clone(&origin), Arc::clone(&open));
        std::thread::spawn(move || {
            // A peer that hangs up is no news.
            let _ = converse(stream, &origin);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
    Ok(())
}

struct Origin {
    /// The n-th has the id n + 1.
    messages: Vec<String>,
    control: SocketAddr,
    /// Opened with the first message, when the proxy is there.
    publisher: Option<BufReader<TcpStream>>,
}

/// A request, no further than it matters.
struct Request {
    line: String,
    body: Vec<u8>,
}

fn converse(stream: TcpStream, origin: &Mutex<Origin>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream);
    while let Some(request) = read_message(&mut input)? {
        // A thread that panicked has left nothing half done: what it did last is a push.
        let mut origin = origin.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match request.line.split(' ').collect::<Vec<_>>()[..] {
            ["POST", "/send", _] => origin.take(&String::from_utf8_lossy(&request.body))?,
            ["GET", target, _] => origin.answer(target),
            _ => bail!("a request that nobody makes"),
        };
        drop(origin);
        input.get_mut().write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// The next request or response, its first line and its body; `None` at the end.
fn read_message(input: &mut BufReader<TcpStream>) -> Result<Option<Request>> {
    let mut line = String::new();
    if input.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        let mut header = String::new();
        ensure!(input.by_ref().take(LINE_BYTES_MAX).read_line(&mut header)? > 0, "the head ended too early");
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().context("read a length")?;
        }
    }
    ensure!(length <= SEND_BYTES_MAX, "a body of {length} bytes is longer than any that is sent");
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(Some(Request { line: line.trim_end().to_owned(), body }))
}

impl Origin {
    /// Keeps a message and publishes it.
    fn take(&mut self, text: &str) -> Result<String> {
        if self.messages.len() >= MESSAGES_MAX {
            return Ok("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned());
        }
        self.messages.push(text.to_owned());
        self.publish(text)?;
        Ok("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n".to_owned())
    }

    fn publish(&mut self, text: &str) -> Result<()> {
        let item = item(self.messages.len(), text);
        let publisher = match &mut self.publisher {
            Some(publisher) => publisher,
            none => {
                let stream = TcpStream::connect(self.control).context("reach the control port")?;
                stream.set_nodelay(true)?;
                none.insert(BufReader::new(stream))
            }
        };
        write!(
            publisher.get_mut(),
            "POST /publish/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{item}",
            item.len()
        )?;
        let said = read_message(publisher)?.context("the control port was closed")?;
        // It closes after each answer unless told otherwise by its version.
        self.publisher = None;
        ensure!(said.line.contains(" 200 "), "publishing was answered with {}", said.line);
        Ok(())
    }

    /// What waits, or the instruction to hold.
    fn answer(&self, target: &str) -> String {
        let last = self.messages.len();
        let after = target.strip_prefix("/poll?after=").and_then(|after| after.parse::<usize>().ok());
        let (headers, body) = match after {
            None => (String::new(), String::new()),
            Some(after) if after < last => {
                (format!("{LAST_HEADER}: {last}\r\n"), self.messages[after..].concat())
            }
            Some(after) => (
                format!(
                    "Grip-Hold: response\r\nGrip-Channel: {CHANNEL}; prev-id={after}\r\nGrip-Timeout: {HOLD_S}\r\n"
                ),
                String::new(),
            ),
        };
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// What the control port takes: the `id`-th message, after the one before it.
fn item(id: usize, text: &str) -> String {
    serde_json::json!({ "items": [{
        "channel": CHANNEL,
        "id": id.to_string(),
        "prev-id": (id - 1).to_string(),
        "formats": { "http-response": {
            "headers": { "Content-Type": "text/plain", LAST_HEADER: id.to_string() },
            "body": text,
        } },
    }] })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(messages: &[&str]) -> Origin {
        let messages = messages.iter().map(|&text| text.to_owned()).collect();
        Origin { messages, control: ([127, 0, 0, 1], 0).into(), publisher: None }
    }

    #[test]
    fn reader_behind_gets_what_waits() {
        let answer = origin(&["one", "two", "three"]).answer("/poll?after=1");
        assert!(
            answer.contains("X-Last: 3\r\n") && answer.ends_with("Content-Length: 8\r\n\r\ntwothree"),
            "{answer}"
        );
    }

    #[test]
    fn reader_who_has_all_is_held_after_the_last() {
        let answer = origin(&["one", "two"]).answer("/poll?after=2");
        assert!(answer.contains("Grip-Hold: response\r\nGrip-Channel: bench; prev-id=2\r\n"), "{answer}");
    }

    #[test]
    fn anything_else_is_answered_at_once() {
        let answer = origin(&["one"]).answer("/ready");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && !answer.contains("Grip"), "{answer}");
    }

    #[test]
    fn published_message_follows_the_one_before() {
        let item: serde_json::Value = serde_json::from_str(&item(8, "text")).unwrap();
        let item = &item["items"][0];
        assert_eq!((&item["id"], &item["prev-id"]), (&"8".into(), &"7".into()));
        assert_eq!(item["formats"]["http-response"]["headers"]["X-Last"], "8");
    }
}
