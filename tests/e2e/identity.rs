//! Who is asking: tokens, keys, rights.

mod keyless;
mod keys;
mod rights;

use serde_json::{Value, json};

use crate::harness::{Hourglass, Keys, Options, Request, Server, claims, compact, in_seconds};

const POLL: &str = "/v1/rooms/r/messages?timeout_ms=0";

#[tokio::test]
async fn token_travels_in_three_ways() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let (token, other) = (keys.token("u1", "viewer"), keys.token("u2", "viewer"));
    let in_query = |token: &str| Request::get(format!("{POLL}&token={token}"));
    let cookie =
        |request: Request, token: &str| request.header("Cookie", format!("a=b; bigroom_token={token}"));
    for request in [
        Request::get(POLL).bearer(&token),
        Request::get(POLL).header("authorization", format!("bearer {token}")),
        in_query(&token),
        cookie(Request::get(POLL), &token),
        in_query(&token).bearer(&token),
        cookie(in_query(&token), &token).bearer(&token),
    ] {
        assert_eq!(server.call(request.clone()).await.status, 200, "{request:?}");
    }
    for request in [
        in_query(&other).bearer(&token),
        cookie(Request::get(POLL), &other).bearer(&token),
        cookie(in_query(&token), &other),
        in_query("").bearer(&token),
    ] {
        server.call(request).await.expect_problem(400, "invalid_parameter");
    }
}

#[tokio::test]
async fn requests_without_a_good_token_are_refused() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut claims = claims("u1", "viewer");
        change(&mut claims);
        keys.sign(&claims)
    };
    let drop_claim =
        |name: &'static str| with(&|claims| drop(claims.as_object_mut().expect("claims").remove(name)));
    let good = claims("u1", "ops");
    let none = |text: &str| compact(&json!({ "alg": text, "typ": "JWT" }), &good, |_| Vec::new());
    let forged = Keys::none().and_hs256(None, "another secret, as long as the first one").sign(&good);
    let whole = keys.sign(&good);
    let (head, tail) = whole.rsplit_once('.').expect("three parts");
    let tokens = [
        ("empty", String::new()),
        ("no token", "nonsense".to_owned()),
        ("two parts", head.to_owned()),
        ("no signature", format!("{head}.")),
        ("a signature cut off", whole[..whole.len() - 2].to_owned()),
        ("another's signature", forged),
        ("four parts", format!("{whole}.{tail}")),
        ("alg none", none("none")),
        ("alg None", none("None")),
        ("another algorithm", keys.sign_with(&json!({ "alg": "HS512" }), &good)),
        ("an algorithm of another kind", keys.sign_with(&json!({ "alg": "RS256" }), &good)),
        (
            "an unknown critical header",
            keys.sign_with(&json!({ "alg": "HS256", "crit": ["x"], "x": 1 }), &good),
        ),
        ("expired", with(&|claims| claims["exp"] = json!(in_seconds(-10)))),
        ("expiry that is no number", with(&|claims| claims["exp"] = json!("tomorrow"))),
        ("without expiry", drop_claim("exp")),
        ("without a user", drop_claim("sub")),
        ("without rooms", drop_claim("rooms")),
        ("rooms that are no list", with(&|claims| claims["rooms"] = json!("*"))),
        ("a user that is no id", with(&|claims| claims["sub"] = json!("a b"))),
        ("a user of the service's own", with(&|claims| claims["sub"] = json!("_x"))),
        ("an unknown role", with(&|claims| claims["role"] = json!("root"))),
        ("a role in capitals", with(&|claims| claims["role"] = json!("Ops"))),
        ("an app that is no id", with(&|claims| claims["app"] = json!(""))),
        ("a device that is no id", with(&|claims| claims["device"] = json!("a/b"))),
    ];
    for (case, token) in tokens {
        eprintln!("case: {case}");
        for request in [
            Request::get(POLL).bearer(&token),
            Request::get("/v1/rooms/r/history").bearer(&token),
            Request::send("r", &json!({ "text": "x" })).bearer(&token),
        ] {
            server.call(request).await.expect_problem(401, "unauthorized");
        }
    }
    for request in [
        Request::get(POLL),
        Request::get(POLL).header("Authorization", "Basic dTpw"),
        Request::get(POLL).header("Authorization", whole.as_str()),
        Request::get(POLL).header("Cookie", "other=1"),
    ] {
        server.call(request).await.expect_problem(401, "unauthorized");
    }
    let history = Request::get("/v1/rooms/r/history").bearer(&keys.token("u1", "viewer"));
    assert_eq!(server.call(history).await.expect_json(200)["last_seq"], 0, "nothing was written");
}

