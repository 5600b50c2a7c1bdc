//! What browsers need: no preflight for a poll, CORS on everything.

use serde_json::json;

use crate::harness::{Answer, H2, Keys, Options, Request, Server};

const ORIGIN: &str = "https://app.example";

fn listed() -> Options {
    Options::default().and("[http]\ncors_origins = [\"https://app.example\", \"https://other.example\"]\n")
}

fn allowed(answer: &Answer) -> (Option<&str>, Option<&str>) {
    (answer.header("access-control-allow-origin"), answer.header("access-control-allow-credentials"))
}

#[tokio::test]
async fn any_origin_may_read_by_default() {
    let server = Server::start(Options::default()).await;
    for request in [
        Request::poll("r", "timeout_ms=0"),
        Request::poll("r", "limit=0"),
        Request::send("r", &json!({ "text": "x" })),
        Request::get("/v1/rooms/r/history"),
        Request::get("/v1/rooms/r"),
        Request::get("/openapi.json"),
        Request::get("/nowhere"),
    ] {
        let answer = server.call(request.clone().header("Origin", ORIGIN)).await;
        assert_eq!(allowed(&answer), (Some("*"), None), "{request:?}");
    }
}

#[tokio::test]
async fn listed_origins_are_echoed_with_credentials() {
    let server = Server::start(listed()).await;
    for request in [Request::poll("r", "timeout_ms=0"), Request::get("/v1/rooms/r/history")] {
        let ask = |origin: &str| server.call(request.clone().header("Origin", origin));
        let answer = ask(ORIGIN).await;
        assert_eq!(allowed(&answer), (Some(ORIGIN), Some("true")), "{answer:?}");
        assert!(answer.header_list("vary").contains(&"origin".to_owned()), "{answer:?}");
        assert_eq!(allowed(&ask("https://other.example").await).0, Some("https://other.example"));
        for stranger in
            ["https://evil.example", "https://app.example.evil.example", "http://app.example", "null"]
        {
            let answer = ask(stranger).await;
            assert_eq!(allowed(&answer), (None, None), "{stranger}");
            assert!(answer.header_list("vary").contains(&"origin".to_owned()), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn preflights_of_the_rest_are_answered() {
    let server = Server::start(Options::default()).await;
    for (target, method) in [
        ("/v1/rooms/r/messages", "POST"),
        ("/v1/rooms/r", "PATCH"),
        ("/v1/rooms/r", "PUT"),
        ("/v1/rooms/r", "DELETE"),
        ("/v1/rooms/r/messages/normal/1", "DELETE"),
    ] {
        let preflight = Request::new("OPTIONS", target)
            .header("Origin", ORIGIN)
            .header("Access-Control-Request-Method", method)
            .header("Access-Control-Request-Headers", "authorization, content-type, idempotency-key");
        let answer = server.call(preflight).await;
        assert!(matches!(answer.status, 200 | 204), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let methods = answer.header_list("access-control-allow-methods");
        assert!(
            methods.contains(&method.to_ascii_lowercase()) || methods.contains(&"*".to_owned()),
            "{answer:?}"
        );
        let headers = answer.header_list("access-control-allow-headers");
        for header in ["authorization", "content-type", "idempotency-key"] {
            assert!(headers.contains(&header.to_owned()), "{header} in {answer:?}");
        }
        let age = answer.header("access-control-max-age").and_then(|age| age.parse::<u64>().ok());
        assert!(age.is_some_and(|age| age > 0), "{answer:?}");
    }
}

/// A simple request by the Fetch standard: no custom header, the token in the query or in a cookie.
#[tokio::test]
async fn poll_needs_no_custom_header() {
    let keys = Keys::hs256();
    let server = Server::start(listed().keys(&keys)).await;
    let token = keys.token("u1", "viewer");
    let in_query = Request::poll("r", &format!("timeout_ms=0&token={token}")).header("Origin", ORIGIN);
    server.call(in_query).await.expect(200);
    let in_cookie = Request::poll("r", "timeout_ms=0").header("Origin", ORIGIN);
    let in_cookie = in_cookie.header("Cookie", format!("theme=dark; bigroom_token={token}; lang=en"));
    server.call(in_cookie).await.expect(200);
}

#[tokio::test]
async fn tokens_are_never_logged() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys).and("[log]\nlevel = \"debug\"\n")).await;
    let (token, forged) = (keys.token("u1", "viewer"), format!("{}x", keys.token("u2", "viewer")));
    let h2 = H2::open(server.addr).await;
    for token in [&token, &forged] {
        for request in [
            Request::poll("r", &format!("timeout_ms=0&token={token}")),
            Request::poll("r", "timeout_ms=0").bearer(token),
            Request::get("/v1/rooms/r/history").header("Cookie", format!("bigroom_token={token}")),
        ] {
            server.call(request.clone()).await;
            let lower = |(name, value): &(String, String)| (name.to_lowercase(), value.clone());
            h2.call(&Request { headers: request.headers.iter().map(lower).collect(), ..request }).await;
        }
        let signature = token.rsplit('.').next().unwrap();
        assert!(!server.log().contains(signature), "{}", server.log());
    }
}

#[tokio::test]
async fn exposed_headers_are_named() {
    let server = Server::start(Options::default()).await;
    let answer = server.call(Request::poll("r", "limit=0").header("Origin", ORIGIN)).await;
    assert!(
        answer.header_list("access-control-expose-headers").contains(&"retry-after".to_owned()),
        "{answer:?}"
    );
}
