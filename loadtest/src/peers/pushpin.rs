//! Pushpin: a proxy that holds requests for a backend (Debian: `pushpin`, which brings `condure` and `zurl`).
//!
//! At its best: the backend is a process of its own that answers at once and isn't counted; it names the id of the
//! last message with every hold, so that Pushpin asks again instead of missing one; rate limits are off.

pub(crate) mod origin;

use std::{
    fmt::Write as _,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Peer, Server, Start, directory_in, free_address};
use crate::{
    client::{Position, Target, ask},
    compare::Chapter,
    cores::Placement,
    machine::version_of,
    mark::Mark,
    process::{Process, logged},
};

const PUSHPIN: &str = "/usr/bin/pushpin";
/// Debian's settings for how its processes find each other, and its templates.
const LIBRARY: &str = "/usr/lib/pushpin";
/// What its connection manager, and what carries requests to the backend, are.
const OTHERS: [&str; 2] = ["/usr/bin/condure", "/usr/bin/zurl"];

/// An installed Pushpin.
#[derive(Debug)]
pub(crate) struct Pushpin {
    /// This binary, for the backend.
    own: PathBuf,
}

impl Pushpin {
    /// The one that is installed.
    pub(crate) fn installed() -> Result<Option<Self>> {
        let is_there = OTHERS.iter().chain([&PUSHPIN, &LIBRARY]).all(|path| Path::new(path).exists());
        if !is_there {
            return Ok(None);
        }
        Ok(Some(Self { own: std::env::current_exe().context("find this binary")? }))
    }
}

/// Pushpin's settings: everything it opens is in `directory` or at these addresses.
fn config(directory: &Path, listen: SocketAddr, control: SocketAddr) -> String {
    let run = directory.display();
    let mut text = format!(
        "[global]
include={LIBRARY}/internal.conf
rundir={run}
ipc_prefix=p-
port_offset=0

[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port={listen}
logdir={run}
log_level=1
client_buffer_size=4096
client_maxconn=19000

[proxy]
routesfile={run}/routes
auto_cross_origin=false
updates_check=off
sig_key=changeme
"
    );
    for (key, socket) in [
        ("zurl_out_specs", "zurl-in"),
        ("zurl_out_stream_specs", "zurl-in-stream"),
        ("zurl_in_specs", "zurl-out"),
    ] {
        writeln!(text, "{key}=ipc://{run}/p-{socket}").expect("memory takes all writes");
    }
    write!(
        text,
        "
[handler]
push_in_spec=ipc://{run}/p-push
push_in_sub_specs=ipc://{run}/p-push-sub
command_spec=ipc://{run}/p-command
push_in_http_addr={}
push_in_http_port={}
push_in_http_max_headers_size=10000
push_in_http_max_body_size=1000000
message_rate=100000000
message_hwm=100000000
message_wait=5000
stats_report_interval=3600
",
        control.ip(),
        control.port()
    )
    .expect("memory takes all writes");
    text
}

impl Peer for Pushpin {
    fn name(&self) -> &'static str {
        "pushpin"
    }

    fn about(&self) -> String {
        format!(
            "{} with condure and zurl, all four processes counted; long polls by GRIP with the id of the last message in \
             every hold, publishing by its HTTP control port, rate limits off; the backend that names channels and keeps \
             messages is a part of the load test and not counted; one list",
            version_of(Path::new(PUSHPIN), "--version")
        )
    }

    fn declines(&self, chapter: Chapter) -> Option<&'static str> {
        match chapter {
            Chapter::Connections => None,
            // Its handler logs "received message out of sequence, canceling", and the next polls are answered with 502.
            Chapter::Parked => Some(
                "where many polls end at once it cancels some of the next ones, so no figure would be fair",
            ),
            Chapter::Backlog => Some("it keeps no messages: its backend would be measured"),
            Chapter::Storm => {
                Some("one message to so many viewers takes it longer than the time until the next")
            }
            _ => Some("its place is clear from the other chapters"),
        }
    }

    fn dearness(&self) -> u32 {
        50
    }

    fn start(&self, start: Start<'_>) -> Result<Server> {
        let directory = directory_in(start.temp_dir)?;
        let (listen, control) = (free_address()?, free_address()?);
        let mut origin = Command::new(&self.own);
        origin.args(["grip-origin", "--control", &control.to_string()]);
        // Named apart from Pushpin's own log.
        let mut origin = Process::start(origin, directory.path(), start.cores, Placement::Shared)?;
        let backend: SocketAddr = origin.await_start(|log| logged(log, "listening", "listen"))?;
        let write = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display())).map(|()| path)
        };
        write("routes", format!("* {backend}\n"))?;
        let config = write("pushpin.conf", config(directory.path(), listen, control))?;
        let mut command = Command::new(PUSHPIN);
        command.arg(format!("--config={}", config.display()));
        let mut process = Process::start(command, directory.path(), start.cores, start.placement)?;
        let target = Target::plain(listen);
        let ready = b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n";
        process.await_start(|_| ask(&target, ready).ok().filter(|(status, _)| *status == 200))?;
        Ok(Server::new(process, target, Target::plain(backend), directory).with_helper(origin))
    }

    fn write_poll(&self, out: &mut Vec<u8>, _room: u32, _viewer: u32, position: &Position) {
        out.extend_from_slice(b"GET /poll?after=");
        out.extend_from_slice(if position.as_bytes().is_empty() { b"0" } else { position.as_bytes() });
        out.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }

    fn write_send(&self, out: &mut Vec<u8>, _room: u32, _mark: &Mark, text: &str) {
        write!(out, "POST /send HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{text}", text.len())
            .expect("memory takes all writes");
    }

    fn position_after(&self, headers: &[httparse::Header<'_>], _body: &[u8]) -> Option<Position> {
        let last = headers.iter().find(|header| header.name.eq_ignore_ascii_case(origin::LAST_HEADER))?;
        Position::of(&[last.value])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_the_last_id() {
        let peer = Pushpin { own: PathBuf::new() };
        let last = httparse::Header { name: "x-last", value: b"17" };
        let mut polls = Vec::new();
        peer.write_poll(&mut polls, 0, 0, &Position::START);
        peer.write_poll(&mut polls, 0, 0, &peer.position_after(&[last], b"").unwrap());
        let text = String::from_utf8(polls).unwrap();
        let expect = "GET /poll?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /poll?after=17 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert_eq!(text, expect);
        assert!(peer.position_after(&[], b"").is_none());
    }

    #[test]
    fn config_opens_nothing_outside_its_directory_and_ports() {
        let (listen, control) = (([127, 0, 0, 1], 1001).into(), ([127, 0, 0, 1], 1002).into());
        let config = config(Path::new("/d"), listen, control);
        assert!(config.contains("http_port=127.0.0.1:1001\n"), "{config}");
        assert!(config.contains("push_in_http_port=1002\n"), "{config}");
        let specs = config.lines().filter(|line| line.contains("_spec"));
        assert!(
            specs.clone().count() == 6 && specs.clone().all(|line| line.contains("=ipc:///d/p-")),
            "{config}"
        );
    }
}
