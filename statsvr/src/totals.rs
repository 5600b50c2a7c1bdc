//! Sums over rooms, of each app and of each sect, all from one walk over the rooms.

use std::{collections::HashMap, sync::Arc};

use room::{AppId, Routing, SectName};

use crate::RoomSnapshot;

/// How long sums hold (milliseconds): the numbers of rooms change once a second.
const HOLD_MS: u64 = 1_000;

/// Sums over the rooms of an app.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Totals {
    /// Sum of the rooms' users: who is in two rooms counts in both.
    pub num_users: u64,
    /// Sum of the rooms' clients.
    pub num_clients: u64,
    /// Rooms with anybody in them.
    pub num_rooms: u64,
    /// The same by sect; those without a room are not there.
    pub sects: HashMap<SectName, SectTotals>,
    /// The rooms, most users first; [`Totals::ROOMS_MAX`] at most.
    pub rooms: Vec<Arc<RoomSnapshot>>,
    /// When this was so (Unix milliseconds).
    pub as_of_ms: u64,
}

/// Sums over the rooms that live in a sect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SectTotals {
    /// Sum of the rooms' users.
    pub num_users: u64,
    /// Sum of the rooms' clients.
    pub num_clients: u64,
    /// Rooms with anybody in them.
    pub num_rooms: u64,
}

/// The sums of all apps at one moment, by one routing.
pub(crate) struct Sums {
    made_at_ms: u64,
    as_of_ms: u64,
    routing: Arc<Routing>,
    apps: HashMap<AppId, Arc<Totals>>,
    sects: HashMap<SectName, SectTotals>,
}

impl Totals {
    /// Most rooms that are ranked.
    pub const ROOMS_MAX: usize = 1_000;

    /// The sums of a sect.
    #[must_use]
    pub fn sect(&self, name: &SectName) -> SectTotals {
        self.sects.get(name).copied().unwrap_or_default()
    }
}

impl SectTotals {
    fn add(&mut self, room: &RoomSnapshot) {
        self.num_users += room.num_users;
        self.num_clients += room.num_clients;
        self.num_rooms += u64::from(room.num_users > 0);
    }
}

impl Sums {
    /// Adds up the rooms that `for_each` gives, which live where `routing` says.
    pub(crate) fn new(
        made_at_ms: u64,
        as_of_ms: u64,
        routing: &Arc<Routing>,
        for_each: impl FnOnce(&mut dyn FnMut(&Arc<RoomSnapshot>)),
    ) -> Self {
        let mut apps: HashMap<AppId, Totals> = HashMap::new();
        let mut sects: HashMap<SectName, SectTotals> = HashMap::new();
        for_each(&mut |room| {
            let sect = &routing.sect_of(&room.room).name;
            let totals = apps.entry(room.room.app.clone()).or_default();
            totals.num_users += room.num_users;
            totals.num_clients += room.num_clients;
            totals.num_rooms += u64::from(room.num_users > 0);
            totals.rooms.push(Arc::clone(room));
            for sums in [&mut totals.sects, &mut sects] {
                match sums.get_mut(sect) {
                    Some(sum) => sum.add(room),
                    None => sums.entry(sect.clone()).or_default().add(room),
                }
            }
        });
        let rank = |mut totals: Totals| {
            totals.rooms.sort_unstable_by(|a, b| {
                b.num_users.cmp(&a.num_users).then_with(|| a.room.room.cmp(&b.room.room))
            });
            totals.rooms.truncate(Totals::ROOMS_MAX);
            Arc::new(Totals { as_of_ms, ..totals })
        };
        let apps = apps.into_iter().map(|(app, totals)| (app, rank(totals))).collect();
        Self { made_at_ms, as_of_ms, routing: Arc::clone(routing), apps, sects }
    }

    /// Whether they still hold: they are young, and rooms live where they did.
    pub(crate) fn hold(&self, now_ms: u64, routing: &Arc<Routing>) -> bool {
        now_ms.saturating_sub(self.made_at_ms) < HOLD_MS && Arc::ptr_eq(&self.routing, routing)
    }

    pub(crate) fn of_app(&self, app: &AppId) -> Arc<Totals> {
        let none = || Arc::new(Totals { as_of_ms: self.as_of_ms, ..Totals::default() });
        self.apps.get(app).cloned().unwrap_or_else(none)
    }

    /// The sums of all apps by sect, those without a room among them.
    pub(crate) fn by_sect(&self) -> Vec<(SectName, SectTotals)> {
        let sum = |name: &SectName| (name.clone(), self.sects.get(name).copied().unwrap_or_default());
        self.routing.table.sects().iter().map(|sect| sum(&sect.name)).collect()
    }
}
