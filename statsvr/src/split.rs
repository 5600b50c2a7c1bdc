//! One split of a room: its window, names, departures and the spread of priority messages.

use room::UserId;

use crate::{
    Name, Run, Signal, UserHash, Viewer,
    departures::Departures,
    reach::{Reach, Spread},
    roster::Roster,
    ticks::{Tick, Ticks},
    window::{Beat as Outcome, Presence, Window},
};

/// Most keys of users that wait for the aggregator; beyond, it takes those of everybody online instead.
const JOINED_MAX: usize = 65_536;

/// What a split says of itself once a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SplitCounts {
    /// Users online.
    pub num_users: u64,
    /// Clients online.
    pub num_clients: u64,
    /// Times that a user came online, since the split began.
    pub joins: u64,
    /// Whether every user online has a place in the list of names.
    pub has_all_names: bool,
}

/// What a split knows of one priority message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SplitReach {
    /// Users online.
    pub num_users: u64,
    /// Those of them who have it.
    pub reached: u64,
    /// When those who were there before it had it.
    pub spread: Spread,
}

impl SplitReach {
    /// Adds what another split knows.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.num_users += other.num_users;
        self.reached += other.reached;
        self.spread.merge(&other.spread);
    }
}

/// A split of a room on one node.
pub(crate) struct Split {
    ticks: Ticks,
    window: Window,
    roster: Roster,
    departures: Departures,
    reach: Reach,
    /// Unique keys of those who have come since the last [`Split::take_joined`]; `None` if they were too many.
    joined: Option<Vec<u64>>,
    names_max: usize,
}

impl Split {
    /// An empty split with at most `names_max` names.
    pub(crate) fn new(ticks: Ticks, now_ms: u64, names_max: usize) -> Self {
        Self {
            ticks,
            window: Window::new(ticks, ticks.at(now_ms)),
            roster: Roster::default(),
            departures: Departures::default(),
            reach: Reach::default(),
            joined: Some(Vec::new()),
            names_max,
        }
    }

    /// Takes beats whose ages count from `made_at_ms`; puts users whose names are missing into `wanted`.
    pub(crate) fn ingest(&mut self, run: &Run, made_at_ms: u64, now_ms: u64, wanted: &mut Vec<UserHash>) {
        self.window.advance(self.ticks.at(now_ms));
        let mut rest = run.beats.as_slice();
        while let Some(first) = rest.first() {
            if first.is_leave() {
                let at_ms = made_at_ms.saturating_sub(first.age_ms());
                self.departures.add((first.user, first.device), at_ms);
                self.window.leave(first.user, first.device, self.ticks.at(at_ms));
                rest = &rest[1..];
                continue;
            }
            let count = rest.iter().position(|beat| beat.is_leave()).unwrap_or(rest.len());
            let (beats, after) = rest.split_at(count);
            rest = after;
            self.ingest_presences(run.base, beats, made_at_ms, wanted);
        }
        for name in &run.names {
            self.name(name);
        }
    }

    fn ingest_presences(
        &mut self,
        base: u64,
        beats: &[crate::Beat],
        made_at_ms: u64,
        wanted: &mut Vec<UserHash>,
    ) {
        let Self { ticks, window, roster, departures, reach, joined, names_max, .. } = self;
        let late_beats = !departures.is_empty();
        let mut wants_any = roster.wants_any();
        let proof = |beat: &crate::Beat| {
            let at_ms = made_at_ms.saturating_sub(beat.age_ms());
            // Tick 0 is further back than any window.
            let is_late = late_beats && departures.overtook((beat.user, beat.device), at_ms);
            let tick = if is_late { 0 } else { ticks.at(at_ms) };
            let place = if beat.position == 0 { 0 } else { base + u64::from(beat.position) };
            (Presence { user: beat.user, device: beat.device, tick, place }, at_ms)
        };
        let mut times = beats.iter().map(|beat| made_at_ms.saturating_sub(beat.age_ms()));
        window.beat_all(beats.iter().map(|beat| proof(beat).0), |proof, outcome| {
            let at_ms = times.next().unwrap_or(made_at_ms);
            match outcome {
                Outcome::Stale => return,
                Outcome::Joined => {
                    roster.joined(proof.user, at_ms, *names_max);
                    wants_any = roster.wants_any();
                    match joined {
                        Some(keys) if keys.len() < JOINED_MAX => keys.push(proof.user.unique_key()),
                        _ => *joined = None,
                    }
                }
                Outcome::Known { had, has } if had != has => reach.moved(had, has, at_ms),
                Outcome::Known { .. } => {}
            }
            if wants_any && roster.wants(proof.user) {
                wanted.push(proof.user);
            }
        });
    }

