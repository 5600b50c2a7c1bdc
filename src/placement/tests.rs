use std::path::Path;

use room::{AppId, RoomId, UserId};
use sendsvr::CountedAs;
use statsvr::{Clock, Layout, NodeId, RoomSnapshot, Standing, StatsSettings, Update};
use store::{RocksStore, StoreOptions};

use super::*;

const SECTS: &str = "[[sect]]\nname = \"a\"\n[[sect]]\nname = \"vip\"\nkind = \"vip\"\n";
const ROUTING: &str = "[routing]\npromote_at = 10\ndemote_at = 5\ndemote_after = \"0s\"\n";

/// Longest wait for what should take a second or two.
const DEADLINE: Duration = Duration::from_secs(30);

struct Node {
    placements: Arc<Placements>,
    stats: Arc<Stats>,
    store: Arc<RocksStore>,
    config: Config,
    _dir: tempfile::TempDir,
    _stop: tokio_util::sync::DropGuard,
}

impl Node {
    async fn start(sects: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = RocksStore::open(&dir.path().join("data"), StoreOptions::default()).unwrap();
        let path = dir.path().join("sects.toml");
        std::fs::write(&path, sects).unwrap();
        let config = Config { sects: Some(path), ..Config::default() };
        let settings =
            StatsSettings { window: Duration::from_secs(30), rooms_max: 1_000, names_per_room_max: 10 };
        let stats = Stats::new(Clock::system(), &settings, Duration::from_secs(1), []);
        let stop = CancellationToken::new();
        let log = Arc::clone(&store) as Arc<dyn Store>;
        let placements = Placements::start(&config, log, Arc::clone(&stats), &stop).await.unwrap();
        Self { placements, stats, store, config, _dir: dir, _stop: stop.drop_guard() }
    }

    fn file(&self) -> &Path {
        self.config.sects.as_deref().unwrap()
    }

    /// Has so many users counted in each of some rooms.
    fn count(&self, rooms: impl IntoIterator<Item = RoomKey>, num_users: u64) {
        let snapshot = |room| {
            Arc::new(RoomSnapshot {
                room,
                num_users,
                num_clients: num_users,
                exact: true,
                joins: 0,
                leaves: 0,
                layout: Layout::default(),
                has_all_names: true,
                standing: Standing::default(),
                as_of_ms: 1,
            })
        };
        self.stats.snapshots().apply(&Update {
            node: NodeId::new("n"),
            uptime_ms: 0,
            as_of_ms: 1,
            is_full: false,
            changed: rooms.into_iter().map(snapshot).collect(),
            gone: Vec::new(),
        });
    }

    fn replace(&self, sects: &str) {
        let (text, table) = sects::parse_bytes(sects.as_bytes(), "f").unwrap();
        self.placements.replace_table(text, table);
    }

    fn sect_of(&self, room: &RoomKey) -> SectPlaced {
        SectPlaced::of(&self.placements.routing(), room)
    }

    /// Awaits routing that is as `is_so` has it.
    async fn until(&self, is_so: impl FnMut(&Arc<Routing>) -> bool) -> Arc<Routing> {
        let mut routing = self.placements.watch();
        let seen = time::timeout(DEADLINE, routing.wait_for(is_so)).await.expect("in time").unwrap();
        Arc::clone(&seen)
    }
}

fn room(name: &str) -> RoomKey {
    RoomKey::new(AppId::default(), RoomId::internal(name))
}

fn caller(rights: Role) -> Caller {
    Caller { sender: UserId::internal("u"), role: rights, rights, counted_as: CountedAs::Connection(1) }
}

fn placed(sect: &str, by: Option<PlacedBy>) -> SectPlaced {
    SectPlaced { sect: SectName::internal(sect), by }
}

#[tokio::test]
async fn crowd_of_rooms_moves_in_few_changes_there_and_back() {
    let node = Node::start(&format!("{SECTS}{ROUTING}")).await;
    let rooms = || (0..100).map(|at| room(&format!("r{at}")));
    node.count(rooms(), 10);
    // The first look may come in the middle of what is counted.
    let there = node.until(|routing| routing.moved.len() == 100).await;
    assert!(there.version <= 4, "{} changes for 100 rooms", there.version - 1);
    assert_eq!(node.sect_of(&room("r7")), placed("vip", Some(PlacedBy::Promotion)));
    assert_eq!(node.placements.kept.read().await.unwrap(), there.moved);
    node.count(rooms(), 4);
    let back = node.until(|routing| routing.moved.is_empty()).await;
    assert!(back.version <= there.version + 3, "{} changes", back.version - there.version);
    assert_eq!(node.sect_of(&room("r7")), placed("a", None));
    assert!(node.placements.kept.read().await.unwrap().is_empty());
}

