//! A request with its whole body, over whatever version of HTTP it came.

use bytes::Bytes;
use room::Problem;

use super::{
    events::Events,
    fields::{Fields, Query},
    response::Response,
};

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// What follows the `?`.
    pub(crate) query: String,
    pub(crate) fields: Fields<'static>,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn query(&self) -> Result<Query<'_>, Problem> {
        Query::parse(&self.query)
    }
}

/// What a request is answered.
pub(crate) enum Reply {
    Whole(Response),
    /// Server-sent events, until the client leaves or the room closes.
    Events(Box<Events>),
}

impl From<Result<Response, Problem>> for Reply {
    fn from(outcome: Result<Response, Problem>) -> Self {
        Self::Whole(outcome.unwrap_or_else(|problem| Response::problem(&problem)))
    }
}
