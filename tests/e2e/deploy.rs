//! What `deploy/` ships, as it is shipped: nginx and HAProxy before the proxies of a cluster, and a cluster on this machine.

mod announced;
mod balanced;
mod local;
mod relayed;
