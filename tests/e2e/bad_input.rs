//! Bad input: every kind is refused with its own code and a sentence, nothing is written, nothing stays parked, and
//! the server goes on.

mod bodies;
mod framing;
mod fuzz;
mod heads;
mod http2;
mod paths;
mod queries;
mod slow;

use crate::harness::{Answer, Conn, Request, Server, eventually};

/// The room that no bad request must leave anything in.
const ROOM: &str = "r";

/// Fails the test unless the room is as it was at the beginning, and nothing is parked.
async fn check_untouched(server: &Server, case: &str) {
    for list in ["normal", "priority"] {
        let history = server.history(ROOM, &format!("list={list}")).await;
        assert_eq!(history["last_seq"], 0, "{case} has written to {list}: {history}");
    }
    eventually(crate::harness::DEADLINE, case, || async {
        let parked = server.metric("bigroom_parked_polls", &[]).await;
        if parked == 0.0 { Ok(()) } else { Err(format!("{parked} polls are parked")) }
    })
    .await;
}

/// Sends a request that must be refused with `status` and one of `codes`.
async fn check(server: &Server, request: Request, status: u16, codes: &[&str]) -> Answer {
    let case = format!("{request:?}");
    eprintln!("case: {:.300}", case);
    let answer = server.call(request).await;
    answer.clone().expect_problem_of(status, codes);
    check_untouched(server, &case).await;
    answer
}

/// Sends bytes that must be refused with `status` and one of `codes`, after which the connection closes.
async fn check_raw(server: &Server, bytes: impl AsRef<[u8]>, status: u16, codes: &[&str]) {
    let bytes = bytes.as_ref();
    let case = format!("{:.300}", String::from_utf8_lossy(bytes).escape_debug());
    eprintln!("case: {case}");
    let mut conn = server.conn().await;
    write_until_refused(&mut conn, bytes).await;
    let answer = conn.answer().await;
    let closes = answer.header_list("connection").contains(&"close".to_owned());
    answer.expect_problem_of(status, codes);
    assert!(closes, "{case}: the answer does not say Connection: close");
    conn.expect_close().await;
    check_untouched(server, &case).await;
}

/// Writes bytes to a server that may answer and close before it has read them all.
async fn write_until_refused(conn: &mut Conn, bytes: &[u8]) {
    drop(conn.try_write(bytes).await);
}
