//! The limits of a room, and taking a place within all of them or none.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use room::{ErrorCode, List, PerList, Problem, Retention, RoomSettings};

use crate::{Caller, Clock, CountedAs, marks::Marks, meter::Meter};

/// What holds in rooms that do not set it otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SendLimits {
    /// Largest JSON of one message (bytes).
    pub message_bytes_max: usize,
    /// `normal` and `low` messages a second in a room, a second's worth at once; 0 for no limit.
    pub room_rate: u32,
    /// Messages of either list a second by one sender in a room; 0 for no limit.
    pub user_rate: u32,
    /// Messages that a sender who was quiet may send at once; at least 1 is taken.
    pub user_burst: u32,
    /// `high` messages a second in a room, a second's worth at once; 0 for no limit.
    pub priority_rate: u32,
    /// What lists keep; must be what the store was opened with.
    pub retention: PerList<Retention>,
}

impl Default for SendLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 16_384,
            room_rate: 200,
            user_rate: 5,
            user_burst: 10,
            priority_rate: 50,
            retention: PerList::from_fn(Retention::default_of),
        }
    }
}

/// A room's settings and the limits made from them: what decides whether a message may be sent there.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) settings: Arc<RoomSettings>,
    room: Option<Arc<Meter<()>>>,
    priority: Option<Arc<Meter<()>>>,
    user: Option<Arc<Meter<CountedAs>>>,
    last_sent: Marks<CountedAs>,
}

impl Gate {
    pub(crate) fn new(settings: Arc<RoomSettings>, defaults: &SendLimits, clock: &Clock) -> Self {
        Self {
            room: room_meter(room_rate(&settings, defaults), clock),
            priority: room_meter(defaults.priority_rate, clock),
            user: user_meter(user_rate(&settings, defaults), defaults.user_burst, clock),
            last_sent: Marks::new(),
            settings,
        }
    }

    /// The same gate under other settings. A limit that they change starts afresh, the others go on.
    pub(crate) fn with_settings(
        &self,
        settings: Arc<RoomSettings>,
        defaults: &SendLimits,
        clock: &Clock,
    ) -> Self {
        let mut gate = self.clone();
        let rate = room_rate(&settings, defaults);
        if rate != room_rate(&self.settings, defaults) {
            gate.room = room_meter(rate, clock);
        }
        let rate = user_rate(&settings, defaults);
        if rate != user_rate(&self.settings, defaults) {
            gate.user = user_meter(rate, defaults.user_burst, clock);
        }
        gate.settings = settings;
        gate
    }

    /// Takes a place for one message of `caller`, or says why there is none and leaves everything as it was.
    ///
    /// Slow mode first, the room's rate last: one who is too fast does not use up what the others share.
    pub(crate) fn admit(
        self: &Arc<Self>,
        caller: &Caller,
        list: List,
        clock: &Clock,
    ) -> Result<Permit, Problem> {
        if self.settings.is_closed() {
            return Err(Problem::new(ErrorCode::RoomClosed, "the room is closed: it takes no messages"));
        }
        let is_exempt = caller.role.is_exempt_from_mute();
        if self.settings.muted && !is_exempt {
            return Err(Problem::new(
                ErrorCode::Muted,
                "the room is muted: only broadcasters and moderators may send until a moderator ends it",
            ));
        }
        // From here on, dropping the permit gives back what was taken so far.
        let mut permit =
            Permit { gate: Arc::clone(self), counted_as: caller.counted_as.clone(), taken: Taken::default() };
        if !is_exempt && !self.settings.cooldown.is_zero() {
            permit.begin_cooldown(clock)?;
        }
        permit.take_from_user()?;
        permit.take_from_room(list)?;
        Ok(permit)
    }

    /// Whether forgetting it would change nothing that cannot be read from the store again.
    pub(crate) fn is_idle(&self, clock: &Clock) -> bool {
        let cooldown = nanos(self.settings.cooldown);
        self.last_sent.is_stale(clock.ticks().saturating_sub(cooldown))
            && self.room.as_ref().is_none_or(|meter| meter.is_idle())
            && self.priority.as_ref().is_none_or(|meter| meter.is_idle())
            && self.user.as_ref().is_none_or(|meter| meter.is_idle())
    }
}

