//! Bodies that are no message.

use super::{ROOM, check, check_untouched};
use crate::harness::{Options, Request, Server};

async fn check_bodies(bodies: &[(&[u8], u16, &str)]) {
    let server = Server::start(Options::default()).await;
    for (body, status, code) in bodies {
        let send = Request::post(format!("/v1/rooms/{ROOM}/messages")).body("application/json", *body);
        check(&server, send, *status, &[code]).await;
    }
    let refused = server.metric("bigroom_refused_total", &[]).await;
    assert!(refused >= bodies.len() as f64, "refusals are counted: {refused}");
}

#[tokio::test]
async fn bodies_that_are_not_strict_json() {
    let deep = [r#"{"data":"#.to_owned(), "[".repeat(40), "]".repeat(40), "}".to_owned()].concat();
    let bottomless = format!(r#"{{"data":{}"#, "[".repeat(16_000));
    let bodies: &[&[u8]] = &[
        b"",
        b" ",
        b"{",
        b"text=hello",
        b"{\"text\":\"a\"",
        b"{\"text\":\"a\"}}",
        b"{\"text\":\"a\"} {\"text\":\"b\"}",
        b"{\"text\":\"a\"}\0",
        b"\xef\xbb\xbf{\"text\":\"a\"}",
        b"\xff\xfe{\0}\0",
        b"{\"text\":\"\xff\"}",
        b"{\"text\":\"\xc0\xaf\"}",
        b"{\"text\":\"\xed\xa0\x80\"}",
        b"{\"text\":\"\\ud800\"}",
        b"{\"text\":\"\\udc00\\ud800\"}",
        b"{\"data\":{\"x\":\"\\ud83d\"}}",
        b"{\"text\":\"a\",\"text\":\"b\"}",
        b"{\"text\":\"a\",\"te\\u0078t\":\"b\"}",
        b"{\"data\":{\"a\":1,\"a\":1}}",
        b"{'text':'a'}",
        b"{\"text\":\"a\",}",
        b"{text:\"a\"}",
        b"{\"text\":\"a\nb\"}",
        b"{\"data\":01}",
        b"{\"data\":+1}",
        b"{\"data\":.5}",
        b"{\"data\":NaN}",
        b"{\"data\":Infinity}",
        b"{\"data\":0x10}",
        b"{\"data\":1}//",
        b"/**/{\"data\":1}",
        b"{\"text\":\"\\x41\"}",
        b"nul",
        b"[{\"text\":\"a\"},]",
        deep.as_bytes(),
        bottomless.as_bytes(),
    ];
    let cases: Vec<_> = bodies.iter().map(|body| (*body, 400, "invalid_json")).collect();
    check_bodies(&cases).await;
}

#[tokio::test]
async fn json_that_is_no_message() {
    let long_type = format!(r#"{{"text":"a","type":"{}"}}"#, "t".repeat(33));
    let long_text = format!(r#"{{"text":"{}"}}"#, "x".repeat(16_384));
    let message = "invalid_message";
    check_bodies(&[
        (b"null", 400, message),
        (b"true", 400, message),
        (b"5", 400, message),
        (b"\"text\"", 400, message),
        (b"{}", 400, message),
        (b"{\"type\":\"gift\"}", 400, message),
        (b"{\"txt\":\"a\"}", 400, message),
        (b"{\"text\":\"a\",\"seq\":1}", 400, message),
        (b"{\"text\":\"a\",\"sender\":{\"id\":\"u1\"}}", 400, message),
        (b"{\"text\":\"a\",\"Text\":\"a\"}", 400, message),
        (b"{\"text\":5}", 400, message),
        (b"{\"text\":[\"a\"]}", 400, message),
        (b"{\"text\":{}}", 400, message),
        (b"{\"text\":true}", 400, message),
        (b"{\"text\":\"a\",\"id\":5}", 400, message),
        (b"{\"text\":\"a\",\"type\":5}", 400, message),
        (b"{\"text\":\"a\",\"type\":\"\"}", 400, message),
        (b"{\"text\":\"a\",\"type\":\"Gift\"}", 400, message),
        (b"{\"text\":\"a\",\"type\":\"a b\"}", 400, message),
        (b"{\"text\":\"a\",\"type\":\"redact\"}", 400, message),
        (b"{\"text\":\"a\",\"type\":\"retracted\"}", 400, message),
        (b"{\"text\":\"a\",\"type\":\"room.closed\"}", 400, message),
        (long_type.as_bytes(), 400, message),
        (b"{\"text\":\"a\",\"priority\":\"urgent\"}", 400, message),
        (b"{\"text\":\"a\",\"priority\":\"HIGH\"}", 400, message),
        (b"{\"text\":\"a\",\"priority\":1}", 400, message),
        (b"{\"text\":\"a\\u0000b\"}", 400, message),
        (b"{\"text\":\"\\u0007\"}", 400, message),
        (b"{\"text\":\"\\u001b[31m\"}", 400, message),
        (b"{\"text\":\"a\\rb\"}", 400, message),
        (b"{\"text\":\"a\\u007fb\"}", 400, message),
        (b"{\"text\":\"a\\u0085b\"}", 400, message),
        (b"[]", 400, message),
        (long_text.as_bytes(), 413, "body_too_large"),
    ])
    .await;
}

#[tokio::test]
async fn message_ids_that_are_no_ids() {
    let server = Server::start(Options::default()).await;
    let long = "x".repeat(65);
    for id in ["", " ", "a b", "a/b", "é", "..", "_mine", "a\\nb", &long] {
        let body = format!(r#"{{"id":"{id}","text":"a"}}"#);
        let send = Request::post(format!("/v1/rooms/{ROOM}/messages")).body("application/json", body);
        check(&server, send, 400, &["invalid_id", "invalid_message"]).await;
    }
}

#[tokio::test]
async fn bodies_of_another_type() {
    let server = Server::start(Options::default()).await;
    let post = || Request::post(format!("/v1/rooms/{ROOM}/messages"));
    let body = r#"{"text":"a"}"#;
    for content_type in [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin1",
        "application/json; charset=utf-16",
        "application/jsonp",
        "json",
        "",
        "text/plain, application/json",
    ] {
        check(&server, post().body(content_type, body), 415, &["unsupported_media_type"]).await;
    }
    check(&server, post().bare_body(body), 415, &["unsupported_media_type"]).await;
    for coding in ["gzip", "br", "deflate", "zstd"] {
        let coded = post().body("application/json", body).header("Content-Encoding", coding);
        check(&server, coded, 415, &["unsupported_media_type"]).await;
    }
}

#[tokio::test]
async fn bodies_beyond_every_bound() {
    let server = Server::start(Options::default()).await;
    // Only announced: nobody waits for it to be sent.
    for length in ["1048577", "9999999999"] {
        let mut conn = server.conn().await;
        conn.write(format!(
            "POST /v1/rooms/{ROOM}/messages HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        ))
        .await;
        conn.answer().await.expect_problem(413, "body_too_large");
    }
    // Chunked, without an end in sight.
    let mut conn = server.conn().await;
    conn.write(format!(
        "POST /v1/rooms/{ROOM}/messages HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    ))
    .await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..32 {
        if conn.try_write(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    conn.answer().await.expect_problem(413, "body_too_large");
    check_untouched(&server, "a body without an end").await;
}

#[tokio::test]
async fn settings_that_are_no_settings() {
    let server = Server::start(Options::default()).await;
    let defaults = server.call(Request::get(format!("/v1/rooms/{ROOM}"))).await.expect_json(200);
    for (body, code) in [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        (r#"{"muted":true,"muted":false}"#, "invalid_json"),
        ("[]", "invalid_message"),
        ("null", "invalid_message"),
        (r#"{"unknown":1}"#, "invalid_message"),
        (r#"{"muted":"yes"}"#, "invalid_message"),
        (r#"{"muted":1}"#, "invalid_message"),
        (r#"{"state":"gone"}"#, "invalid_message"),
        (r#"{"state":"muted"}"#, "invalid_message"),
        (r#"{"cooldown_ms":-1}"#, "invalid_message"),
        (r#"{"cooldown_ms":1.5}"#, "invalid_message"),
        (r#"{"cooldown_ms":"1s"}"#, "invalid_message"),
        (r#"{"limits":5}"#, "invalid_message"),
        (r#"{"limits":{"room_rate":-1}}"#, "invalid_message"),
        (r#"{"limits":{"unknown":1}}"#, "invalid_message"),
        (r#"{"retention":{"normal":{"count":0}}}"#, "invalid_message"),
        (r#"{"retention":{"normal":{"age_s":0}}}"#, "invalid_message"),
        (r#"{"retention":{"other":{"count":1}}}"#, "invalid_message"),
        (r#"{"retention":{"normal":{"count":1,"unknown":1}}}"#, "invalid_message"),
    ] {
        for method in ["PATCH", "PUT"] {
            let request = Request::new(method, format!("/v1/rooms/{ROOM}")).body("application/json", body);
            check(&server, request, 400, &[code]).await;
        }
    }
    let after = server.call(Request::get(format!("/v1/rooms/{ROOM}"))).await.expect_json(200);
    assert_eq!(after, defaults, "nothing was set");
}
