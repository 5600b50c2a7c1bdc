//! `bigroom pressure`: asks a node's ops listener how it stands, or forces a step.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, bail};
use room::pressure::PressureStep;
use serde_json::json;

/// How long connecting, writing and reading may take each.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// One question or order to a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drill {
    /// The node's ops listener.
    pub ops: SocketAddr,
    /// What is wanted.
    pub order: Order,
}

/// What is wanted of the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// To tell how it stands.
    Show,
    /// To hold a step for so long.
    Force(PressureStep, Duration),
    /// To go by its own load again.
    End,
}

impl Drill {
    /// Asks the node; gives its answer, JSON on one line.
    ///
    /// # Errors
    /// The node can't be reached, or refuses; the sentence names its address.
    pub fn run(&self) -> anyhow::Result<String> {
        let Self { ops, order } = self;
        let (head, body) = self.ask().with_context(|| format!("ask the ops listener on {ops}"))?;
        match head.split(' ').nth(1) {
            Some("200") => Ok(body.trim_end().to_owned() + "\n"),
            _ if *order != Order::Show => bail!("{ops} refuses the drill: {body}"),
            _ => bail!("{ops} does not tell its pressure: {body}"),
        }
    }

    /// Sends the request and reads the head and the body of the answer. HTTP/1.0: the body ends with the connection.
    fn ask(&self) -> anyhow::Result<(String, String)> {
        let (method, body) = match self.order {
            Order::Show => ("GET", String::new()),
            Order::Force(step, lasts) => {
                ("PUT", json!({ "step": step.get(), "for_s": lasts.as_secs() }).to_string())
            }
            Order::End => ("PUT", json!({ "step": null }).to_string()),
        };
        let mut connection = TcpStream::connect_timeout(&self.ops, TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        let length = body.len();
        let head = format!(
            "{method} /pressure HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
            self.ops
        );
        connection.write_all((head + &body).as_bytes())?;
        let mut answer = Vec::new();
        connection.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").context("its answer is not HTTP")?;
        Ok((head.to_owned(), body.to_owned()))
    }
}
