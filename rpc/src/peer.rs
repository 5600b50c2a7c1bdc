//! Another node.

use std::{fmt, sync::Arc, time::Duration};

use tonic::{Request, Status, transport::Channel};

use crate::{Breaker, Security, SecurityError, call::is_of_the_node, explain::explain, metrics};

/// Where another node listens: `host:port`. Its name, too, wherever nodes are told apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Arc<str>);

impl Address {
    /// Takes a text that was checked, or that another node sent.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Another node: a connection that is made when it is first used, and again when it broke.
#[derive(Debug)]
pub struct Peer {
    address: Address,
    channel: Channel,
    security: Security,
    breaker: Breaker,
}

impl Peer {
    /// The node at an address. Must be called on the runtime that will use it.
    ///
    /// # Errors
    /// [`SecurityError`] if the address is none.
    pub fn new(address: &Address, security: &Security) -> Result<Arc<Self>, SecurityError> {
        let channel = security.endpoint(address.as_str())?.connect_lazy();
        let (address, security) = (address.clone(), security.clone());
        Ok(Arc::new(Self { address, channel, security, breaker: Breaker::default() }))
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A handle of its connection, for a client made by the compiler of .proto files.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Why a call of it failed, in words for the log that say what to do if the two nodes' TLS does not fit.
    #[must_use]
    pub fn explain(&self, status: &Status) -> String {
        explain(status, &self.security)
    }

    /// Whether it should be asked now.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Asks it once, and remembers how that ended.
    ///
    /// # Errors
    /// What it answered, or why there was no answer by `deadline`.
    pub async fn ask<T>(
        &self,
        deadline: Duration,
        asked: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let given_up = GivenUp(Some(&self.breaker));
        let outcome = tokio::time::timeout(deadline, asked)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("the node did not answer in time")));
        given_up.disarm();
        match &outcome {
            Ok(_) => {
                metrics::call("ok");
                self.breaker.succeeded();
            }
            Err(status) if is_of_the_node(status) => {
                metrics::call("failed");
                self.breaker.failed();
            }
            Err(_) => {
                metrics::call("refused");
                self.breaker.succeeded();
            }
        }
        outcome
    }
}

/// Tells the breaker if a call is dropped before it ended.
struct GivenUp<'a>(Option<&'a Breaker>);

impl GivenUp<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if let Some(breaker) = self.0 {
            breaker.gave_up();
        }
    }
}

/// A request whose deadline travels along, so that the other node gives up, too.
pub(crate) fn request<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}
