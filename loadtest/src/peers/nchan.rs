//! Nchan: long polls as an nginx module (Debian: `nginx-core` and `libnginx-mod-nchan`).
//!
//! Two contenders. `nchan` is the module at its best: one worker, everything that waits in one answer
//! (`nchan_longpoll_multipart_response raw`), channels in shared memory large enough, no access log. `nchan-single`
//! is the same with the module's own default of one message an answer.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Identity, Peer, Server, Start, directory_in, free_address};
use crate::{
    client::{Position, Target},
    compare::Chapter,
    machine::version_of,
    mark::Mark,
    process::Process,
};

/// Where Debian puts the module and its version.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
const NGINX: &str = "/usr/sbin/nginx";
/// Connections of the worker: the 20,000 files that a process may commonly open. nginx ends idle connections, senders'
/// too, once less than a sixteenth of these is free, so 18,000 viewers need this many.
const CONNECTIONS_MAX: u32 = 20_000;

/// How many messages an answer holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answers {
    /// All that wait.
    Whole,
    /// One, as the module comes.
    Single,
}

/// An nginx with the module.
#[derive(Debug)]
pub(crate) struct Nchan {
    nginx: PathBuf,
    module: PathBuf,
    answers: Answers,
}

impl Nchan {
    /// The one that is installed.
    pub(crate) fn installed(answers: Answers) -> Option<Self> {
        let (nginx, module) = (PathBuf::from(NGINX), PathBuf::from(MODULE));
        (nginx.exists() && module.exists()).then_some(Self { nginx, module, answers })
    }

    fn config(&self, directory: &Path, listen: SocketAddr, tls: Option<[PathBuf; 2]>) -> String {
        // A master that runs as root would give its worker to a user who can't enter the directory.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let (module, directory) = (self.module.display(), directory.display());
        let multipart = match self.answers {
            Answers::Whole => "nchan_longpoll_multipart_response raw;",
            Answers::Single => "",
        };
        let (ssl, identity) = match tls {
            None => ("", String::new()),
            Some([certificate, key]) => (
                " ssl",
                format!(
                    "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets off;",
                    certificate.display(),
                    key.display()
                ),
            ),
        };
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
        listen {listen}{ssl} backlog=16384;
        {identity}
        location = /send {{ nchan_publisher http; nchan_channel_id bench; }}
        location = /poll {{
            nchan_subscriber longpoll;
            {multipart}
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
        match self.answers {
            Answers::Whole => "nchan",
            Answers::Single => "nchan-single",
        }
    }

    fn about(&self) -> String {
        let answers = match self.answers {
            Answers::Whole => "long polls with raw multipart answers (all that waits in one)",
            Answers::Single => "long polls with one message an answer, as the module comes",
        };
        format!(
            "{} with {}: one worker, {answers}, messages in 256 MiB of shared memory, access log off; one list, so that a \
             priority message is one among the others",
            version_of(&self.nginx, "-v"),
            self.module.display()
        )
    }

    fn declines(&self, chapter: Chapter) -> Option<&'static str> {
        match (self.answers, chapter) {
            (Answers::Whole, _) | (Answers::Single, Chapter::Storm) => None,
            (Answers::Single, _) => Some("with one message at a time it is nchan"),
        }
    }

    fn keeps_up(&self) -> bool {
        self.answers == Answers::Whole
    }

    fn does_tls(&self) -> bool {
        true
    }

    fn start(&self, start: Start<'_>) -> Result<Server> {
        let directory = directory_in(start.temp_dir)?;
        let listen = free_address()?;
        let config = directory.path().join("nginx.conf");
        let tls = start.tls.map(|identity| identity.write_into(directory.path())).transpose()?;
        std::fs::write(&config, self.config(directory.path(), listen, tls)).context("write nginx.conf")?;
        let mut command = Command::new(&self.nginx);
        command.arg("-p").arg(directory.path()).arg("-e").arg("stderr").arg("-c").arg(&config);
        let mut process = Process::start(command, directory.path(), start.cores, start.placement)?;
        process.await_start(|_| TcpStream::connect(listen).ok())?;
        let target = Target { address: listen, tls: start.tls.map(Identity::client) };
        Ok(Server::new(process, target.clone(), target, directory))
    }

    fn write_poll(&self, out: &mut Vec<u8>, _room: u32, _viewer: u32, position: &Position) {
        out.extend_from_slice(b"GET /poll HTTP/1.1\r\nHost: localhost\r\n");
        out.extend_from_slice(position.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn write_send(&self, out: &mut Vec<u8>, _room: u32, _mark: &Mark, text: &str) {
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

    fn nchan(answers: Answers) -> Nchan {
        Nchan { nginx: PathBuf::new(), module: PathBuf::new(), answers }
    }

    #[test]
    fn place_is_in_two_headers() {
        let nchan = nchan(Answers::Whole);
        let header = |name, value| httparse::Header { name, value };
        let modified = header("Last-Modified", b"Sun, 22 Nov 2026 02:59:21 GMT");
        let tag = header("Etag", b"12");
        let position = nchan.position_after(&[modified, tag], b"").unwrap();
        let mut poll = Vec::new();
        nchan.write_poll(&mut poll, 0, 0, &position);
        let expect = "GET /poll HTTP/1.1\r\nHost: localhost\r\nIf-Modified-Since: Sun, 22 Nov 2026 02:59:21 GMT\r\nIf-None-Match: 12\r\n\r\n";
        assert_eq!(String::from_utf8(poll).unwrap(), expect);
        assert!(nchan.position_after(&[modified], b"").is_none());
    }

    #[test]
    fn contenders_differ_in_what_an_answer_holds() {
        let config = |answers| nchan(answers).config(Path::new("/d"), ([127, 0, 0, 1], 80).into(), None);
        assert!(config(Answers::Whole).contains("multipart_response raw;"));
        assert!(!config(Answers::Single).contains("multipart"));
    }

    #[test]
    fn certificate_makes_the_listener_one_of_tls() {
        let tls = Some([PathBuf::from("/d/c.pem"), PathBuf::from("/d/k.pem")]);
        let config = nchan(Answers::Whole).config(Path::new("/d"), ([127, 0, 0, 1], 443).into(), tls);
        assert!(config.contains("listen 127.0.0.1:443 ssl backlog=16384;"), "{config}");
        assert!(config.contains("ssl_certificate /d/c.pem;"), "{config}");
    }
}
