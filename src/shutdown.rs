//! When to stop: the first SIGTERM or SIGINT drains the node, the second ends it.

use std::{io, process, thread, time::Duration};

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The node's life, as its parts see it. Clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    draining: CancellationToken,
    grace: Duration,
}

impl Shutdown {
    /// A life that only [`Shutdown::drain`] ends.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        Self { draining: CancellationToken::new(), grace }
    }

    /// A life that signals end as well. From here on the process doesn't die of SIGTERM or SIGINT by itself.
    ///
    /// The second signal exits at once, with the code that a shell shows for it (128 + its number). A thread of its
    /// own waits for both, so that it works however busy or stuck the rest is.
    ///
    /// # Errors
    /// If no thread or no handler can be had.
    pub fn on_signals(grace: Duration) -> io::Result<Self> {
        let shutdown = Self::new(grace);
        let draining = shutdown.draining.clone();
        let (ready, is_ready) = oneshot::channel();
        thread::Builder::new().name("signals".into()).spawn(move || {
            let handlers = Builder::new_current_thread().enable_io().build().and_then(|runtime| {
                let within = runtime.enter();
                let term = signal(SignalKind::terminate())?;
                let int = signal(SignalKind::interrupt())?;
                drop(within);
                Ok((runtime, term, int))
            });
            let (runtime, mut term, mut int) = match handlers {
                Ok(handlers) => handlers,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let _ = ready.send(Ok(()));
            runtime.block_on(async move {
                let mut next = async || {
                    // Both branches only wait for a notification: dropping either loses none.
                    tokio::select! {
                        _ = term.recv() => SignalKind::terminate(),
                        _ = int.recv() => SignalKind::interrupt(),
                    }
                };
                next().await;
                info!(grace_s = grace.as_secs_f64(), "draining");
                draining.cancel();
                let signal = next().await;
                warn!("second signal: leaving at once");
                process::exit(128 + signal.as_raw_value());
            });
        })?;
        is_ready.blocking_recv().unwrap_or_else(|_| Err(io::Error::other("the signal thread ended")))?;
        Ok(shutdown)
    }

    /// Starts draining, as the first signal does. Doing it again changes nothing.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Whether the node is draining.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Comes when the node starts draining.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// The token that is cancelled when the node starts draining.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// How long draining may take.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.grace
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn first_signal_drains() {
        let shutdown = Shutdown::on_signals_for_test().await;
        assert!(!shutdown.is_draining());
        kill_process(getpid(), Signal::TERM).unwrap();
        tokio::time::timeout(Duration::from_secs(10), shutdown.draining()).await.unwrap();
        assert!(shutdown.is_draining());
    }

    impl Shutdown {
        async fn on_signals_for_test() -> Self {
            tokio::task::spawn_blocking(|| Self::on_signals(Duration::from_secs(10))).await.unwrap().unwrap()
        }
    }
}
