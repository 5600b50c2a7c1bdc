//! Cross-origin requests: which pages may read answers, and what a preflight is told.

use super::{
    fields::{Field, Fields},
    response::Response,
    target::Target,
};
use crate::config::CorsOrigins;

/// What browsers are told.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: CorsOrigins,
}

/// The CORS fields of one response, and what it varies by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CorsFields<'a> {
    allow_origin: Option<&'a str>,
    with_credentials: bool,
    vary: &'static str,
}

impl CorsFields<'_> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        /// What a page may read of a response besides the body.
        const EXPOSED: &str = "retry-after, allow, www-authenticate";
        let credentials = self.with_credentials.then_some(("access-control-allow-credentials", "true"));
        let origin = self.allow_origin.map(|origin| ("access-control-allow-origin", origin));
        let exposed = origin.map(|_| ("access-control-expose-headers", EXPOSED));
        [Some(("vary", self.vary)), origin, credentials, exposed].into_iter().flatten()
    }
}

impl Cors {
    pub(crate) fn new(origins: CorsOrigins) -> Self {
        Self { origins }
    }

    /// The fields for a request with this `Origin`.
    pub(crate) fn fields<'a>(&self, origin: Option<&'a str>) -> CorsFields<'a> {
        match &self.origins {
            CorsOrigins::Any => CorsFields {
                allow_origin: Some("*"),
                with_credentials: false,
                vary: "Accept, Accept-Encoding",
            },
            CorsOrigins::Listed(_) => {
                let allow_origin = self.listed(origin);
                let with_credentials = allow_origin.is_some();
                CorsFields { allow_origin, with_credentials, vary: "Accept, Accept-Encoding, Origin" }
            }
        }
    }

    /// The origin, if responses to it differ from those to everybody else.
    pub(crate) fn listed<'a>(&self, origin: Option<&'a str>) -> Option<&'a str> {
        origin.filter(|origin| self.origins.lists(origin.as_bytes()))
    }

    /// The response to `OPTIONS`, preflight or not.
    pub(crate) fn preflight(&self, target: &Target, fields: &Fields<'_>) -> Response {
        let methods = target.methods();
        let mut response = Response::empty(204);
        response.fields.push(("allow", methods.to_owned()));
        if fields.get(Field::RequestMethod).is_some() {
            const HEADERS: &str = "authorization, content-type, idempotency-key, last-event-id";
            // Two hours is the most that a browser of today keeps it.
            const MAX_AGE_S: &str = "7200";
            response.fields.push(("access-control-allow-methods", methods.to_owned()));
            response.fields.push(("access-control-allow-headers", HEADERS.to_owned()));
            response.fields.push(("access-control-max-age", MAX_AGE_S.to_owned()));
        }
        response
    }
}
