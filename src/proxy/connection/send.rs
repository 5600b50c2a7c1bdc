//! The fast lane for sends: those that are there whole, head and body, when their head is read.

use room::Problem;

use super::{Connection, MESSAGES, Manner, plain_room};
use crate::proxy::{
    head::{BodyLength, Head},
    line::Client,
    routes::messages::{self, Sending},
};

impl<S: Client> Connection<S> {
    /// Does what a plain send asks for and answers it. Gives the connection back if it goes on.
    pub(super) async fn send(
        mut self,
        sending: Result<Box<Sending>, Problem>,
        manner: Manner,
    ) -> Option<Self> {
        let outcome = match sending {
            Ok(sending) => messages::finish(self.line.context(), sending).await,
            Err(problem) => Err(problem),
        };
        let goes_on = match outcome {
            Ok(response) => self.write(&response, &manner, "POST").await,
            Err(problem) => self.answer_problem(&problem, &manner).await,
        };
        self.read_on();
        goes_on.then_some(self)
    }
}

/// The room of a plain send and its body: `POST` on the path of a room's messages, with all of its body in `rest`.
pub(in crate::proxy) fn plain_send<'a>(head: &Head<'a>, rest: &'a [u8]) -> Option<(&'a str, &'a [u8])> {
    let BodyLength::Bytes(length) = head.body else { return None };
    if head.method != "POST" || head.expects_continue {
        return None;
    }
    let body = rest.get(..usize::try_from(length).ok()?)?;
    Some((plain_room(head.path, MESSAGES)?, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::head;

    fn lane(request: &str) -> Option<(String, String)> {
        let (head, length) = head::parse(request.as_bytes()).unwrap().unwrap();
        let (room, body) = plain_send(&head, &request.as_bytes()[length..])?;
        Some((room.to_owned(), String::from_utf8(body.to_vec()).unwrap()))
    }

    #[test]
    fn lane_takes_sends_that_are_there_whole() {
        let post = |path: &str, fields: &str, rest: &str| {
            format!("POST {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n{rest}")
        };
        let (path, length) = ("/v1/rooms/a/messages", "Content-Length: 2\r\n");
        assert_eq!(lane(&post(path, length, "{}GET")), Some(("a".to_owned(), "{}".to_owned())));
        assert_eq!(lane(&post(path, length, "{")), None);
        assert_eq!(lane(&post(path, "Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n")), None);
        assert_eq!(lane(&post(path, "Content-Length: 2\r\nExpect: 100-continue\r\n", "{}")), None);
        assert_eq!(lane(&post("/v1/rooms/a%62/messages", length, "{}")), None);
        assert_eq!(lane(&post("/v1/rooms/../messages", length, "{}")), None);
        assert_eq!(lane(&post("/v1/rooms/a", length, "{}")), None);
        assert_eq!(lane(&format!("PUT {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n{{}}")), None);
    }
}
