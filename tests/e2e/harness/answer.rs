//! An answer, and what every refusal must look like.

use std::fmt;

use serde_json::Value;

/// An HTTP answer, as it came.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) version: String,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The header's value, if it is there exactly once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "header {name} came twice: {self:?}");
        value
    }

    /// The members of a comma-separated header, in lower case.
    pub(crate) fn header_list(&self, name: &str) -> Vec<String> {
        let values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let members = values.flat_map(|(_, value)| value.split(','));
        members.map(|member| member.trim().to_ascii_lowercase()).filter(|member| !member.is_empty()).collect()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}) in {self:?}"))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    /// Fails the test unless the status is `status`.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "in {self:?}");
        self
    }

    /// Fails the test unless this is an answer with JSON and `status`; gives the body.
    #[track_caller]
    pub(crate) fn expect_json(self, status: u16) -> Value {
        let this = self.expect(status);
        assert_eq!(this.header("content-type"), Some("application/json"), "in {this:?}");
        this.json()
    }

    /// Fails the test unless this is a whole problem document with `status` and one of `codes` (several where the
    /// contract leaves the choice), together with all headers that belong to it; gives the document.
    #[track_caller]
    pub(crate) fn expect_problem_of(self, status: u16, codes: &[&str]) -> Value {
        let this = self.expect(status);
        assert_eq!(this.header("content-type"), Some("application/problem+json"), "in {this:?}");
        let problem = this.json();
        assert_eq!(problem["status"], status, "in {this:?}");
        assert!(
            codes.contains(&problem["code"].as_str().unwrap_or_default()),
            "no code of {codes:?} in {this:?}"
        );
        for key in ["type", "title", "detail"] {
            assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "no {key} in {this:?}");
        }
        assert!(this.header("access-control-allow-origin").is_some(), "no CORS headers in {this:?}");
        if matches!(status, 429 | 503) {
            let wait = this.header("retry-after").and_then(|text| text.parse::<u64>().ok());
            assert!(wait.is_some_and(|seconds| seconds >= 1), "no Retry-After in {this:?}");
        }
        if status == 401 {
            let scheme = this.header("www-authenticate").unwrap_or_default();
            assert!(scheme.starts_with("Bearer"), "no WWW-Authenticate in {this:?}");
        }
        if status == 405 {
            assert!(!this.header_list("allow").is_empty(), "no Allow in {this:?}");
        }
        problem
    }

    /// [`Answer::expect_problem_of`] with one code.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, code: &str) -> Value {
        self.expect_problem_of(status, &[code])
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?} ", self.version, self.status, self.headers)?;
        let shown = &self.body[..self.body.len().min(1_000)];
        write!(f, "{} bytes: {}", self.body.len(), String::from_utf8_lossy(shown))
    }
}
