//! Where rooms live, in the process that owns the log: the sect table, and the rooms that live elsewhere than it says.

pub(crate) mod kept;
mod look;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use metrics::{counter, describe_counter};
use parking_lot::Mutex;
use room::{
    ErrorCode, MOVED_ROOMS_MAX, Placed, PlacedBy, Problem, Promotion, Role, RoomKey, Routing, Sect, SectName,
    SectTable,
};
use sendsvr::Caller;
use statsvr::Stats;
use store::{Store, StoreError};
use tokio::{
    sync::{Notify, watch},
    time,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{
    kept::Kept,
    look::{Due, look},
};
use crate::{config::Config, reload::Watched, sects};

const ROOM_MOVES: &str = "bigroom_room_moves_total";

/// How often rooms are looked at that may have grown or shrunk.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where a room lives, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SectPlaced {
    /// The sect.
    pub sect: SectName,
    /// Why it is not where its hash has it; `None` if the table says so.
    pub by: Option<PlacedBy>,
}

/// Where rooms live, wherever that is kept.
#[async_trait]
pub trait SectService: Send + Sync {
    /// Moves a room to a sect, or back to where the table has it. Nodes move the room's readers in the seconds that follow, and nobody
    /// misses anything.
    ///
    /// # Errors
    /// `forbidden` without the role `ops`, `invalid_message` for a sect that is not in the table, `node_full` if too many rooms live
    /// elsewhere than the table says, `log_unavailable` if it can't be kept now.
    async fn set_sect(
        &self,
        caller: &Caller,
        room: &RoomKey,
        sect: Option<&str>,
    ) -> Result<SectPlaced, Problem>;

    /// Which room lives where, now.
    fn routing(&self) -> Arc<Routing>;

    /// The recvsvrs of a sect, by address: those that are there, and those that the table lists and that are not.
    fn nodes_of(&self, sect: &Sect) -> Vec<SectNode> {
        SectNode::of(sect, [])
    }
}

/// A recvsvr of a sect.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SectNode {
    /// Where other nodes reach it.
    pub address: Box<str>,
    /// How it is.
    pub state: SectNodeState,
}

/// How a recvsvr of a sect is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SectNodeState {
    /// It serves.
    Up,
    /// It goes down, and is left.
    Draining,
    /// The table lists it, and it is not there.
    Away,
}

impl SectNodeState {
    /// The word for it in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Away => "away",
        }
    }
}

impl SectNode {
    /// The nodes of a sect, by address, of which `present` are there.
    #[must_use]
    pub fn of(sect: &Sect, present: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut nodes: Vec<_> = present.into_iter().collect();
        for address in &sect.nodes {
            if !nodes.iter().any(|node| node.address == *address) {
                nodes.push(Self { address: address.clone(), state: SectNodeState::Away });
            }
        }
        nodes.sort_unstable();
        nodes
    }
}

/// Where rooms live, as the process that owns the log keeps it: the table by its file, exceptions by the store's records.
pub struct Placements {
    routing: watch::Sender<Arc<Routing>>,
    text: Mutex<Arc<str>>,
    kept: Kept,
    stats: Arc<Stats>,
    /// One change at a time: it is kept before it holds.
    changing: tokio::sync::Mutex<()>,
    /// There is a reason not to wait for the next look: a new table.
    look_now: Notify,
}

/// A room that is to live elsewhere from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Change {
    room: RoomKey,
    /// Where; `None` for where the table has it.
    placed: Option<Placed>,
    /// As the metric shows it.
    why: &'static str,
}

impl SectPlaced {
    /// Where `routing` has the room.
    #[must_use]
    pub fn of(routing: &Routing, room: &RoomKey) -> Self {
        let by = routing.placed(room).map(|placed| placed.by);
        Self { sect: routing.sect_of(room).name.clone(), by }
    }
}

