//! Where rooms live, in the process that owns the log: the sect table, and the rooms that live elsewhere than it says.

pub(crate) mod kept;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use metrics::{counter, describe_counter};
use parking_lot::Mutex;
use room::{
    ErrorCode, MOVED_ROOMS_MAX, Move, Placed, PlacedBy, Problem, Promotion, Role, RoomKey, Routing, SectName,
    SectTable,
};
use sendsvr::Caller;
use statsvr::Stats;
use store::Store;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::kept::Kept;
use crate::{config::Config, reload::Watched, sects};

const ROOM_MOVES: &str = "bigroom_room_moves_total";

/// How often rooms are looked at that may have grown or shrunk.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Rooms that are promoted or brought back in one look: a crowd of rooms moves over several.
const MOVES_AT_ONCE: usize = 64;

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
}

/// Where rooms live, as the process that owns the log keeps it: the table by its file, exceptions by the store's records.
pub struct Placements {
    routing: watch::Sender<Arc<Routing>>,
    text: Mutex<Arc<str>>,
    kept: Kept,
    stats: Arc<Stats>,
    promotion: Mutex<Promotion>,
    /// One change at a time: it is kept before it holds.
    changing: tokio::sync::Mutex<()>,
}

impl SectPlaced {
    /// Where `routing` has the room.
    #[must_use]
    pub fn of(routing: &Routing, room: &RoomKey) -> Self {
        let sect = routing.sect_of(room).name.clone();
        let by = routing.moved.get(room).filter(|placed| placed.sect == sect).map(|placed| placed.by);
        Self { sect, by }
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
            promotion: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        });
        let (looking, stop) = (Arc::clone(&placements), stop.clone());
        tokio::spawn(async move {
            tokio::select! { () = stop.cancelled() => {}, () = looking.look() => {} }
        });
        Ok(placements)
    }

    /// The table's file, to be read again when it changes; `None` if there is none.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn watched(self: &Arc<Self>, config: &Config) -> anyhow::Result<Option<Watched>> {
        let Some(path) = &config.sects else { return Ok(None) };
        let (placements, name) = (Arc::clone(self), path.display().to_string());
        let bytes = crate::reload::read(path)?;
        Ok(Some(Watched::new("sects", vec![(path.clone(), bytes)], move |contents| {
            let text = std::str::from_utf8(contents[0])?;
            let table = sects::parse(text, &name).map_err(anyhow::Error::msg)?;
            placements.replace_table(text, table);
            Ok(())
        })))
    }

    fn replace_table(&self, text: &str, table: SectTable) {
        *self.text.lock() = text.into();
        self.routing.send_modify(|routing| {
            let moved = routing.moved.clone();
            *routing = Arc::new(Routing { version: routing.version + 1, table: Arc::new(table), moved });
        });
        info!("sect table taken");
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
        loop {
            ticks.tick().await;
            let now_ms = unix_ms();
            for (room, moved) in self.due(now_ms) {
                if let Err(error) = self.promote(&room, moved, now_ms).await {
                    warn!(%room, %error, "room stays where it is: that it moves can't be kept");
                }
            }
        }
    }

    /// Which rooms should move now.
    fn due(&self, now_ms: u64) -> Vec<(RoomKey, Move)> {
        let routing = self.routing();
        let mut promotion = self.promotion.lock();
        promotion.retain(&routing);
        let mut due = Vec::new();
        let mut seen = HashSet::new();
        let mut observe = |room: &RoomKey, num_users| {
            if due.len() < MOVES_AT_ONCE
                && let Some(moved) = promotion.observe(now_ms, &routing, room, num_users)
            {
                due.push((room.clone(), moved));
            }
        };
        self.stats.snapshots().for_each(|snapshot| {
            if routing.moved.contains_key(&snapshot.room) {
                seen.insert(snapshot.room.clone());
            }
            observe(&snapshot.room, snapshot.num_users);
        });
        for room in routing.moved.keys().filter(|room| !seen.contains(*room)) {
            observe(room, 0);
        }
        due
    }

    async fn promote(&self, room: &RoomKey, moved: Move, now_ms: u64) -> Result<(), store::StoreError> {
        let _changing = self.changing.lock().await;
        let routing = self.routing();
        // An operator may have been faster.
        let by = routing.moved.get(room).map(|placed| placed.by);
        let holds = match moved {
            Move::Promote => by.is_none() && routing.table.pin_of(room).is_none(),
            Move::Demote => by == Some(PlacedBy::Promotion),
        };
        if !holds {
            return Ok(());
        }
        let placed = match moved {
            Move::Promote => {
                let Some(vip) = routing.table.vip_home(room) else { return Ok(()) };
                if routing.moved.len() >= MOVED_ROOMS_MAX {
                    return Ok(());
                }
                Some(Placed { sect: vip.name.clone(), by: PlacedBy::Promotion, since_ms: now_ms })
            }
            Move::Demote => None,
        };
        self.kept.write(room, placed.as_ref()).await?;
        let why = if moved == Move::Promote { "promoted" } else { "demoted" };
        self.set(room, placed, why);
        Ok(())
    }

    fn set(&self, room: &RoomKey, placed: Option<Placed>, why: &'static str) {
        self.routing.send_modify(|routing| {
            let mut moved: HashMap<_, _> = routing.moved.clone();
            match placed {
                Some(placed) => drop(moved.insert(room.clone(), placed)),
                None => drop(moved.remove(room)),
            }
            *routing =
                Arc::new(Routing { version: routing.version + 1, table: Arc::clone(&routing.table), moved });
        });
        counter!(ROOM_MOVES, "why" => why).increment(1);
        info!(%room, sect = %self.routing().sect_of(room).name, why, "room moves");
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
        self.kept.write(room, placed.as_ref()).await.map_err(|error| {
            warn!(%room, %error, "room's place can't be kept");
            Problem::new(ErrorCode::LogUnavailable, "the place can't be kept now: try again")
        })?;
        let why = if placed.is_some() { "pinned" } else { "unpinned" };
        self.set(room, placed, why);
        Ok(SectPlaced::of(&self.routing(), room))
    }

    fn routing(&self) -> Arc<Routing> {
        Arc::clone(&self.routing.borrow())
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
