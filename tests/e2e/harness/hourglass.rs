//! Time told by what the server does: whatever slows the machine down slows this down as well.

use std::time::Duration;

use super::{Conn, Request, Server};

/// A poll that nothing but its time ends, at nine tenths of it at the earliest. What comes while it runs has come before that.
pub(crate) struct Hourglass(Conn);

impl Hourglass {
    /// How long the poll lasts, as a query: another one of 30 s, begun at about the same time, is over after it. If that one
    /// is answered while this one runs, it was not for its time.
    pub(crate) const LASTS: &str = "timeout_ms=20000";

    /// Turns it: `poll` is of a room in which nothing happens.
    pub(crate) async fn turn(server: &Server, poll: &Request) -> Self {
        let mut conn = server.conn().await;
        conn.send(poll).await;
        Self(conn)
    }

    /// Fails the test, with `what`, if its time is over.
    pub(crate) async fn expect_running(&mut self, what: &str) {
        let is_over = tokio::time::timeout(Duration::ZERO, self.0.readable()).await.is_ok();
        assert!(!is_over, "the hourglass has run out before: {what}");
    }
}

impl Server {
    /// Turns an hourglass in a room of its own.
    pub(crate) async fn hourglass(&self) -> Hourglass {
        Hourglass::turn(self, &Request::poll("hourglass", Hourglass::LASTS)).await
    }
}
