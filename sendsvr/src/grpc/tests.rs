use std::{sync::Arc, time::Duration};

use room::{ErrorCode, List, Priority, Problem, Role, RoomState, Seq};
use rpc::{Address, Peer, Security};
use store::Store;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use super::*;
use crate::{
    Draft, SendLimits, SendService, Sendsvr, Setting, SettingsPatch,
    testing::{TestStore, caller, room, speaker, text, with_id},
};

/// A sendsvr behind a socket, and its client.
struct Remote {
    store: Arc<TestStore>,
    local: Arc<Sendsvr>,
    remote: RemoteSendsvr,
    peer: Arc<Peer>,
    server: JoinHandle<()>,
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn remote(limits: SendLimits, deadline: Duration) -> Remote {
    let store = TestStore::open();
    let local = Sendsvr::new(Arc::clone(&store) as Arc<dyn Store>, limits);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = SendServer::service(Arc::clone(&local) as Arc<dyn SendService>);
    let server = tokio::spawn(async move {
        Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .unwrap();
    });
    let peer = Peer::new(&Address::new(&address.to_string()), &Security::none()).unwrap();
    Remote { store, local, remote: RemoteSendsvr::new(Arc::clone(&peer), deadline), peer, server }
}

const PATIENT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn answers_are_those_of_the_other_node() {
    let Remote { ref local, ref remote, .. } = remote(SendLimits::default(), PATIENT).await;
    let moderator = caller("mod", Role::Moderator);
    let sent = remote.send(&moderator, &room("r"), with_id("m", "hi")).await.unwrap();
    let again = local.send(&moderator, &room("r"), with_id("m", "hi")).await.unwrap();
    assert_eq!(again, crate::Sent { is_duplicate: true, ..sent.clone() });

    let high = Draft { priority: Priority::High, ..text("x") };
    let refused = Problem { until_ms: Some(1), ..Problem::new(ErrorCode::InvalidMessage, "why") };
    let drafts = vec![Ok(with_id("m", "hi")), Err(refused.clone()), Ok(high)];
    let outcomes = remote.send_batch(&moderator, &room("r"), drafts).await;
    assert_eq!(outcomes[..2], [Ok(again), Err(refused)]);
    assert_eq!(outcomes[2].as_ref().map(|sent| (sent.list, sent.seq)), Ok((List::Priority, Seq(1))));

    let retraction = remote.retract(&moderator, &room("r"), sent.list, sent.seq).await.unwrap();
    assert_eq!((retraction.redact_seq, retraction.is_duplicate), (Seq(2), false));

    let patch = SettingsPatch { state: Setting::Set(RoomState::Closed), ..Default::default() };
    let view = remote.change_settings(&moderator, &room("r"), patch).await.unwrap();
    let seen = local.view(&room("r")).await.unwrap();
    assert_eq!((&view.settings, view.bounds), (&seen.settings, seen.bounds));
    assert!(remote.view(&room("r")).await.unwrap().settings.is_closed());
}

#[tokio::test]
async fn refusals_come_back_equal() {
    let Remote { ref local, ref remote, .. } =
        remote(SendLimits { user_rate: 1, user_burst: 1, ..Default::default() }, PATIENT).await;
    let moderator = caller("mod", Role::Moderator);
    let viewer = caller("v", Role::Viewer);
    assert_eq!(
        remote.send(&viewer, &room("r"), text("x")).await.unwrap_err(),
        local.send(&viewer, &room("r"), text("x")).await.unwrap_err()
    );
    let slow = SettingsPatch { cooldown: Setting::Set(Duration::from_secs(60)), ..Default::default() };
    remote.change_settings(&moderator, &room("slow"), slow).await.unwrap();
    for (key, code) in [("r", ErrorCode::RateLimited), ("slow", ErrorCode::SlowMode)] {
        remote.send(&speaker("a"), &room(key), with_id("m", "x")).await.unwrap();
        let problem = remote.send(&speaker("a"), &room(key), text("x")).await.unwrap_err();
        assert_eq!(problem.code, code);
        assert_eq!(problem.scope.is_some(), code == ErrorCode::RateLimited);
        assert_eq!(problem.cooldown_ms.is_some(), code == ErrorCode::SlowMode);
        assert!(problem.retry_after_s().is_some());
        let reused = remote.send(&speaker("a"), &room(key), with_id("m", "y")).await.unwrap_err();
        assert_eq!(reused, local.send(&speaker("a"), &room(key), with_id("m", "y")).await.unwrap_err());
    }
    let unknown = remote.retract(&moderator, &room("r"), List::Normal, Seq(99)).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn unanswered_send_can_be_repeated() {
    let Remote { ref store, ref local, ref remote, ref peer, .. } =
        remote(SendLimits::default(), Duration::from_millis(200)).await;
    store.hold();
    let problem = remote.send(&speaker("a"), &room("r"), with_id("m", "x")).await.unwrap_err();
    assert_eq!((problem.code, problem.retry_after_s()), (ErrorCode::LogUnavailable, Some(1)));
    let batch = remote.send_batch(&speaker("b"), &room("r"), vec![Ok(text("x")), Ok(text("y"))]).await;
    assert!(
        batch.iter().all(|outcome| { outcome.as_ref().is_err_and(|p| p.code == ErrorCode::LogUnavailable) })
    );
    store.release(100);
    local.drain().await;
    let patient = RemoteSendsvr::new(Arc::clone(peer), PATIENT);
    assert!(patient.send(&speaker("a"), &room("r"), with_id("m", "x")).await.unwrap().is_duplicate);
}

#[tokio::test]
async fn node_that_is_not_there_is_an_unavailable_log() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let peer = Peer::new(&Address::new(&address.to_string()), &Security::none()).unwrap();
    let remote = RemoteSendsvr::new(peer, PATIENT);
    let problem = remote.view(&room("r")).await.unwrap_err();
    assert_eq!(problem.code, ErrorCode::LogUnavailable);
}