#[tokio::test]
async fn clock_may_differ_by_five_seconds() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let mut just_expired = claims("u1", "viewer");
    just_expired["exp"] = json!(in_seconds(-2));
    server.call(Request::get(POLL).bearer(&keys.sign(&just_expired))).await.expect(200);
}

#[tokio::test]
async fn claims_have_their_defaults() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let token =
        keys.sign(&json!({ "sub": "u1", "exp": in_seconds(60), "rooms": ["r"], "iat": 1, "jti": "x" }));
    server.call(Request::get(POLL).bearer(&token)).await.expect(200);
    let send = Request::send("r", &json!({ "text": "x" })).bearer(&token);
    server.call(send).await.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn poll_parked_when_its_token_expires_is_answered() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let mut claims = claims("u1", "viewer");
    claims["exp"] = json!(in_seconds(1));
    let poll = Request::poll("r", "timeout_ms=30000").bearer(&keys.sign(&claims));
    let mut conn = server.conn().await;
    let glass = Request::poll("r", Hourglass::LASTS).bearer(&keys.token("u2", "viewer"));
    let mut hourglass = Hourglass::turn(&server, &glass).await;
    let got = conn.call(&poll).await.expect_json(200);
    hourglass.expect_running("the answer to a token that was good for 6 s").await;
    assert_eq!((&got["messages"], &got["up_to_date"]), (&json!([]), &json!(true)));
    crate::harness::eventually(crate::harness::DEADLINE, "a refusal", || async {
        let again = Request::poll("r", "timeout_ms=0").bearer(&keys.sign(&claims));
        let answer = server.call(again).await;
        if answer.status == 200 { Err(format!("{answer:?}")) } else { Ok(answer) }
    })
    .await
    .expect_problem(401, "unauthorized");
    // The same on the connection that has seen the token when it was good.
    conn.call(&poll).await.expect_problem(401, "unauthorized");
}

#[tokio::test]
async fn user_in_the_query_must_be_the_tokens() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let token = keys.token("u1", "speaker");
    server.call(Request::get(format!("{POLL}&user=u1")).bearer(&token)).await.expect(200);
    let other = Request::get(format!("{POLL}&user=u2")).bearer(&token);
    server.call(other).await.expect_problem(400, "invalid_parameter");
    let send = Request::post("/v1/rooms/r/messages?user=u2").json(&json!({ "text": "x" })).bearer(&token);
    server.call(send).await.expect_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn token_command_makes_good_tokens() {
    let keys =
        Keys::none().and_hs256(Some("k1"), "a secret of thirty-two bytes, at least").and_p256(Some("k2"));
    let server = Server::start(Options::default().keys(&keys)).await;
    let made = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bigroom"));
        command.arg("token").arg("--auth-key-file").arg(crate::harness::data_dir(&server).join("keys.json"));
        let output = command.args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // Only a key with its secret can sign: of these two, the symmetric one.
    let token =
        made(&["--sub", "u1", "--role", "broadcaster", "--room", "live-*", "--ttl", "1h", "--kid", "k1"]);
    assert_eq!(
        (token.lines().count(), token.trim_end().split('.').count()),
        (1, 3),
        "nothing but the token: {token:?}"
    );
    let send = |room: &str| {
        let message = json!({ "text": "x", "priority": "high" });
        server.call(Request::send(room, &message).bearer(token.trim_end()))
    };
    send("live-1").await.expect(201);
    send("other").await.expect_problem(403, "forbidden");
}
