//! Parked polls on HTTP/2 streams.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tokio::{net::TcpStream, runtime::Runtime};

use crate::{
    client::Position,
    peers::{Peer, Server},
};

/// Streams of a connection: fewer than bigroom allows, so that none is refused.
pub(super) const PER_CONNECTION: u32 = 50;

/// Polls that are being held.
pub(super) struct Held {
    /// Its tasks own connections and streams.
    runtime: Runtime,
    ended: Arc<AtomicU64>,
}

impl Held {
    /// Opens so many, with prior knowledge of HTTP/2.
    pub(super) fn open(peer: &dyn Peer, server: &Server, count: u32) -> Result<Self> {
        let address = server.polls.address;
        ensure!(address.ip().is_loopback(), "{address} is not on loopback");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
        let ended = Arc::new(AtomicU64::new(0));
        let targets: Vec<String> = (0..count).map(|viewer| target_of(peer, viewer)).collect::<Result<_>>()?;
        runtime.block_on(async {
            for targets in targets.chunks(PER_CONNECTION as usize) {
                let socket = TcpStream::connect(address).await.context("connect")?;
                let (mut requests, connection) =
                    h2::client::handshake(socket).await.context("begin HTTP/2")?;
                tokio::spawn(async move {
                    // It ends when the server is stopped.
                    let _ = connection.await;
                });
                for target in targets {
                    requests = requests.ready().await.context("wait for a free stream")?;
                    let uri = format!("http://localhost{target}");
                    let request = http::Request::get(uri).body(()).context("make a request")?;
                    let (answer, _) = requests.send_request(request, true).context("open a stream")?;
                    let ended = Arc::clone(&ended);
                    tokio::spawn(async move {
                        let _ = answer.await;
                        ended.fetch_add(1, Ordering::Relaxed);
                    });
                }
            }
            anyhow::Ok(())
        })?;
        Ok(Self { runtime, ended })
    }

    /// Drives all of them for a while; tells how many have ended by then.
    pub(super) fn hold(&self, time: Duration) -> u64 {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
        self.ended.load(Ordering::Relaxed)
    }
}

/// The target of the poll that a peer writes for HTTP/1.1.
fn target_of(peer: &dyn Peer, viewer: u32) -> Result<String> {
    let mut poll = Vec::new();
    peer.write_poll(&mut poll, 0, viewer, &Position::START);
    let poll = String::from_utf8(poll).context("read a poll")?;
    Ok(poll.split(' ').nth(1).context("find the target of a poll")?.to_owned())
}