    /// Whether the user's name is missing.
    pub(crate) fn wants(&self, user: UserHash) -> bool {
        self.roster.wants(user)
    }

    /// Takes a name.
    pub(crate) fn name(&mut self, name: &Name) {
        self.roster.name(name);
    }

    /// A priority message is there.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.reach.signal(signal);
    }

    /// Lets time pass and takes the counts.
    pub(crate) fn advance(&mut self, now_ms: u64) -> SplitCounts {
        self.window.advance(self.ticks.at(now_ms));
        self.departures.forget(now_ms);
        let window = &self.window;
        self.roster.sweep(|user| window.seen(user).is_some());
        SplitCounts {
            num_users: self.window.num_users(),
            num_clients: self.window.num_clients(),
            joins: self.window.joins(),
            has_all_names: self.roster.is_complete(),
        }
    }

    /// The unique keys of those who have come since the last call, or of everybody online if `all` or if they were too
    /// many to remember.
    pub(crate) fn take_joined(&mut self, all: bool) -> Vec<u64> {
        match self.joined.replace(Vec::new()) {
            Some(joined) if !all => joined,
            _ => self.window.unique_keys().collect(),
        }
    }

    /// Everybody online is told again by the next [`Split::take_joined`].
    pub(crate) fn retell_joined(&mut self) {
        self.joined = None;
    }

    /// Users online with a name, after `after` by user id, at most `limit`.
    pub(crate) fn viewers(&self, after: Option<&UserId>, limit: usize) -> Vec<Viewer> {
        let online = self.roster.after(after).filter_map(|(id, member)| {
            let seen = self.window.seen(member.user)?;
            Some(Viewer {
                user: id.clone(),
                num_clients: seen.num_clients,
                role: Some(member.role),
                joined_at_ms: Some(member.joined_at_ms),
                last_seen_ms: self.seen_ms(seen.tick, Some(member.joined_at_ms)),
            })
        });
        online.take(limit).collect()
    }

    /// The user, if online.
    pub(crate) fn viewer(&self, id: &UserId, user: UserHash) -> Option<Viewer> {
        let seen = self.window.seen(user)?;
        let joined_at_ms = self.roster.joined_at_ms(user);
        Some(Viewer {
            user: id.clone(),
            num_clients: seen.num_clients,
            role: self.roster.member(user).map(|member| member.role),
            joined_at_ms,
            last_seen_ms: self.seen_ms(seen.tick, joined_at_ms),
        })
    }

    /// When a step of the window began, but not before the user came, whose time is known to the millisecond.
    fn seen_ms(&self, tick: Tick, joined_at_ms: Option<u64>) -> u64 {
        (tick * self.ticks.tick_ms).max(joined_at_ms.unwrap_or(0))
    }

    /// What is known of a priority message; `None` if it is too long ago.
    pub(crate) fn reach(&self, seq: u64) -> Option<SplitReach> {
        Some(SplitReach {
            num_users: self.window.num_users(),
            reached: self.window.at_or_past(seq + 1)?,
            spread: self.reach.spread(seq).cloned().unwrap_or_default(),
        })
    }

    /// Bytes in memory: of the window, and of the names.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        (self.window.bytes(), self.roster.bytes())
    }
}