impl Placements {
    /// The table of the configuration, if it names one, and what the store has kept; `stats` knows how many are in a room.
    /// Rooms are looked at until `stop`.
    ///
    /// # Errors
    /// For a table that is no good, or a store that can't be read.
    pub async fn start(
        config: &Config,
        store: Arc<dyn Store>,
        stats: Arc<Stats>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Arc<Self>> {
        describe_counter!(
            ROOM_MOVES,
            "Rooms that moved to another sect: promoted, demoted, pinned or unpinned by the API"
        );
        for why in ["promoted", "demoted", "pinned", "unpinned"] {
            counter!(ROOM_MOVES, "why" => why).absolute(0);
        }
        let (text, table) = match &config.sects {
            None => (String::new(), SectTable::single()),
            Some(path) => sects::read(path)?,
        };
        let kept = Kept::new(store);
        let moved = kept.read().await?;
        let routing = Routing { version: 1, table: Arc::new(table), moved };
        let placements = Arc::new(Self {
            routing: watch::Sender::new(Arc::new(routing)),
            text: Mutex::new(text.into()),
            kept,
            stats,
            changing: tokio::sync::Mutex::default(),
            look_now: Notify::new(),
        });
        let (looking, stop) = (Arc::clone(&placements), stop.clone());
        tokio::spawn(async move {
            tokio::select! { () = stop.cancelled() => {}, () = looking.look() => {} }
        });
        Ok(placements)
    }

    /// The table's file, to be read again when it is no longer what the start has read; `None` if there is none.
    #[must_use]
    pub fn watched(self: &Arc<Self>, config: &Config) -> Option<Watched> {
        let path = config.sects.as_ref()?;
        let (placements, name) = (Arc::clone(self), path.display().to_string());
        let in_use = self.table_text().as_bytes().to_vec();
        Some(Watched::new("sects", vec![(path.clone(), in_use)], move |contents| {
            let (text, table) = sects::parse_bytes(contents[0], &name).map_err(anyhow::Error::msg)?;
            placements.replace_table(text, table);
            Ok(())
        }))
    }

    fn replace_table(&self, text: &str, table: SectTable) {
        *self.text.lock() = text.into();
        self.routing.send_modify(|routing| {
            let moved = routing.moved.clone();
            *routing = Arc::new(Routing { version: routing.version + 1, table: Arc::new(table), moved });
        });
        info!("sect table taken");
        self.look_now.notify_one();
    }

    /// The table's text, as its file has it; empty for a single sect.
    #[must_use]
    pub fn table_text(&self) -> Arc<str> {
        Arc::clone(&self.text.lock())
    }

    /// Hears of changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Routing>> {
        self.routing.subscribe()
    }

