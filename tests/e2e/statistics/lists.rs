//! The list of who is in a room, and whether somebody is.

use serde_json::{Value, json};

use super::{LONG_WINDOW, await_counts, leave, now_ms, parked, stay, users, viewers, visit};
use crate::harness::{DEADLINE, Keys, Options, Request, Server, eventually};

async fn viewer(server: &Server, user: &str) -> Value {
    server.call(Request::get(format!("/v1/rooms/r/viewers/{user}"))).await.expect_json(200)
}

#[tokio::test]
async fn viewers_are_listed_page_by_page_in_order_of_their_ids() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    assert_eq!(viewers(&server, "r", "").await, json!({ "viewers": [] }));
    let mut names: Vec<_> = (0..250).map(|at| format!("u{at}")).collect();
    names.extend(["A", "Z.z", "a-b", "a:b", "0"].map(str::to_owned));
    let mut conn = server.conn().await;
    for name in &names {
        conn.call(&visit("r", name)).await.expect(200);
    }
    await_counts(&server, "r", (255, 255)).await;
    names.sort();
    eventually(DEADLINE, "all names", || async {
        let page = viewers(&server, "r", "limit=1000").await;
        if users(&page) == names { Ok(()) } else { Err(page.to_string()) }
    })
    .await;

    let first = viewers(&server, "r", "").await;
    assert_eq!(users(&first), names[..200], "200 by default");
    assert_eq!(first["next_after"], names[199].as_str());
    assert!(first.get("partial").is_none());
    for limit in [1, 17, 254] {
        let (mut all, mut query) = (Vec::new(), format!("limit={limit}"));
        loop {
            let page = viewers(&server, "r", &query).await;
            let listed: Vec<_> = users(&page).into_iter().map(str::to_owned).collect();
            assert!(listed.len() <= limit, "{page}");
            all.extend(listed);
            let Some(next_after) = page.get("next_after") else { break };
            assert_eq!(next_after.as_str(), all.last().map(String::as_str), "{page}");
            query = format!("limit={limit}&after={}", next_after.as_str().unwrap());
        }
        assert_eq!(all, names, "by {limit}");
    }
    assert_eq!(users(&viewers(&server, "r", "after=Zz&limit=2").await), ["a-b", "a:b"], "nobody has that id");
    assert_eq!(viewers(&server, "r", "after=zzz").await, json!({ "viewers": [] }));
}

#[tokio::test]
async fn viewer_has_role_devices_and_times() {
    let keys = Keys::hs256();
    // In the default window, times of presence are kept to half a second.
    let server = Server::start(Options::default().keys(&keys)).await;
    let before_ms = now_ms();
    for (user, role) in [("u1", "viewer"), ("u2", "moderator")] {
        let poll = Request::poll("r", "timeout_ms=0").bearer(&keys.token(user, role));
        server.call(poll).await.expect(200);
    }
    let second = keys.sign(&json!({
        "sub": "u2", "role": "moderator", "rooms": ["*"], "device": "desk", "exp": crate::harness::in_seconds(60),
    }));
    server.call(Request::poll("r", "timeout_ms=0").bearer(&second)).await.expect(200);
    let ops = keys.token("o", "ops");
    let ask = |path: &str| server.call(Request::get(format!("/v1/rooms/r/{path}")).bearer(&ops));
    let page = eventually(DEADLINE, "both viewers", || async {
        let page = ask("viewers").await.expect_json(200);
        let is_whole = users(&page).len() == 2 && page["viewers"][1]["num_clients"] == 2;
        if is_whole { Ok(page) } else { Err(page.to_string()) }
    })
    .await;
    for (at, (user, clients, role)) in [("u1", 1, "viewer"), ("u2", 2, "moderator")].into_iter().enumerate() {
        let mut listed = page["viewers"][at].clone();
        let mut alone = ask(&format!("viewers/{user}")).await.expect_json(200);
        assert_eq!(alone.as_object_mut().unwrap().remove("online"), Some(json!(true)));
        assert_eq!(alone, listed);
        let fields = listed.as_object_mut().unwrap();
        for time in ["joined_at_ms", "last_seen_ms"] {
            let ms = fields.remove(time).and_then(|ms| ms.as_u64()).expect("a time");
            assert!((before_ms..=now_ms() + 500).contains(&ms), "{time}: {ms} {page}");
        }
        assert_eq!(listed, json!({ "user": user, "num_clients": clients, "role": role }));
    }
}

