//! Nchan: long polls as an nginx module (Debian: `nginx-core` and `libnginx-mod-nchan`).
//!
//! At its best: one worker, everything that waits in one answer (`nchan_longpoll_multipart_response raw`), channels
//! in shared memory large enough, no access log.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Peer, Server, Start, directory_in};
use crate::{client::Position, machine::version_of, mark::Mark, process::Process};

/// Where Debian puts the module and its version.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
const NGINX: &str = "/usr/sbin/nginx";
/// Connections of the worker: below the 20,000 files that a process may commonly open.
const CONNECTIONS_MAX: u32 = 19_000;

/// An nginx with the module.
#[derive(Debug)]
pub(crate) struct Nchan {
    nginx: PathBuf,
    module: PathBuf,
}

impl Nchan {
    /// The one that is installed.
    pub(crate) fn installed() -> Option<Self> {
        let (nginx, module) = (PathBuf::from(NGINX), PathBuf::from(MODULE));
        (nginx.exists() && module.exists()).then_some(Self { nginx, module })
    }

    fn config(&self, directory: &Path, listen: SocketAddr) -> String {
        // A master that runs as root would give its worker to a user who can't enter the directory.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let (module, directory) = (self.module.display(), directory.display());
        format!(
            "load_module {module};
{user}
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ use epoll; worker_connections {CONNECTIONS_MAX}; multi_accept on; }}
http {{
    access_log off;
    server_tokens off;
    tcp_nodelay on;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    nchan_shared_memory_size 256m;
    nchan_message_buffer_length 20000;
    nchan_message_timeout 1h;
    server {{
        listen {listen} backlog=16384;
        location = /send {{ nchan_publisher http; nchan_channel_id bench; }}
        location = /poll {{
            nchan_subscriber longpoll;
            nchan_longpoll_multipart_response raw;
            nchan_channel_id bench;
            nchan_subscriber_first_message oldest;
            nchan_subscriber_timeout 300s;
        }}
    }}
}}
"
        )
    }
}

impl Peer for Nchan {
    fn name(&self) -> &'static str {
        "nchan"
    }

    fn about(&self) -> String {
        format!(
            "{} with {}: one worker, long polls with raw multipart answers (all that waits in one), messages in \
             256 MiB of shared memory, access log off; one list, so that a priority message is one among the others",
            version_of(&self.nginx, "-v"),
            self.module.display()
        )
    }

    fn start(&self, start: Start<'_>) -> Result<Server> {
        let directory = directory_in(start.temp_dir)?;
        // nginx takes no port 0, so one that is free now has to do.
        let listen = TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .context("find a free port")?;
        let config = directory.path().join("nginx.conf");
        std::fs::write(&config, self.config(directory.path(), listen)).context("write nginx.conf")?;
        let mut command = Command::new(&self.nginx);
        command.arg("-p").arg(directory.path()).arg("-e").arg("stderr").arg("-c").arg(&config);
        let mut process = Process::start(command, directory.path(), start.cores, start.placement)?;
        process.await_start(|_| TcpStream::connect(listen).ok())?;
        Ok(Server { process, polls: listen, sends: listen, _directory: directory })
    }

    fn write_poll(&self, out: &mut Vec<u8>, _viewer: u32, position: &Position) {
        out.extend_from_slice(b"GET /poll HTTP/1.1\r\nHost: localhost\r\n");
        out.extend_from_slice(position.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn write_send(&self, out: &mut Vec<u8>, _mark: &Mark, text: &str) {
        write!(
            out,
            "POST /send HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )
        .expect("memory takes all writes");
    }

    fn position_after(&self, headers: &[httparse::Header<'_>], _body: &[u8]) -> Option<Position> {
        let value = |name: &str| {
            headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
        };
        let (modified, tag) = (value("last-modified")?, value("etag")?);
        Position::of(&[b"If-Modified-Since: ", modified, b"\r\nIf-None-Match: ", tag, b"\r\n"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_in_two_headers() {
        let nchan = Nchan { nginx: PathBuf::new(), module: PathBuf::new() };
        let header = |name, value| httparse::Header { name, value };
        let modified = header("Last-Modified", b"Sun, 22 Nov 2026 02:59:21 GMT");
        let tag = header("Etag", b"12");
        let position = nchan.position_after(&[modified, tag], b"").unwrap();
        let mut poll = Vec::new();
        nchan.write_poll(&mut poll, 0, &position);
        let expect = "GET /poll HTTP/1.1\r\nHost: localhost\r\nIf-Modified-Since: Sun, 22 Nov 2026 02:59:21 GMT\r\nIf-None-Match: 12\r\n\r\n";
        assert_eq!(String::from_utf8(poll).unwrap(), expect);
        assert!(nchan.position_after(&[modified], b"").is_none());
    }
}