    async fn look(&self) {
        let mut ticks = time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut promotion = Promotion::default();
        let (mut is_failing, mut is_full) = (false, false);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.look_now.notified() => {}
            }
            let now_ms = unix_ms();
            let due = look(&mut promotion, &self.routing(), now_ms, |observe| {
                self.stats.snapshots().for_each(|snapshot| observe(&snapshot.room, snapshot.num_users));
            });
            if due.without_place > 0 && !is_full {
                warn!(
                    rooms = due.without_place,
                    "rooms are not promoted: {MOVED_ROOMS_MAX} live elsewhere than the sect table says, as many as may; pin rooms in \
                     the table instead of by the API"
                );
            }
            is_full = due.without_place > 0;
            let has_void = !due.void.is_empty();
            match self.move_rooms(due, now_ms).await {
                Ok(()) => {
                    is_failing = false;
                    if has_void {
                        // Those that are as big as ever go to another VIP sect before their readers have gone home.
                        self.look_now.notify_one();
                    }
                }
                Err(error) => {
                    if !is_failing {
                        warn!(%error, "rooms stay where they are: that they move can't be kept; tried again every second");
                    }
                    is_failing = true;
                }
            }
        }
    }

    /// Does what a look has found, in one change.
    async fn move_rooms(&self, due: Due, now_ms: u64) -> Result<(), StoreError> {
        if due.is_empty() {
            return Ok(());
        }
        let _changing = self.changing.lock().await;
        let routing = self.routing();
        // An operator or a new table may have been faster.
        let is_promoted =
            |room: &RoomKey| routing.moved.get(room).is_some_and(|it| it.by == PlacedBy::Promotion);
        let void = due.void.into_iter().filter(|room| routing.is_void_promotion(room));
        let back = void.chain(due.demoted.into_iter().filter(is_promoted));
        let mut changes: Vec<_> = back.map(|room| Change { room, placed: None, why: "demoted" }).collect();
        let places = MOVED_ROOMS_MAX.saturating_sub(routing.moved.len() - changes.len());
        let may_go =
            |room: &RoomKey| !routing.moved.contains_key(room) && routing.table.pin_of(room).is_none();
        let promoted = due.promoted.into_iter().filter(may_go).filter_map(|room| {
            let sect = routing.table.vip_home(&room)?.name.clone();
            let placed = Placed { sect, by: PlacedBy::Promotion, since_ms: now_ms };
            Some(Change { room, placed: Some(placed), why: "promoted" })
        });
        changes.extend(promoted.take(places));
        self.change(changes).await
    }

    /// Keeps changes, then lets them hold, all at once. The caller holds `changing`.
    async fn change(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.kept.write(&changes).await?;
        self.routing.send_modify(|routing| {
            let mut moved = routing.moved.clone();
            for Change { room, placed, .. } in &changes {
                match placed {
                    Some(placed) => drop(moved.insert(room.clone(), placed.clone())),
                    None => drop(moved.remove(room)),
                }
            }
            let table = Arc::clone(&routing.table);
            *routing = Arc::new(Routing { version: routing.version + 1, table, moved });
        });
        let routing = self.routing();
        for Change { room, why, .. } in &changes {
            counter!(ROOM_MOVES, "why" => *why).increment(1);
            info!(%room, sect = %routing.sect_of(room).name, why, "room moves");
        }
        Ok(())
    }
}

#[async_trait]
impl SectService for Placements {
    async fn set_sect(
        &self,
        caller: &Caller,
        room: &RoomKey,
        sect: Option<&str>,
    ) -> Result<SectPlaced, Problem> {
        if caller.rights != Role::Ops {
            return Err(Problem::new(ErrorCode::Forbidden, "only the role ops may move rooms"));
        }
        let _changing = self.changing.lock().await;
        let routing = self.routing();
        let placed = match sect {
            None => None,
            Some(name) => {
                let Some(sect) = routing.table.sect(name) else {
                    let names: Vec<_> = routing.table.sects().iter().map(|s| s.name.as_str()).collect();
                    let detail = format!("there is no sect {name:?}: the sects are {}", names.join(", "));
                    return Err(Problem::new(ErrorCode::InvalidMessage, detail));
                };
                if routing.moved.len() >= MOVED_ROOMS_MAX && !routing.moved.contains_key(room) {
                    let detail =
                        "too many rooms live elsewhere than the sect table says: pin them there instead";
                    return Err(Problem::new(ErrorCode::NodeFull, detail));
                }
                Some(Placed { sect: sect.name.clone(), by: PlacedBy::Api, since_ms: unix_ms() })
            }
        };
        let is_so = match (routing.moved.get(room), &placed) {
            (Some(was), Some(is)) => (&was.sect, was.by) == (&is.sect, is.by),
            (was, is) => was.is_none() && is.is_none(),
        };
        if !is_so {
            let why = if placed.is_some() { "pinned" } else { "unpinned" };
            let change = Change { room: room.clone(), placed, why };
            self.change(vec![change]).await.map_err(|error| {
                warn!(%room, %error, "room's place can't be kept");
                Problem::new(ErrorCode::LogUnavailable, "the place can't be kept now: try again")
            })?;
        }
        Ok(SectPlaced::of(&self.routing(), room))
    }

    fn routing(&self) -> Arc<Routing> {
        Arc::clone(&self.routing.borrow())
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests;
