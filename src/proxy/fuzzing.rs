//! Fuzz targets of the front door, for `fuzz/` and for the tests that repeat its corpora: the one parser of HTTP/1 by
//! itself and beside hyper's, and what is read from targets and fields.

mod http1;
mod hyper_http1;
mod values;

pub use http1::http1;
pub use hyper_http1::http1_as_hyper;
pub use values::values;

pub use super::proxy_protocol::fuzz_proxy_header as proxy_header;

#[cfg(test)]
mod tests;