#[tokio::test]
async fn viewer_is_online_or_not() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let offline = json!({ "user": "u1", "online": false });
    assert_eq!(viewer(&server, "u1").await, offline, "nobody was ever there");
    let poll = parked(&server, &stay("r", "u1", "d")).await;
    await_counts(&server, "r", (1, 1)).await;
    assert_eq!(viewer(&server, "u1").await["online"], true);
    assert_eq!(viewer(&server, "u2").await, json!({ "user": "u2", "online": false }));
    assert_eq!(viewer(&server, "u%31").await["online"], true, "an id may be percent-encoded");
    drop(poll);
    await_counts(&server, "r", (0, 0)).await;
    assert_eq!(viewer(&server, "u1").await, offline);
    assert_eq!(viewers(&server, "r", "").await, json!({ "viewers": [] }));
    server.call(visit("r", "u1")).await.expect(200);
    await_counts(&server, "r", (1, 1)).await;
    server.call(leave("r", "user=u1")).await.expect(204);
    await_counts(&server, "r", (0, 0)).await;
    assert_eq!(viewer(&server, "u1").await, offline);
}

#[tokio::test]
async fn list_of_a_room_with_more_users_than_names_says_so() {
    let options = Options::default().and(LONG_WINDOW).and("[stats]\nnames_per_room_max = 10\n");
    let server = Server::start(options).await;
    let mut conn = server.conn().await;
    for at in 0..50 {
        conn.call(&visit("r", &format!("u{at}"))).await.expect(200);
    }
    await_counts(&server, "r", (50, 50)).await;
    let page = viewers(&server, "r", "").await;
    assert_eq!((users(&page).len(), &page["partial"]), (10, &json!(true)), "{page}");
    assert_eq!(viewer(&server, "u49").await["online"], true, "whether somebody is there needs no name");
}

#[tokio::test]
async fn bad_questions_are_refused() {
    let server = Server::start(Options::default()).await;
    for (target, code) in [
        ("/v1/rooms/r/viewers?limit=0", "invalid_parameter"),
        ("/v1/rooms/r/viewers?limit=1001", "invalid_parameter"),
        ("/v1/rooms/r/viewers?limit=x", "invalid_parameter"),
        ("/v1/rooms/r/viewers?limit=1&limit=1", "invalid_parameter"),
        ("/v1/rooms/r/viewers?after=a%20b", "invalid_id"),
        ("/v1/rooms/r/viewers?after=", "invalid_id"),
        ("/v1/rooms/r/viewers/a%20b", "invalid_id"),
        ("/v1/rooms/r/viewers/_x", "invalid_id"),
        ("/v1/rooms/r/viewers/%2e%2e", "invalid_id"),
        ("/v1/rooms/a%20b/viewers", "invalid_room"),
        ("/v1/rooms/_canary/viewers", "invalid_room"),
        ("/v1/rooms/a%20b/stats", "invalid_room"),
        ("/v1/rooms/_canary/stats", "invalid_room"),
    ] {
        eprintln!("case: {target}");
        server.call(Request::get(target)).await.expect_problem(400, code);
    }
    for target in ["/v1/rooms/r/viewers", "/v1/rooms/r/viewers/u", "/v1/rooms/r/stats", "/v1/stats"] {
        server.call(Request::post(target).json(&json!({}))).await.expect_problem(405, "method_not_allowed");
    }
}
