//! The rules of the servers, as the simulation asks them: all decisions are `room`'s.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Result;
use room::{
    AppId, Move, Placed, PlacedBy, PollPolicy, Promotion, Promotions, RoomId, RoomKey, Routing, Sect,
    SectKind, SectName, SectTable, move_after,
    pressure::{Ladder, Load, LoadFactor, PressureStep, stretched},
    ranked_nodes,
};

/// Places of the two sects.
pub(super) const ORDINARY: u16 = 0;
pub(super) const VIP: u16 = 1;

/// What a node has decided about its own load.
#[derive(Clone, Default, Debug)]
pub(super) struct NodeControl {
    is_adaptive: bool,
    factor: LoadFactor,
    ladder: Ladder,
    step: PressureStep,
}

impl NodeControl {
    pub(super) fn new(is_adaptive: bool) -> Self {
        Self { is_adaptive, ..Self::default() }
    }

    /// Takes note of what the node measured.
    pub(super) fn observe(&mut self, now_ms: u64, load: Load) {
        if self.is_adaptive {
            self.factor.observe(now_ms, load);
            self.step = self.ladder.observe(now_ms, load);
        }
    }

    /// The least time between two answers with normal messages in a room of `users`.
    pub(super) fn interval(&self, policy: &PollPolicy, users: u64) -> Duration {
        stretched(policy.interval(users), self.factor(), self.step)
    }

    /// What intervals are multiplied by.
    pub(super) fn factor(&self) -> f64 {
        self.factor.get()
    }

    /// Step of the pressure ladder.
    pub(super) fn step(&self) -> u8 {
        self.step.get()
    }

    /// Whether polls without a cursor are refused.
    pub(super) fn refuses_new(&self) -> bool {
        self.step.refuses_new_pollers()
    }

    /// Most normal messages of an answer; older ones are skipped, and told to be.
    pub(super) fn newest_max(&self) -> Option<u64> {
        self.step.normal_messages_max().map(|most| most as u64)
    }
}

/// Where rooms are served: one ordinary sect for all, and a VIP sect for who grows big.
pub(super) struct Places {
    routing: Routing,
    promotion: Promotion,
    rooms: Vec<RoomKey>,
    /// Names of the nodes of each sect, and of the proxies, for the hashes.
    nodes: [Vec<String>; 2],
    proxies: Vec<String>,
}

impl Places {
    /// For so many rooms, nodes of each sect, and proxies.
    pub(super) fn new(rooms: usize, nodes: [u16; 2], proxies: u16, promotions: Promotions) -> Result<Self> {
        let sect = |name: &str, kind| -> Result<Sect> {
            let policy = PollPolicy::default();
            Ok(Sect { name: SectName::new(name)?, kind, weight: 1, policy, nodes: Vec::new() })
        };
        let sects = vec![sect("ordinary", SectKind::Ordinary)?, sect("vip", SectKind::Vip)?];
        let table = Arc::new(SectTable::new(sects, Vec::new(), promotions)?);
        let key = |nth| Ok(RoomKey::new(AppId::default(), RoomId::new(&format!("room-{nth}"))?));
        let names = |what: &str, count: u16| (0..count).map(|nth| format!("{what}-{nth}")).collect();
        Ok(Self {
            routing: Routing { version: 0, table, moved: HashMap::new() },
            promotion: Promotion::default(),
            rooms: (0..rooms).map(key).collect::<Result<_>>()?,
            nodes: [names("ordinary", nodes[0]), names("vip", nodes[1])],
            proxies: names("proxy", proxies),
        })
    }

    /// Place of the sect that serves a room.
    pub(super) fn sect(&self, room: u16) -> u16 {
        match self.routing.sect_of(&self.rooms[usize::from(room)]).kind {
            SectKind::Ordinary => ORDINARY,
            SectKind::Vip => VIP,
        }
    }

    /// Moves a room if its size asks for it; tells whether it did.
    pub(super) fn observe(&mut self, now_ms: u64, room: u16, users: u64) -> bool {
        let key = self.rooms[usize::from(room)].clone();
        match self.promotion.observe(now_ms, &self.routing, &key, users) {
            None => return false,
            Some(Move::Promote) => {
                let Some(sect) = self.routing.table.vip_home(&key).map(|sect| sect.name.clone()) else {
                    return false;
                };
                self.routing.moved.insert(key, Placed { sect, by: PlacedBy::Promotion, since_ms: now_ms });
            }
            Some(Move::Demote) => drop(self.routing.moved.remove(&key)),
        }
        self.routing.version += 1;
        true
    }

    /// How long after a move a proxy follows it.
    pub(super) fn move_after(&self, room: u16, proxy: u16) -> Duration {
        let (room, proxy) = (&self.rooms[usize::from(room)], &self.proxies[usize::from(proxy)]);
        move_after(room, proxy, self.routing.version)
    }

    /// The node of a room's sect that a proxy takes, of those that are alive; `None` if none is.
    pub(super) fn node(
        &self,
        room: u16,
        proxy: u16,
        users: u64,
        is_alive: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let nodes = &self.nodes[usize::from(self.sect(room))];
        let (room, proxy) = (&self.rooms[usize::from(room)], &self.proxies[usize::from(proxy)]);
        let ranked = ranked_nodes(room, proxy, nodes, users);
        ranked.into_iter().filter_map(|nth| u16::try_from(nth).ok()).find(|nth| is_alive(*nth))
    }
}
