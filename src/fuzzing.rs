//! Fuzz targets of the server: what `fuzz/` runs and `make test` repeats with the committed corpora.
//!
//! A target takes bytes as they may come from outside and panics if something is wrong. It stands beside what it tests;
//! `room`, `sendsvr` and `store` have their own. `fuzz/README.md` lists every decoder and its target.

pub use crate::{
    auth::fuzzing::{keys, token},
    cluster::fuzzing::cluster_state,
    config::fuzzing::config,
    placement::kept::fuzz_placed as placed,
    proxy::fuzzing::{http1, http1_as_hyper, proxy_header, values},
    sects::fuzzing::sects,
    tls::fuzz_identity as identity,
};

#[cfg(test)]
#[path = "../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::{replay::replay, *};

    #[test]
    fn corpora_are_read_without_a_finding() {
        replay("cluster_state", cluster_state);
        replay("config", config);
        replay("http1", http1);
        replay("http1_as_hyper", http1_as_hyper);
        replay("identity", identity);
        replay("keys", keys);
        replay("placed", placed);
        replay("proxy_header", proxy_header);
        replay("sects", sects);
        replay("token", token);
        replay("values", values);
    }
}