/// A message's place within the limits. Dropped without [`Permit::keep`], it is given back.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
    counted_as: CountedAs,
    taken: Taken,
}

/// What a permit has to give back.
#[derive(Debug, Default)]
struct Taken {
    /// When slow mode's cool-down was begun, and the mark before.
    cooldown: Option<(u64, Option<u64>)>,
    from_user: bool,
    from_room_for: Option<List>,
}

impl Permit {
    /// The message is there: what it took stays taken.
    pub(crate) fn keep(mut self) {
        self.taken = Taken::default();
    }

    fn begin_cooldown(&mut self, clock: &Clock) -> Result<(), Problem> {
        let cooldown = self.gate.settings.cooldown;
        let now = clock.ticks();
        match self.gate.last_sent.mark_after(&self.counted_as, now, nanos(cooldown)) {
            Ok(before) => {
                self.taken.cooldown = Some((now, before));
                Ok(())
            }
            Err(left) => {
                let left = Duration::from_nanos(left);
                let left_ms = left.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX);
                let detail = format!(
                    "the room is in slow mode, one message every {} ms: send again in {left_ms} ms",
                    cooldown.as_millis()
                );
                Err(Problem {
                    cooldown_ms: Some(left_ms),
                    retry_after: Some(left),
                    ..Problem::new(ErrorCode::SlowMode, detail)
                })
            }
        }
    }

    fn take_from_user(&mut self) -> Result<(), Problem> {
        let Some(meter) = &self.gate.user else {
            return Ok(());
        };
        meter.take(&self.counted_as).map_err(|wait| {
            Problem::rate_limited("user", wait, "you send to this room faster than one sender may: slow down")
        })?;
        self.taken.from_user = true;
        Ok(())
    }

    fn take_from_room(&mut self, list: List) -> Result<(), Problem> {
        let Some(meter) = self.gate.meter_of(list) else {
            return Ok(());
        };
        meter.take(&()).map_err(|wait| match list {
            List::Normal => Problem::rate_limited(
                "room",
                wait,
                "the room has more messages than it takes in a second: try again later",
            ),
            List::Priority => Problem::rate_limited(
                "priority",
                wait,
                "the room has more priority messages than it takes in a second: try again later",
            ),
        })?;
        self.taken.from_room_for = Some(list);
        Ok(())
    }
}

impl Gate {
    fn meter_of(&self, list: List) -> Option<&Meter<()>> {
        match list {
            List::Normal => self.room.as_deref(),
            List::Priority => self.priority.as_deref(),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((at, before)) = self.taken.cooldown {
            self.gate.last_sent.put_back(&self.counted_as, at, before);
        }
        if let Some(meter) = &self.gate.user
            && self.taken.from_user
        {
            meter.give_back(&self.counted_as);
        }
        if let Some(meter) = self.taken.from_room_for.and_then(|list| self.gate.meter_of(list)) {
            meter.give_back(&());
        }
    }
}

/// The rate that holds in a room with `settings`.
pub(crate) fn room_rate(settings: &RoomSettings, defaults: &SendLimits) -> u32 {
    settings.room_rate.unwrap_or(defaults.room_rate)
}

/// The rate that holds for a sender in a room with `settings`.
pub(crate) fn user_rate(settings: &RoomSettings, defaults: &SendLimits) -> u32 {
    settings.user_rate.unwrap_or(defaults.user_rate)
}

fn room_meter(rate: u32, clock: &Clock) -> Option<Arc<Meter<()>>> {
    NonZeroU32::new(rate).map(|rate| Arc::new(Meter::new(rate, rate, clock)))
}

fn user_meter(rate: u32, burst: u32, clock: &Clock) -> Option<Arc<Meter<CountedAs>>> {
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    NonZeroU32::new(rate).map(|rate| Arc::new(Meter::new(rate, burst, clock)))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
