//! What clients make of responses.

use super::{Crowd, client::State, timers::Event};
use crate::{
    mark::List,
    profile::Kind,
    run::{
        answer::{Answer, FOREIGN},
        clock::micros,
        http::{Head, problem_code},
    },
};

/// What a rude client waits after a refusal (microseconds): it is rude, not broken.
const RUDE_WAIT_US: u64 = 100_000;
/// What others wait if the server does not say.
const WAIT_US: u64 = 1_000_000;
/// The longest that a client waits because a server says so.
const WAIT_MAX_US: u64 = 60_000_000;
/// How much longer than told clients wait at most, by chance: the contract's share for polite ones.
const JITTER_SHARE: f64 = 0.2;
/// Of its time, a poll without news is held at least so much; the server's clock and ours may differ by a tick.
const HELD_SHARE: f64 = 0.9;
const TICK_US: u64 = 5_000;

impl Crowd<'_> {
    /// Takes bytes of a response.
    pub(super) fn take_bytes(&mut self, place: u32, bytes: &[u8]) {
        if self.clients[place as usize].input.is_empty() {
            if let Some((head, answer)) = self.answers.repeated(bytes) {
                return self.take_answer(place, &head, &answer);
            }
            if !self.take_response(place, bytes) {
                self.clients[place as usize].input.extend_from_slice(bytes);
            }
            return;
        }
        let mut input = std::mem::take(&mut self.clients[place as usize].input);
        input.extend_from_slice(bytes);
        // Dropped and not kept for the next: ten thousand clients would each keep their longest answer.
        if !self.take_response(place, &input) {
            self.clients[place as usize].input = input;
        }
    }

    /// Takes a response, if it is whole; tells whether it was, or never will be.
    fn take_response(&mut self, place: u32, bytes: &[u8]) -> bool {
        let head = match Head::of(bytes) {
            Ok(None) => return false,
            Ok(Some(head)) if bytes.len() < head.length() => return false,
            Ok(Some(head)) => head,
            Err(_) => {
                self.fail(place, "poll response malformed");
                return true;
            }
        };
        if bytes.len() > head.length() || self.clients[place as usize].state != State::Asked {
            self.fail(place, "poll response unasked");
        } else if head.status != 200 {
            self.take_refusal(place, &head, &bytes[head.head..]);
        } else {
            match self.answers.read(bytes, &head) {
                Ok(recognised) => {
                    if recognised.is_new {
                        self.note_numbers(place, &recognised.answer);
                    }
                    self.take_answer(place, &head, &recognised.answer);
                }
                Err(_) => self.fail(place, "poll answer malformed"),
            }
        }
        true
    }

    /// Notes which messages are behind which sequence numbers, once for all who get the same answer.
    fn note_numbers(&mut self, place: u32, answer: &Answer) {
        let room = self.caller(place).room;
        for list in List::ALL.map(List::index) {
            for (seq, number) in &answer.numbers[list] {
                if *number == FOREIGN {
                    self.facts.oddities.unknown += 1;
                } else if !self.facts.room(room)[list].seen.note(*seq, *number) {
                    self.facts.oddities.dissent += 1;
                }
            }
        }
    }

    fn take_answer(&mut self, place: u32, head: &Head, answer: &Answer) {
        let now_us = self.clock.now_us();
        let caller = self.caller(place);
        let behaviour = &self.behaviours[usize::from(self.clients[place as usize].behaviour)];
        let client = &mut self.clients[place as usize];
        if client.state != State::Asked {
            return self.fail(place, "poll response unasked");
        }
        client.state = State::Resting;
        client.failures = 0;
        self.parked -= 1;

        let count = answer.count();
        let counters = &mut self.tally.counters;
        counters.answers += 1;
        counters.empty_answers += u64::from(count == 0);
        counters.received_bytes += head.length() as u64;
        for list in List::ALL.map(List::index) {
            counters.received[list] += answer.numbers[list].len() as u64;
            // Who takes its time to read by the profile's will says nothing about the server.
            for due_us in answer.due_us[list].iter().filter(|_| behaviour.kind != Kind::Slow) {
                if *due_us >= client.since_us {
                    self.tally.ages[list].record(now_us.saturating_sub(*due_us), 1);
                }
            }
        }
        if count > 0 {
            self.last_received_us = now_us;
        }
        if std::mem::take(&mut client.is_joining) && behaviour.kind != Kind::Slow {
            self.tally.joins.record(now_us.saturating_sub(client.since_us), 1);
        }
        if caller.room == 0 && answer.num_users.is_some() {
            self.server_users = answer.num_users;
        }

        let is_cut_off = !answer.up_to_date;
        let breaks_a_rule = answer.cursor.is_empty()
            || count > behaviour.limit as usize
            || (is_cut_off && (count == 0 || answer.poll_after_ms > 0));
        self.facts.oddities.answer_rules += u64::from(breaks_a_rule);
        let held_us = now_us - client.asked_us.min(now_us);
        let least_us = (micros(behaviour.timeout) as f64 * HELD_SHARE) as u64;
        let may_be_empty = client.cursor.is_none()
            || answer.gap.is_some()
            || !answer.is_live
            || head.closes
            || std::mem::take(&mut client.crosses_goodbye);
        if count == 0 && !may_be_empty && held_us + TICK_US < least_us {
            self.facts.oddities.early_empty += 1;
        }
        client.place.take(answer, caller.room, &mut self.facts);
        client.cursor = Some(std::rc::Rc::clone(&answer.cursor));

        let told_us = f64::from(answer.poll_after_ms) * 1e3;
        let pause_us = match (behaviour.kind, behaviour.pause) {
            (Kind::Rude, _) => 0,
            _ if is_cut_off => 0,
            (_, Some(pause)) => micros(pause),
            (Kind::Polite | Kind::Slow, None) => {
                (told_us * (1.0 + JITTER_SHARE * self.draw(caller.client))) as u64
            }
        };
        if !answer.is_live {
            self.tally.counters.add_error("poll room closed", 1);
            return self.pause(place, head.closes, WAIT_US);
        }
        self.pause(place, head.closes, pause_us);
    }

    fn take_refusal(&mut self, place: u32, head: &Head, body: &[u8]) {
        let what = format!("poll {} {}", head.status, problem_code(body));
        self.tally.counters.add_error(what.trim_end(), 1);
        let is_rude = self.behaviour(place).kind == Kind::Rude;
        let client = &mut self.clients[place as usize];
        client.state = State::Resting;
        self.parked -= 1;
        let told_us =
            head.retry_after_s.map_or(WAIT_US, |seconds| u64::from(seconds) * 1_000_000).min(WAIT_MAX_US);
        let jitter = 1.0 + JITTER_SHARE * self.draw(self.share.clients.start + place);
        let wait_us = if is_rude { RUDE_WAIT_US } else { (told_us as f64 * jitter) as u64 };
        self.pause(place, head.closes, wait_us);
    }

    /// Polls again after a pause, over a new connection if this one ends.
    fn pause(&mut self, place: u32, closes: bool, pause_us: u64) {
        if closes {
            self.reconnect_after(place, pause_us);
        } else if pause_us == 0 {
            self.ask(place);
        } else {
            let connection = self.clients[place as usize].connection;
            self.timers.add(self.clock.now_us() + pause_us, place, Event::Poll(connection));
        }
    }
}
