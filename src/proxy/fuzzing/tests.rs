//! The parser of HTTP/1 beside hyper's, over generated and mutated requests.

use std::cell::Cell;

use proptest::{prelude::*, test_runner::TestRunner};

use super::{
    http1,
    http1::{End, read},
    http1_as_hyper,
    hyper_http1::{HyperEnd, read_by_hyper},
};

const CASES: u32 = 6_000;

fn method() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => proptest::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
            .prop_map(str::to_owned),
        1 => proptest::sample::select(vec!["CONNECT", "TRACE", "get", "PRI", "M-SEARCH"]).prop_map(str::to_owned),
        1 => "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,9}",
    ]
}

fn target() -> impl Strategy<Value = String> {
    let usual = vec![
        "/v1/rooms/r/messages?cursor=now&limit=5",
        "/v1/rooms/a%62/messages/normal/7",
        "/v1/poll?rooms=a:now,b:-1",
        "/",
        "*",
        "http://h:80/v1/rooms/r?x=%41",
        "https://[::1]/",
        "http://h?q",
        "http://h",
    ];
    let odd = vec![
        "h:1",
        "?q",
        "a",
        "http:///a",
        "http://u@h/",
        "http://h:x:y/",
        "HTTP://h/",
        "/a#b",
        "/a?b#c",
        "//h/a",
    ];
    prop_oneof![
        6 => proptest::sample::select(usual).prop_map(str::to_owned),
        1 => proptest::sample::select(odd).prop_map(str::to_owned),
        1 => "/[!-~é]{0,12}(\\?[!-~é]{0,12})?",
        1 => "[!-~]{1,12}",
    ]
}

fn field() -> impl Strategy<Value = String> {
    let names = vec![
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Expect",
        "Accept",
        "Cookie",
        "Upgrade",
        "TE",
        "Trailer",
        "Content-Type",
        "Origin",
        "Authorization",
        "X-Other",
        "Keep-Alive",
        "Proxy-Connection",
    ];
    let values = vec![
        "h",
        "0",
        "3",
        "03",
        "+3",
        "3, 3",
        "3 3",
        "chunked",
        "Chunked",
        "gzip, chunked",
        "chunked, gzip",
        "identity",
        "close",
        "keep-alive",
        "close, keep-alive",
        "upgrade",
        "h2c",
        "100-continue",
        "trailers",
        "",
        "a=b; c=d",
        "application/json",
        "*/*",
        "0x3",
        "4294967296",
        "18446744073709551616",
    ];
    let value = prop_oneof![
        8 => proptest::sample::select(values).prop_map(str::to_owned),
        1 => "[ -~\t]{0,12}",
        1 => "[\u{80}-\u{ff}]{0,3}",
    ];
    let line_end = prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\n ")];
    let colon =
        prop_oneof![9 => Just(": "), 2 => Just(":"), 1 => Just(" : "), 1 => Just(":\t"), 1 => Just("")];
    (proptest::sample::select(names), colon, value, line_end)
        .prop_map(|(name, colon, value, end)| format!("{name}{colon}{value}{end}"))
}

fn body() -> impl Strategy<Value = (String, String)> {
    let chunk = prop_oneof![
        12 => "[a-z]{1,20}".prop_map(|text| format!("{:x}\r\n{text}\r\n", text.len())),
        1 => "[a-z]{1,9}".prop_map(|text| format!("{:X};a=b\r\n{text}\r\n", text.len())),
        1 => "[a-z]{1,9}".prop_map(|text| format!("{:08x}\r\n{text}\r\n", text.len())),
        1 => "[a-z]{1,9}".prop_map(|text| format!("{:x}\n{text}\n", text.len())),
        1 => Just("ffffffffffffffff\r\n".to_owned()),
        1 => Just("-1\r\n".to_owned()),
        1 => Just(" 1 \r\na\r\n".to_owned()),
    ];
    let end = prop_oneof![9 => Just("0\r\n\r\n"), 1 => Just("0\r\nX: y\r\n\r\n"), 1 => Just("000\r\n\r\n"), 1 => Just("0\n\n")];
    prop_oneof![
        4 => Just((String::new(), String::new())),
        4 => "[ -~]{0,30}".prop_map(|text| (format!("Content-Length: {}\r\n", text.len()), text)),
        4 => (proptest::collection::vec(chunk, 0..4), end).prop_map(|(chunks, end)| {
            ("Transfer-Encoding: chunked\r\n".to_owned(), format!("{}{end}", chunks.concat()))
        }),
        1 => Just(("Content-Length: 0\r\n".to_owned(), String::new())),
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let version = prop_oneof![12 => Just("HTTP/1.1"), 3 => Just("HTTP/1.0"), 1 => Just("HTTP/2.0"), 1 => Just("http/1.1")];
    let host = prop_oneof![12 => Just("Host: h\r\n"), 1 => Just("")];
    let fields = prop_oneof![3 => Just(Vec::new()), 2 => proptest::collection::vec(field(), 0..4)];
    let empty_lines = prop_oneof![15 => Just(""), 1 => Just("\r\n"), 1 => Just("\n")];
    (empty_lines, method(), target(), version, host, fields, body()).prop_map(
        |(before, method, target, version, host, fields, (length, body))| {
            let fields = fields.concat();
            format!("{before}{method} {target} {version}\r\n{host}{fields}{length}\r\n{body}").into_bytes()
        },
    )
}

/// What becomes of a byte and those behind it.
fn damage() -> impl Strategy<Value = (proptest::sample::Index, u8, u8)> {
    let bytes = proptest::sample::select(b"\r\n \t:;,0a%#?/\0\x7f\x80".to_vec());
    (any::<proptest::sample::Index>(), 0u8..6, prop_oneof![bytes, any::<u8>()])
}

fn damaged(mut bytes: Vec<u8>, damage: &[(proptest::sample::Index, u8, u8)]) -> Vec<u8> {
    for (at, kind, byte) in damage {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match kind {
            0 => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            2 => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..(at + usize::from(byte % 16)).min(bytes.len()))),
            _ => {
                let piece = bytes[at..(at + usize::from(byte % 32)).min(bytes.len())].to_vec();
                drop(bytes.splice(at..at, piece));
            }
        }
    }
    bytes
}

