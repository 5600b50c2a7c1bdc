//! engine.io: the long polls below Socket.IO, on Node.
//!
//! At its best: the polling transport alone, no compression, no heartbeat within a run. It keeps messages for sessions
//! alone: who comes later gets what is sent from then on.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Peer, Server, Start, directory_in};
use crate::{
    client::{Position, Target},
    compare::Chapter,
    machine::version_of,
    mark::Mark,
    process::{Process, logged},
};

const MANIFEST: &str = include_str!("../../peers/engineio/package.json");
const LOCK: &str = include_str!("../../peers/engineio/package-lock.json");
const SERVER: &str = include_str!("../../peers/engineio/server.js");
const SESSION_BEFORE: &[u8] = b"0{\"sid\":\"";

/// An installed engine.io.
#[derive(Debug)]
pub(crate) struct EngineIo {
    /// Where its packages are, and the script.
    directory: PathBuf,
}

impl EngineIo {
    /// Installs what the lock file names with `npm ci`, into the user's cache, if it isn't there yet.
    ///
    /// # Errors
    /// Says in a sentence what is missing.
    pub(crate) fn install() -> Result<Self> {
        for program in ["node", "npm"] {
            let version = Command::new(program).arg("--version").output();
            ensure!(version.is_ok_and(|output| output.status.success()), "{program} is not installed");
        }
        // Whatever the files say is installed anew when they change.
        let mut hasher = DefaultHasher::new();
        (MANIFEST, LOCK, SERVER).hash(&mut hasher);
        let directory = cache_directory()?.join(format!("engineio-{:016x}", hasher.finish()));
        if !directory.join("installed").exists() {
            install_into(&directory)?;
        }
        Ok(Self { directory })
    }
}

/// The user's cache directory of this program.
fn cache_directory() -> Result<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")));
    Ok(cache.context("find a cache directory: neither XDG_CACHE_HOME nor HOME is set")?.join("bigroom"))
}

fn install_into(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    for (name, text) in [("package.json", MANIFEST), ("package-lock.json", LOCK), ("server.js", SERVER)] {
        std::fs::write(directory.join(name), text).with_context(|| format!("write {name}"))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(directory);
    let output = npm.output().context("run npm")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("npm ci failed: {}", words.lines().next().unwrap_or("it gave no reason"));
    }
    // Last, so that an install that was cut short is not taken for one.
    std::fs::write(directory.join("installed"), "").context("note the install")
}

impl Peer for EngineIo {
    fn name(&self) -> &'static str {
        "engine.io"
    }

    fn about(&self) -> String {
        let manifest: serde_json::Value = serde_json::from_str(MANIFEST).unwrap_or_default();
        format!(
            "engine.io {} on Node {}: polling transport alone, no upgrades, no compression, no heartbeat within a run; \
             messages are kept for sessions alone; one list, so that a priority message is one among the others",
            manifest["dependencies"]["engine.io"].as_str().unwrap_or("of an unknown version"),
            version_of(Path::new("node"), "--version")
        )
    }

    fn declines(&self, chapter: Chapter) -> Option<&'static str> {
        match chapter {
            Chapter::Parked | Chapter::Connections | Chapter::Storm => None,
            Chapter::Backlog => Some("it has no cursor: a session gets a message once"),
            _ => Some("its place is clear from the other chapters"),
        }
    }

    fn viewers_max(&self) -> Option<(u32, &'static str)> {
        Some((10_000, "ten thousand viewers are enough to place it"))
    }

    fn dearness(&self) -> u32 {
        4
    }

    fn greets(&self) -> bool {
        true
    }

    fn start(&self, start: Start<'_>) -> Result<Server> {
        let directory = directory_in(start.temp_dir)?;
        let mut command = Command::new("node");
        command.arg(self.directory.join("server.js")).current_dir(&self.directory);
        command.env("NODE_ENV", "production");
        if start.newcomers {
            command.arg("newcomers");
        }
        let mut process = Process::start(command, directory.path(), start.cores, start.placement)?;
        let listen: SocketAddr = process.await_start(|log| logged(log, "listening", "listen"))?;
        Ok(Server::new(process, Target::plain(listen), Target::plain(listen), directory))
    }

    fn write_poll(&self, out: &mut Vec<u8>, _room: u32, _viewer: u32, position: &Position) {
        out.extend_from_slice(b"GET /engine.io/?EIO=4&transport=polling");
        if !position.as_bytes().is_empty() {
            out.extend_from_slice(b"&sid=");
            out.extend_from_slice(position.as_bytes());
        }
        out.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }

    fn write_send(&self, out: &mut Vec<u8>, _room: u32, _mark: &Mark, text: &str) {
        write!(out, "POST /send HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{text}", text.len())
            .expect("memory takes all writes");
    }

    /// The session, which stands for the place and is said in the first answer alone.
    fn position_after(&self, _headers: &[httparse::Header<'_>], body: &[u8]) -> Option<Position> {
        let session = body.strip_prefix(SESSION_BEFORE)?;
        Position::of(&[&session[..memchr::memchr(b'"', session)?]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> EngineIo {
        EngineIo { directory: PathBuf::new() }
    }

    #[test]
    fn session_of_the_handshake_goes_into_polls() {
        let body = b"0{\"sid\":\"lv_VI97HAXpY6yYWAAAC\",\"upgrades\":[],\"pingInterval\":25000}\x1e4~text";
        let session = peer().position_after(&[], body).unwrap();
        let mut poll = Vec::new();
        peer().write_poll(&mut poll, 0, 3, &session);
        assert!(
            poll.starts_with(
                b"GET /engine.io/?EIO=4&transport=polling&sid=lv_VI97HAXpY6yYWAAAC HTTP/1.1\r\n"
            )
        );
    }

    #[test]
    fn handshake_names_no_session() {
        let mut poll = Vec::new();
        peer().write_poll(&mut poll, 0, 3, &Position::START);
        assert!(poll.starts_with(b"GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\n"));
        assert!(
            peer().position_after(&[], b"4~message").is_none(),
            "an answer with messages says no session"
        );
    }

    #[test]
    fn lock_file_names_no_registry() {
        let lock: serde_json::Value = serde_json::from_str(LOCK).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        assert!(packages.len() > 1);
        assert!(packages.values().all(|package| package.get("resolved").is_none()));
    }
}
