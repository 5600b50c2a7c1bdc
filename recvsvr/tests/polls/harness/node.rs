//! A node: the log, its rooms, and workers that hold polls.

use std::{rc::Rc, sync::Arc};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use recvsvr::{RecvOptions, Rooms, Worker, now_ms};
use room::{
    AppId, Cursor, List, MessageType, NoticeSink, PerList, Post, Role, RoomId, RoomKey, RoomSettings,
    RoomState, Sender, Seq, UserId,
};
use store::{Append, RocksStore, RoomLog as _, Store as _};
use tempfile::TempDir;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

use super::{LossyNotices, SlowStore, until};

/// A node whose workers all run on this thread.
pub(crate) struct Node {
    pub(crate) store: Arc<SlowStore>,
    pub(crate) notices: Arc<LossyNotices>,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) workers: Vec<Rc<Worker>>,
    pub(crate) recorder: &'static PrometheusRecorder,
    metrics: PrometheusHandle,
    _dir: TempDir,
}

/// A runtime like that of a worker's thread.
pub(crate) fn local_runtime() -> LocalRuntime {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap()
}

/// Runs `test` on a node of its own: with its workers, its maintenance, and counts that are nobody else's.
pub(crate) fn on_node<T>(options: RecvOptions, test: impl AsyncFnOnce(Rc<Node>) -> T) -> T {
    let recorder: &'static _ = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    let _counted = metrics::set_default_local_recorder(recorder);
    local_runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let store = SlowStore::new(RocksStore::open(dir.path(), options.store).unwrap());
        let workers = options.workers;
        let rooms =
            Rooms::new(Arc::clone(&store) as Arc<dyn store::RoomLog>, options, Arc::new(room::NobodyCounts));
        let notices = LossyNotices::new(Arc::clone(&rooms));
        store.subscribe(Arc::clone(&notices) as Arc<dyn NoticeSink>);
        tokio::spawn(Arc::clone(&rooms).maintain());
        let workers: Vec<_> = (0..workers).map(|index| Worker::new(Arc::clone(&rooms), index)).collect();
        for worker in &workers {
            tokio::task::spawn_local(Rc::clone(worker).run());
        }
        let metrics = recorder.handle();
        test(Rc::new(Node { store, notices, rooms, workers, recorder, metrics, _dir: dir })).await
    })
}

pub(crate) fn room(name: &str) -> RoomKey {
    RoomKey::new(AppId::default(), RoomId::new(name).unwrap())
}

/// A message without an id.
pub(crate) fn message(room: &RoomKey, list: List, text: &str) -> Append {
    Append {
        room: room.clone(),
        list,
        id: None,
        content_hash: 0,
        post: Post {
            kind: MessageType::default(),
            sender: Sender { id: UserId::internal("u"), role: Role::Speaker },
            text: Some(text.to_owned()),
            data: None,
        },
        accepted_at_us: now_ms() * 1_000,
    }
}

impl Node {
    /// The first worker.
    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.workers[0]
    }

    /// Appends `count` messages to a list, one after the other.
    pub(crate) async fn send(&self, room: &RoomKey, list: List, count: u64) {
        for at in 0..count {
            self.store.append(message(room, list, &format!("{at}"))).await.unwrap();
        }
    }

    /// Changes the settings of a room.
    pub(crate) async fn set(
        &self,
        room: &RoomKey,
        change: impl Fn(&mut RoomSettings) + Send + Sync + 'static,
    ) {
        let change = move |settings: &RoomSettings| {
            let mut settings = settings.clone();
            change(&mut settings);
            settings
        };
        self.store.change_settings(room, Box::new(change)).await.unwrap();
    }

    pub(crate) async fn close_room(&self, room: &RoomKey) {
        self.set(room, |settings| settings.state = RoomState::Closed).await;
    }

    /// A cursor of this log.
    pub(crate) fn cursor(&self, room: &RoomKey, priority: u64, normal: u64, served_at_ms: u64) -> Cursor {
        Cursor {
            epoch: self.store.epoch(),
            room: room.hash48(),
            seen: PerList { priority: Seq(priority), normal: Seq(normal) },
            served_at_ms,
        }
    }

    /// Waits until so many polls are parked.
    pub(crate) async fn until_parked(&self, polls: usize) {
        until(&format!("{polls} polls parked"), || self.rooms.parked_polls() == polls).await;
    }

    /// The sum of a metric's values over all labels that contain `label`.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        self.rooms.refresh_metrics();
        let text = self.metrics.render();
        let of_name = |line: &&str| line.split(['{', ' ']).next() == Some(name) && line.contains(label);
        text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}
