//! A cluster of real processes on loopback: a statsvr, a sendsvr, recvsvrs and proxies.

use std::net::SocketAddr;

use futures_util::future::join_all;

use super::{DEADLINE, Options, Role, Server, eventually, free_addr};

/// Nodes of one cluster; they end with this value.
pub(crate) struct Cluster {
    pub(crate) sendsvr: Option<Server>,
    pub(crate) recvsvrs: Vec<Server>,
    pub(crate) proxies: Vec<Server>,
    _statsvr: Server,
    sendsvr_addr: SocketAddr,
    statsvr_addr: SocketAddr,
    options: Options,
}

impl Cluster {
    /// Starts a cluster whose recvsvrs are in these sects, and waits until messages come through every proxy.
    pub(crate) async fn start(options: Options, sects: &[&str], proxies: usize) -> Self {
        let (sendsvr_addr, statsvr_addr) = (free_addr(), free_addr());
        let node = |role: Role, listen: SocketAddr| {
            let (listen, nodes) = (listen.to_string(), statsvr_addr.to_string());
            Server::start(options.clone().role(role).args(&["--listen", &listen, "--nodes", &nodes]))
        };
        // Nodes of one kind side by side, each kind once those are ready that it needs: nobody meets a node that is away.
        let (statsvr, sendsvr) =
            tokio::join!(node(Role::Statsvr, statsvr_addr), node(Role::Sendsvr, sendsvr_addr));
        let mut cluster = Self {
            sendsvr: Some(sendsvr),
            recvsvrs: Vec::new(),
            proxies: Vec::new(),
            _statsvr: statsvr,
            sendsvr_addr,
            statsvr_addr,
            options,
        };
        cluster.recvsvrs = join_all(sects.iter().map(|sect| cluster.recvsvr(sect))).await;
        cluster.proxies = join_all((0..proxies).map(|_| cluster.proxy())).await;
        cluster
    }

    /// Starts one more recvsvr.
    pub(crate) async fn recvsvr(&self, sect: &str) -> Server {
        let sendsvr = self.sendsvr_addr.to_string();
        let options = self.options.clone().role(Role::Recvsvr);
        Server::start(options.args(&["--sendsvr", &sendsvr, "--sect", sect])).await
    }

    /// Starts one more proxy.
    pub(crate) async fn proxy(&self) -> Server {
        let (sendsvr, nodes) = (self.sendsvr_addr.to_string(), self.statsvr_addr.to_string());
        let options = self.options.clone().role(Role::Proxy);
        Server::start(options.args(&["--sendsvr", &sendsvr, "--nodes", &nodes])).await
    }

    /// Starts a node that wants to join and may not get ready.
    pub(crate) async fn stranger(&self, role: Role, options: Options) -> Server {
        let (sendsvr, nodes) = (self.sendsvr_addr.to_string(), self.statsvr_addr.to_string());
        let args = ["--sendsvr", &sendsvr, "--nodes", &nodes];
        // A recvsvr knows no statsvrs.
        let args = if role == Role::Proxy { &args[..] } else { &args[..2] };
        Server::start_unready(options.role(role).args(args)).await
    }

    /// The recvsvr that tells proxies of rooms, by what it says itself: the number of nodes that follow rooms there.
    pub(crate) async fn followed_rooms(&self, recvsvr: usize) -> f64 {
        self.recvsvrs[recvsvr].metric("bigroom_log_followed_rooms", &[]).await
    }

    /// Waits until some recvsvr tells of so many rooms more than the canaries of the proxies, and says which.
    pub(crate) async fn recvsvr_of_rooms(&self) -> usize {
        eventually(DEADLINE, "a recvsvr that tells of a room", || async {
            let mut most = (0.0, 0);
            for at in 0..self.recvsvrs.len() {
                let rooms = self.followed_rooms(at).await;
                if rooms > most.0 {
                    most = (rooms, at);
                }
            }
            if most.0 > 0.0 { Ok(most.1) } else { Err("nobody follows anything".to_owned()) }
        })
        .await
    }
}
