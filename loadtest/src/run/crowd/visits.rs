//! Who comes and who goes, as the profile has it.

use super::{Crowd, client::State, timers::Event};
use crate::{
    profile::Kind,
    run::{
        clock::micros,
        presence::Going,
        schedule::{Draw, chance, exponential},
    },
};

impl Crowd<'_> {
    /// Serves what is due, up to a number: the network must not wait for a crowd that comes at once.
    pub(super) fn serve_due(&mut self, now_us: u64) {
        for _ in 0..super::DUE_MAX {
            let Some((due_us, place, event)) = self.timers.due(now_us) else { return };
            let client = &self.clients[place as usize];
            let (connection, visit) = (client.connection, client.visit);
            match event {
                // Nobody comes or goes any more while the last messages are awaited.
                Event::Come | Event::Go | Event::EndVisit(_) | Event::Return(_) | Event::Cut(_)
                    if self.is_settling => {}
                Event::Come => {
                    self.clients[place as usize].is_wanted = true;
                    self.come(place, due_us);
                }
                Event::Go => {
                    self.clients[place as usize].is_wanted = false;
                    self.leave(place, now_us);
                }
                Event::EndVisit(of) if of == visit => {
                    self.leave(place, now_us);
                    let client = self.share.clients.start + place;
                    let away = self.plan.profile.on_clock(self.plan.profile.crowd.away);
                    let away = exponential(away, chance(self.plan.seed, client, Draw::Away(visit)));
                    let visit = self.clients[place as usize].visit;
                    self.timers.add(due_us + micros(away), place, Event::Return(visit));
                }
                Event::Return(of) if of == visit => self.come(place, due_us),
                Event::Retry(of) if of == connection => self.connect(place),
                Event::Poll(of) if of == connection => self.ask(place),
                Event::Read(of) if of == connection => self.read_slowly(place, now_us),
                Event::Cut(nth) => self.cut(nth, due_us, now_us),
                // Planned for what is over.
                Event::EndVisit(_) | Event::Return(_) | Event::Retry(_) | Event::Poll(_) | Event::Read(_) => {
                }
            }
        }
    }

    /// A client comes, or comes back.
    fn come(&mut self, place: u32, due_us: u64) {
        let entry = &mut self.clients[place as usize];
        if !entry.is_wanted || entry.state != State::Away {
            return;
        }
        entry.visit += 1;
        (entry.since_us, entry.is_joining) = (due_us, true);
        let (visit, client) = (entry.visit, self.share.clients.start + place);
        if let Some(session) = self.plan.profile.crowd.session
            && !self.share.are_probes
        {
            let session = self.plan.profile.on_clock(session);
            let stay = exponential(session, chance(self.plan.seed, client, Draw::Session(visit)));
            self.timers.add(due_us + micros(stay), place, Event::EndVisit(visit));
        }
        self.connect(place);
    }

    /// A client leaves by the profile's will.
    fn leave(&mut self, place: u32, now_us: u64) {
        let entry = &mut self.clients[place as usize];
        entry.visit += 1;
        let visit = entry.visit;
        let was_there = entry.is_online();
        let caller = self.caller(place);
        let says = chance(self.plan.seed, caller.client, Draw::Goodbye(visit))
            < self.plan.profile.crowd.says_goodbye;
        self.clients[place as usize].failures = 0;
        if was_there {
            self.tally.counters.departures += 1;
        }
        if !(was_there && says) {
            return self.go_silently(place, now_us);
        }
        self.close(place);
        self.requests.leave(&mut self.scratch, caller);
        let target = self.plan.targets[caller.target].address;
        let is_said = self.goodbyes.say(
            target,
            caller.client,
            &self.scratch,
            self.poll.registry(),
            &mut self.tally.counters,
        );
        self.go_offline(place, now_us, if is_said { Going::Known } else { Going::Unknown });
    }

    /// Cuts off many at once; they come back by themselves.
    fn cut(&mut self, nth: u32, due_us: u64, now_us: u64) {
        let cut = self.plan.profile.crowd.cut[nth as usize];
        let (after, within) =
            (self.plan.profile.on_clock(cut.back_after), self.plan.profile.on_clock(cut.back_within));
        for place in 0..self.clients.len() as u32 {
            let client = self.share.clients.start + place;
            if chance(self.plan.seed, client, Draw::Cut(nth)) >= cut.share
                || !self.clients[place as usize].is_online()
            {
                continue;
            }
            self.go_silently(place, now_us);
            let entry = &mut self.clients[place as usize];
            entry.visit += 1;
            entry.failures = 0;
            let back_us =
                due_us + micros(after + within.mul_f64(chance(self.plan.seed, client, Draw::Back(nth))));
            self.timers.add(back_us, place, Event::Return(entry.visit));
        }
    }

    /// Gives up polls that were not answered long after their time, and connections that were never made.
    pub(super) fn give_up_overdue(&mut self, now_us: u64) {
        for place in 0..self.clients.len() as u32 {
            let behaviour = self.behaviour(place);
            let timeout_us = micros(behaviour.timeout);
            let is_slow = behaviour.kind == Kind::Slow;
            let client = &self.clients[place as usize];
            match client.state {
                State::Asked if !is_slow && now_us > client.asked_us + timeout_us + super::GRACE_US => {
                    self.fail(place, "poll overdue");
                }
                State::Connecting if now_us > client.asked_us + super::GRACE_US => {
                    self.fail(place, "poll connection timed out");
                }
                _ => {}
            }
        }
    }
}
