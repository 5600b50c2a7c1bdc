//! The fast lane for a room's numbers: many ask for them, and mostly they are in memory.

use super::{Connection, Manner, plain_room};
use crate::proxy::{head::Head, line::Client, response::Response};

impl<S: Client> Connection<S> {
    /// Writes a response that is there already. Gives the connection back if it goes on.
    pub(super) async fn respond(mut self, response: Box<Response>, manner: Manner) -> Option<Self> {
        let goes_on = self.write(&response, &manner, "GET").await;
        self.read_on();
        goes_on.then_some(self)
    }
}

/// The room whose numbers a head asks for: `GET` on the path of a room's statistics, spelt without percent-encoding.
pub(in crate::proxy) fn plain_numbers_room<'a>(head: &Head<'a>) -> Option<&'a str> {
    // The parser has refused a GET with a body.
    if head.method == "GET" { plain_room(head.path, "/stats") } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::head;

    fn lane(request: &str) -> Option<String> {
        let (head, _) = head::parse(request.as_bytes()).unwrap().unwrap();
        plain_numbers_room(&head).map(str::to_owned)
    }

    #[test]
    fn lane_takes_questions_for_one_rooms_numbers_only() {
        let get = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        assert_eq!(lane(&get("/v1/rooms/a/stats?x=1", "")), Some("a".to_owned()));
        assert_eq!(lane(&get("/v1/rooms/a/stats", "Content-Length: 0\r\n")), Some("a".to_owned()));
        for other in ["/v1/rooms/a/stats/history", "/v1/stats", "/v1/rooms/a%62/stats", "/v1/rooms/../stats"]
        {
            assert_eq!(lane(&get(other, "")), None, "{other}");
        }
        assert_eq!(lane("HEAD /v1/rooms/a/stats HTTP/1.1\r\nHost: x\r\n\r\n"), None);
    }
}