/// A failure is shrunk, printed, and kept in `proptest-regressions/`, from where it runs first ever after.
#[test]
fn what_ours_takes_hyper_takes_the_same() {
    let taken = Cell::new((0u32, 0u32));
    let connection = (
        proptest::collection::vec(request(), 1..4),
        prop_oneof![1 => Just(Vec::new()), 1 => proptest::collection::vec(damage(), 1..4)],
    );
    let config = ProptestConfig { cases: CASES, source_file: Some(file!()), ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&connection, |(requests, damage)| {
            let bytes = damaged(requests.concat(), &damage);
            http1_as_hyper(&bytes);
            http1(&bytes);
            let (ours, hypers) = (read([&bytes[..]]).0.len(), read_by_hyper(&bytes).0.len());
            taken.set((taken.get().0 + u32::from(ours > 0), taken.get().1 + u32::from(hypers > ours)));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    // The comparison is of something: many are taken by both, and ours is the stricter one.
    let (by_both, by_hyper_alone) = taken.get();
    assert!(by_both > CASES / 8 && by_hyper_alone > CASES / 50, "{by_both} and {by_hyper_alone} of {CASES}");
}

/// Where ours refuses, or reads no further, and hyper goes on: what two parsers could read differently, and what no
/// client needs.
#[test]
fn ours_is_stricter_in_these_places() {
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n{body}");
    let get = |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\n{fields}\r\n");
    for (reason, bytes) in [
        ("a bare line feed ends a line for some only", "GET / HTTP/1.1\nHost: h\n\n".to_owned()),
        ("HTTP/1.1 has a host", get("/", "")),
        ("with an authority in it, and nothing else", get("/", "Host: u@h\r\n")),
        ("one of it", get("/", "Host: a\r\nHost: b\r\n")),
        ("a length is given once", post("Content-Length: 1\r\nContent-Length: 1\r\n", "x")),
        ("a length or chunks", post("Content-Length: 9\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        ("chunks and no other coding", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")),
        (
            "one field says so",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ),
        ("a length of 15 digits is beyond any body", post("Content-Length: 0000000000000001\r\n", "x")),
        ("a chunk has no extensions", post("Transfer-Encoding: chunked\r\n", "1;a=b\r\nx\r\n0\r\n\r\n")),
        ("no space around its size", post("Transfer-Encoding: chunked\r\n", "1 \r\nx\r\n0\r\n\r\n")),
        ("at most eight digits", post("Transfer-Encoding: chunked\r\n", "000000001\r\nx\r\n0\r\n\r\n")),
        ("no trailer fields", post("Transfer-Encoding: chunked\r\n", "0\r\nX: y\r\n\r\n")),
        ("a body where one belongs", get("/", "Host: h\r\nContent-Length: 1\r\n") + "x"),
        ("no expectation but 100-continue", get("/", "Host: h\r\nExpect: tea\r\n")),
        ("a field that is read is text", "GET / HTTP/1.1\r\nHost: h\r\nOrigin: \u{e9}\r\n\r\n".to_owned()),
        ("a field that is read is there once", get("/", "Host: h\r\nOrigin: a\r\nOrigin: b\r\n")),
        ("no fragment", get("/a#b", "Host: h\r\n")),
        ("a path, not an authority", "CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        ("nobody's name before the host", get("http://u@h/", "Host: h\r\n")),
        ("a target of 8 KiB", get(&format!("/{}", "a".repeat(9_000)), "Host: h\r\n")),
        ("a head of 16 KiB", get("/", &format!("Host: h\r\nX: {}\r\n", "a".repeat(20_000)))),
        ("a body of 1 MiB", post("Content-Length: 1100000\r\n", &"a".repeat(1_100_000))),
    ] {
        let bytes = if reason.contains("is text") { bytes.replace('\u{e9}', "\u{fffd}") } else { bytes };
        let mut bytes = bytes.into_bytes();
        if let Some(at) = bytes.windows(3).position(|three| three == "\u{fffd}".as_bytes()) {
            bytes.splice(at..at + 3, [0xe9]);
        }
        let (ours, end) = read([&bytes[..]]);
        assert!(ours.is_empty() && matches!(end, End::Refused(_)), "{reason}: {end:?} {ours:?}");
        let (hypers, end) = read_by_hyper(&bytes);
        assert!(hypers.len() == 1 && end != HyperEnd::Refused, "{reason}: {end:?} {hypers:?}");
    }
    // HTTP/1.0 is closed after the answer, whatever it asks for.
    let get = |path: &str| format!("GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let bytes = get("/1") + &get("/2");
    let (ours, end) = read([bytes.as_bytes()]);
    assert_eq!((ours.len(), end), (1, End::Closed));
    assert_eq!(read_by_hyper(bytes.as_bytes()).0.len(), 2);
}
