//! What a room's history should be, kept in the plainest way.

use std::collections::{BTreeMap, HashSet};

use super::*;

/// When the tests begin: on the hour, in 2033, so that nothing has expired.
pub(super) const T: u64 = 2_000_001_600_000 / 3_600_000 * 3_600_000;

/// A second of a room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) second: u64,
    users: u64,
    joins: u64,
    leaves: u64,
}

#[derive(Clone)]
pub(super) struct Model {
    /// Seconds since [`T`].
    pub(super) now: u64,
    looks: Vec<Look>,
    session_from: u64,
    session: HashSet<u64>,
    pub(super) total: HashSet<u64>,
    random: u64,
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: 0,
            looks: Vec::new(),
            session_from: 0,
            session: HashSet::new(),
            total: HashSet::new(),
            random: seed,
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        T + self.now * 1_000
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random = mix(self.random.wrapping_add(0x9e37_79b9_7f4a_7c15));
        self.random % below
    }

    /// The next second, with about so many users, some of whom were never there.
    pub(super) fn next_look(&mut self, users: u64) -> Look {
        self.now += 1;
        let look = Look {
            second: self.now,
            users: users + self.random(users / 10 + 1),
            joins: self.random(9),
            leaves: self.random(9),
        };
        self.looks.push(look);
        for key in new_users(&look) {
            self.session.insert(key);
            self.total.insert(key);
        }
        look
    }

    pub(super) fn open(&mut self) {
        self.now += 1;
        self.session_from = self.now;
        self.session.clear();
    }

    fn points(&self, step: Step) -> Vec<Point> {
        let mut intervals: BTreeMap<u64, Vec<Look>> = BTreeMap::new();
        for look in &self.looks {
            intervals.entry(look.second / u64::from(step.seconds())).or_default().push(*look);
        }
        let point = |(interval, looks): (u64, Vec<Look>)| {
            let users = || looks.iter().map(|look| look.users);
            let count = looks.len() as u64;
            Point {
                t_ms: T + interval * step.millis(),
                min: users().min().unwrap(),
                avg: (users().sum::<u64>() + count / 2) / count,
                max: users().max().unwrap(),
                joins: looks.iter().map(|look| look.joins).sum(),
                leaves: looks.iter().map(|look| look.leaves).sum(),
            }
        };
        intervals.into_iter().map(point).collect()
    }

    fn standing(&self) -> (u64, u64, u64, u64) {
        let looks = self.looks.iter().filter(|look| look.second >= self.session_from);
        let peak = looks.max_by_key(|look| (look.users, std::cmp::Reverse(look.second)));
        let (users, at_ms) = peak.map_or((0, 0), |look| (look.users, T + look.second * 1_000));
        (users, at_ms, self.session.len() as u64, self.total.len() as u64)
    }
}

/// Who comes in a second: some of them came before.
fn new_users(look: &Look) -> impl Iterator<Item = u64> {
    let (from, count) = (look.second * 2, look.joins);
    (from..from + count).map(mix)
}

/// A node with the totals of its tables.
pub(super) struct Node {
    pub(super) history: History,
    joins: u64,
    leaves: u64,
}

impl Node {
    pub(super) fn new(store: &Arc<MemoryStore>, node: u64) -> Self {
        Self::over(Arc::clone(store) as Arc<dyn Store>, node)
    }

    pub(super) fn over(store: Arc<dyn Store>, node: u64) -> Self {
        Self { history: History::new(store, HistorySettings { node }), joins: 0, leaves: 0 }
    }

    pub(super) fn forget_totals(&mut self) {
        (self.joins, self.leaves) = (0, 0);
    }

    pub(super) fn observe(&mut self, look: &Look, model: &Model) {
        self.joins += look.joins;
        self.leaves += look.leaves;
        let seen = Observation {
            at_ms: model.now_ms(),
            num_users: look.users,
            num_clients: look.users * 2,
            joins: self.joins,
            leaves: self.leaves,
        };
        let keys: Vec<u64> = new_users(look).collect();
        self.history.observe(&room("r"), seen, &keys);
    }

    pub(super) async fn flush(&self, model: &Model) -> Flushed {
        let flushed = self.history.flush(model.now_ms()).await;
        assert!(flushed.error.is_none() && flushed.records_damaged == 0, "{flushed:?}");
        flushed
    }

    pub(super) fn adopt(&self, other: &Self, model: &Model) {
        if let Some(share) = other.history.share(&room("r")) {
            self.history.adopt(&room("r"), &share, model.now_ms()).unwrap();
        }
    }

    pub(super) async fn series(&self, step: Step) -> Vec<Point> {
        let range = SeriesRange { from_ms: 0, to_ms: u64::MAX, step };
        self.history.series(&room("r"), range).await.unwrap().points
    }

    /// Compares all there is.
    pub(super) async fn check(&self, model: &Model) {
        for step in Step::ALL {
            assert_eq!(self.series(step).await, model.points(step), "{step:?}");
        }
        self.check_standing(model).await;
    }

    pub(super) async fn check_after_load(&self, model: &Model) {
        self.history.load_pending().await.unwrap();
        self.check(model).await;
    }

    async fn check_standing(&self, model: &Model) {
        let standing = self.history.standing(&room("r")).await.unwrap();
        let Standing { peak_num_users, peak_at_ms, unique_viewers, unique_viewers_total, .. } = standing;
        assert_eq!((peak_num_users, peak_at_ms, unique_viewers, unique_viewers_total), model.standing());
    }

    /// Compares the last five minutes: what another node with a store of its own was told of.
    pub(super) async fn check_recent(&self, model: &Model) {
        for step in Step::ALL {
            let from_ms = model.now_ms().saturating_sub(300_000);
            let recent = |points: Vec<Point>| -> Vec<Point> {
                points.into_iter().filter(|point| point.t_ms >= from_ms).collect()
            };
            assert_eq!(recent(self.series(step).await), recent(model.points(step)), "{step:?}");
        }
        self.check_standing(model).await;
    }
}
