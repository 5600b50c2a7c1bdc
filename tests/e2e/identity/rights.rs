//! What each role may do, and where.

use serde_json::json;

use crate::harness::{Keys, Options, Request, Server, claims, seqs};

/// Makes the request of a role, by its place in the list of roles.
type RequestBy = Box<dyn Fn(usize) -> Request>;

#[tokio::test]
async fn each_role_may_do_its_part() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let send = |priority: &str| Request::send("r", &json!({ "text": "x", "priority": priority }));
    let ops = keys.token("o", "ops");
    // One message of each list for every moderator to retract.
    for _ in 0..2 {
        server.call(send("normal").bearer(&ops)).await.expect(201);
    }
    let retract = |seq: usize| Request::new("DELETE", format!("/v1/rooms/r/messages/normal/{seq}"));
    // The role from which on it is allowed: viewer 0, speaker 1, broadcaster 2, moderator 3, ops 4.
    let cases: [(&str, RequestBy, usize, u16); 10] = [
        ("poll", Box::new(|_| Request::poll("r", "timeout_ms=0")), 0, 200),
        ("history", Box::new(|_| Request::get("/v1/rooms/r/history")), 0, 200),
        ("settings", Box::new(|_| Request::get("/v1/rooms/r")), 0, 200),
        ("send normal", Box::new(move |_| send("normal")), 1, 201),
        ("send low", Box::new(move |_| send("low")), 1, 201),
        ("send high", Box::new(move |_| send("high")), 2, 201),
        (
            "patch",
            Box::new(|_| Request::new("PATCH", "/v1/rooms/r").json(&json!({ "cooldown_ms": 0 }))),
            3,
            200,
        ),
        ("put", Box::new(|_| Request::new("PUT", "/v1/rooms/r").json(&json!({}))), 3, 200),
        ("retract", Box::new(move |role| retract(role - 2)), 3, 200),
        ("close", Box::new(|_| Request::new("DELETE", "/v1/rooms/other")), 3, 204),
    ];
    for (case, request, from, status) in cases {
        for (at, role) in ["viewer", "speaker", "broadcaster", "moderator", "ops"].into_iter().enumerate() {
            eprintln!("case: {case} by {role}");
            let answer = server.call(request(at.max(3)).bearer(&keys.token(role, role))).await;
            if at >= from {
                answer.expect(status);
            } else {
                answer.expect_problem(403, "forbidden");
            }
        }
    }
}

#[tokio::test]
async fn rights_are_good_in_the_tokens_rooms_only() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let mut claims = claims("u1", "ops");
    claims["rooms"] = json!(["live-*", "exact"]);
    let token = keys.sign(&claims);
    for (room, is_allowed) in
        [("live-1", true), ("live-", true), ("exact", true), ("exact1", false), ("alive-1", false)]
    {
        for (request, status) in [
            (Request::poll(room, "timeout_ms=0"), 200),
            (Request::send(room, &json!({ "text": "x" })), 201),
            (Request::get(format!("/v1/rooms/{room}/history")), 200),
            (Request::get(format!("/v1/rooms/{room}")), 200),
            (Request::new("PATCH", format!("/v1/rooms/{room}")).json(&json!({ "muted": false })), 200),
            (Request::new("DELETE", format!("/v1/rooms/{room}/messages/normal/1")), 200),
            (Request::new("DELETE", format!("/v1/rooms/{room}")), 204),
        ] {
            let answer = server.call(request.bearer(&token)).await;
            if is_allowed {
                answer.expect(status);
            } else {
                answer.expect_problem(403, "forbidden");
            }
        }
    }
}

#[tokio::test]
async fn apps_do_not_see_each_other() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let token = |app: &str| {
        let mut claims = claims("u1", "ops");
        claims["app"] = json!(app);
        keys.sign(&claims)
    };
    let (one, two) = (token("one"), token("two"));
    let ask = async |request: Request, token: &str| server.call(request.bearer(token)).await;
    let message = json!({ "id": "m1", "text": "of one" });
    ask(Request::send("r", &message), &one).await.expect(201);
    let got = ask(Request::poll("r", "cursor=-1&timeout_ms=0"), &two).await.expect_json(200);
    assert!(seqs(&got["messages"]).is_empty(), "{got}");
    ask(Request::send("r", &json!({ "id": "m1", "text": "of two" })), &two).await.expect(201);
    ask(Request::new("DELETE", "/v1/rooms/r"), &two).await.expect(204);
    ask(Request::send("r", &json!({ "text": "still live" })), &one).await.expect(201);
    let cursor = ask(Request::poll("r", "timeout_ms=0"), &one).await.expect_json(200);
    let foreign = Request::poll("r", &format!("timeout_ms=0&cursor={}", crate::harness::cursor(&cursor)));
    ask(foreign, &two).await.expect_problem(400, "invalid_cursor");
}

#[tokio::test]
async fn sender_is_who_the_token_says() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    for role in ["speaker", "broadcaster", "moderator", "ops"] {
        let send =
            Request::send("r", &json!({ "text": role })).bearer(&keys.token(&format!("the-{role}"), role));
        server.call(send).await.expect(201);
    }
    let history = Request::get("/v1/rooms/r/history").bearer(&keys.token("v", "viewer"));
    for message in server.call(history).await.expect_json(200)["messages"].as_array().unwrap() {
        let role = message["text"].as_str().unwrap();
        assert_eq!(message["sender"], json!({ "id": format!("the-{role}"), "role": role }));
    }
}
