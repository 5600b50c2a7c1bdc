//! Waiting with deadlines.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How long anything may take that should be quick. It matters only when something is broken: a debug build may share two
/// busy cores with other tests, and what is quick is never told by a clock.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Awaits `future`, and fails the test with `what` if that takes longer than `deadline`.
pub(crate) async fn within<T>(deadline: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(deadline, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {deadline:?}"),
    }
}

/// Asks `probe` again and again until it gives a value; fails the test with its last state after `deadline`.
pub(crate) async fn eventually<T, F>(deadline: Duration, what: &str, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let started = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(state) if started.elapsed() > deadline => {
                panic!("{what}: not within {deadline:?}, last seen: {state}")
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Lets this process have as many open sockets as the system allows.
pub(crate) fn raise_fd_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the hard limit is allowed");
}
