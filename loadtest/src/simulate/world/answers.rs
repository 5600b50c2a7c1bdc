//! Answers: what is in them, what they cost, and when the viewer comes back.

use room::{List, PerList};

use super::World;
use crate::simulate::{
    agenda::Event,
    client::State,
    proxy::{Reason, Waiter},
};

/// Answers between two looks at the agenda: what comes meanwhile is heard a fraction of a millisecond late.
const BATCH: usize = 8;
/// The most that a polite client waits beyond what it is told, as a share of that.
const JITTER: f64 = room::capacity::POLITE_JITTER;

impl World<'_> {
    /// A proxy answers the next polls.
    pub(super) fn work(&mut self, proxy: u16) {
        let nth = usize::from(proxy);
        let mut free_us = self.now_us.max(self.proxies[nth].busy_until_us);
        for _ in 0..BATCH {
            let Some((waiter, reason)) = self.proxies[nth].take() else { break };
            free_us = self.answer(waiter, reason, free_us);
        }
        let node = &mut self.proxies[nth];
        node.busy_until_us = free_us;
        if node.queued() > 0 {
            self.agenda.add(free_us, Event::Work { proxy });
        } else {
            node.is_working = false;
        }
    }

    /// Answers a poll from `at_us` on with what its proxy knows by then; tells when that is done.
    fn answer(&mut self, (client, turn): Waiter, reason: Reason, at_us: u64) -> u64 {
        let entry = &self.clients[client as usize];
        if entry.turn != turn || entry.state != State::Queued {
            return at_us;
        }
        let interval_ms = self.interval(client).as_millis() as u64;
        let newest_max = self.controls[usize::from(entry.proxy)].newest_max();
        let setup = self.setup;
        let entry = &mut self.clients[client as usize];
        let nth = usize::from(entry.proxy);
        let (node, room) = (&mut self.proxies[nth], &self.rooms[usize::from(entry.room)]);
        let known = node.known[usize::from(entry.room)];
        // It asked for the last message as well, which it had no way to wait for.
        let was_new = std::mem::take(&mut entry.is_new);
        if was_new {
            entry.seen = known;
            entry.ledger.begin(known);
        }
        // As `recvsvr::hold` has it: a held reader gets its priority messages alone.
        let held_ms = if was_new { 0 } else { entry.eligible_at_ms.saturating_sub(at_us / 1_000) };
        let mut left = setup.viewers.limit;
        let mut is_up_to_date = true;
        let mut stretches = PerList::from_fn(|_| (0, 0));
        for list in List::ALL {
            if list == List::Normal && held_ms > 0 {
                continue;
            }
            let mut from = room.log.first(list).max(entry.seen[list] + 1);
            if let (List::Normal, Some(most)) = (list, newest_max) {
                from = from.max((known[list] + 1).saturating_sub(most));
            }
            let waiting = (known[list] + 1).saturating_sub(from);
            let count = waiting.min(left);
            left -= count;
            is_up_to_date &= count == waiting;
            // What is gone from the log is told with the next message.
            let skipped = if count > 0 { from - entry.seen[list] - 1 } else { 0 };
            stretches[list] = (from, count);
            if count > 0 {
                entry.ledger.take(list, from, count, skipped);
                entry.seen[list] = from + count - 1;
            }
        }
        let count = stretches.priority.1 + stretches.normal.1;
        let mut cost_us = setup.costs.answer_us(count as f64, setup.text_bytes);
        if setup.has_clients_on_board {
            cost_us +=
                setup.costs.client_poll_us + (count as f64 - 1.0).max(0.0) * setup.costs.client_message_us;
        }
        if std::mem::take(&mut entry.connects) {
            cost_us += setup.costs.connection_us;
        }
        node.busy_us += cost_us;
        if reason == Reason::Arrival {
            node.lag_us = node.lag_us.max(at_us - entry.queued_us.min(at_us));
        }
        // Rounded by chance, so that costs below a microsecond add up.
        let service_us = cost_us / setup.front.cores;
        let done_us = at_us + (service_us + self.chance.share()) as u64;

        // As `recvsvr::answer::pace` has it.
        let has_something = count > 0 || was_new;
        let (told_ms, served_at_ms) = match (is_up_to_date, held_ms, has_something) {
            (true, 1.., _) => (held_ms, entry.served_at_ms),
            (true, 0, true) => (interval_ms, at_us / 1_000),
            _ => (0, 0),
        };
        entry.served_at_ms = served_at_ms;
        entry.state = State::Resting;
        let trip_us = setup.viewers.round_trip_us;
        let pause_us = match (entry.is_polite && is_up_to_date, setup.viewers.pause_ms) {
            (false, _) => 0,
            (true, Some(pause_ms)) => pause_ms * 1_000,
            (true, None) => ((told_ms * 1_000) as f64 * (1.0 + JITTER * self.chance.share())) as u64,
        };
        self.agenda.add(done_us + trip_us + pause_us, Event::Poll { client, life: entry.life });

        let is_first_room = entry.room == 0;
        let had_us = done_us + trip_us / 2;
        self.meter.answered(count);
        for list in List::ALL {
            let (from, count) = stretches[list];
            self.meter.ages(is_first_room, list, from, count, |seq| {
                let due_us = room.log.due_us(list, seq);
                (due_us >= entry.since_us).then(|| had_us - due_us)
            });
        }
        done_us
    }
}