#[tokio::test]
async fn rooms_of_a_vip_sect_that_leaves_the_table_are_home_at_once_and_unmarked() {
    let node = Node::start(&format!("{SECTS}{ROUTING}")).await;
    node.count([room("r")], 10);
    node.until(|routing| routing.moved.len() == 1).await;
    node.replace("[[sect]]\nname = \"a\"\n");
    assert_eq!(node.sect_of(&room("r")), placed("a", None));
    node.until(|routing| routing.moved.is_empty()).await;
    assert!(node.placements.kept.read().await.unwrap().is_empty());
    // The sect that comes back has no say in it: the room's size has.
    node.count([room("r")], 9);
    node.replace(&format!("{SECTS}{ROUTING}"));
    assert_eq!(node.sect_of(&room("r")), placed("a", None));
    // A room that is as big as ever goes to the next VIP sect.
    node.count([room("r")], 10);
    node.until(|routing| routing.moved.len() == 1).await;
    node.replace(&format!("{}{ROUTING}", SECTS.replace("\"vip\"\nkind", "\"other\"\nkind")));
    node.until(|routing| routing.sect_of(&room("r")).name.as_str() == "other").await;
}

#[tokio::test]
async fn pin_in_the_table_ends_a_promotion_and_not_an_operators_word() {
    let node = Node::start(&format!("{SECTS}{ROUTING}")).await;
    node.count([room("r")], 10);
    node.until(|routing| routing.moved.len() == 1).await;
    node.placements.set_sect(&caller(Role::Ops), &room("moved"), Some("vip")).await.unwrap();
    let pins = "[[pin]]\nrooms = \"*\"\nsect = \"a\"\n";
    node.replace(&format!("{SECTS}{pins}{ROUTING}"));
    assert_eq!(node.sect_of(&room("r")), placed("a", None));
    assert_eq!(node.sect_of(&room("moved")), placed("vip", Some(PlacedBy::Api)));
    node.until(|routing| !routing.moved.contains_key(&room("r"))).await;
    assert_eq!(node.sect_of(&room("moved")), placed("vip", Some(PlacedBy::Api)));
}

#[tokio::test]
async fn operators_word_is_checked_and_holds_until_it_is_taken_back() {
    let node = Node::start(&format!("{SECTS}{ROUTING}")).await;
    let set = async |rights, room_name: &str, sect| {
        node.placements.set_sect(&caller(rights), &room(room_name), sect).await
    };
    assert_eq!(set(Role::Moderator, "r", Some("vip")).await.unwrap_err().code, ErrorCode::Forbidden);
    let unknown = set(Role::Ops, "r", Some("nowhere")).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::InvalidMessage);
    assert!(unknown.to_string().contains("a, vip"), "{unknown}");
    assert_eq!(node.placements.routing().version, 1);
    for _ in 0..2 {
        assert_eq!(set(Role::Ops, "r", Some("vip")).await.unwrap(), placed("vip", Some(PlacedBy::Api)));
        assert_eq!(node.placements.routing().version, 2, "the same word again changes nothing");
    }
    for _ in 0..2 {
        assert_eq!(set(Role::Ops, "r", None).await.unwrap(), placed("a", None));
        assert_eq!(node.placements.routing().version, 3);
    }
    // What can't be kept does not hold.
    node.store.close().await;
    assert_eq!(set(Role::Ops, "r", Some("vip")).await.unwrap_err().code, ErrorCode::LogUnavailable);
    assert_eq!(node.sect_of(&room("r")), placed("a", None));
}

#[tokio::test]
async fn full_list_refuses_new_rooms_and_still_lets_others_move() {
    let node = Node::start(SECTS).await;
    let place = Placed { sect: SectName::internal("vip"), by: PlacedBy::Api, since_ms: 0 };
    node.placements.routing.send_modify(|routing| {
        let moved = (0..MOVED_ROOMS_MAX).map(|at| (room(&format!("r{at}")), place.clone())).collect();
        *routing = Arc::new(Routing { moved, ..Routing::clone(routing) });
    });
    let set = async |name: &str, sect| node.placements.set_sect(&caller(Role::Ops), &room(name), sect).await;
    assert_eq!(set("new", Some("vip")).await.unwrap_err().code, ErrorCode::NodeFull);
    assert_eq!(set("r7", Some("a")).await.unwrap(), placed("a", Some(PlacedBy::Api)));
    assert_eq!(set("r7", None).await.unwrap(), placed("a", None));
    assert_eq!(set("new", Some("vip")).await.unwrap(), placed("vip", Some(PlacedBy::Api)));
}

#[tokio::test]
async fn file_that_changed_since_the_start_was_read_is_seen() {
    let node = Node::start(SECTS).await;
    std::fs::write(node.file(), "[[sect]]\nname = \"a\"\n[[sect]]\nname = \"edited\"\n").unwrap();
    let mut watched = node.placements.watched(&node.config).unwrap();
    watched.look();
    let has_edited = || node.placements.routing().table.sect("edited").is_some();
    assert!(has_edited());
    // One that is no good changes nothing, and the next good one is taken.
    for bad in [&b"[[sect]]\nname = \"\xe9\"\n"[..], b"", b"[[sect]]\nname = \"v\"\nkind = \"vip\"\n"] {
        std::fs::write(node.file(), bad).unwrap();
        watched.look();
        assert!(has_edited());
    }
    std::fs::write(node.file(), SECTS).unwrap();
    watched.look();
    assert!(!has_edited());
    assert_eq!(&*node.placements.table_text(), SECTS);
}
