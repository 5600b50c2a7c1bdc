//! The window against a model that is too simple to be wrong.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;

/// Who was last seen when, in plain maps, looked through for every answer.
#[derive(Default)]
struct Model {
    window: u64,
    now: Tick,
    users: HashMap<u64, (u64, HashMap<u32, Tick>)>,
    joins: u64,
}

impl Model {
    fn forget_expired(&mut self) {
        let oldest = self.now.saturating_sub(self.window);
        self.users.retain(|_, (_, devices)| {
            devices.retain(|_, tick| *tick >= oldest);
            !devices.is_empty()
        });
    }

    fn beat(&mut self, proof: Presence) -> Beat {
        let tick = proof.tick.min(self.now);
        if self.now - tick > self.window {
            return Beat::Stale;
        }
        let joined = !self.users.contains_key(&proof.user.0);
        let (seq, devices) = self.users.entry(proof.user.0).or_default();
        let had = *seq;
        *seq = had.max(proof.place);
        let has = *seq;
        let last = devices.entry(proof.device.0).or_insert(tick);
        *last = tick.max(*last);
        self.joins += u64::from(joined);
        if joined { Beat::Joined } else { Beat::Known { had, has } }
    }

    fn leave(&mut self, user: u64, device: u32, tick: Tick) -> bool {
        let Some((_, devices)) = self.users.get_mut(&user) else { return false };
        if devices.get(&device).is_none_or(|own| *own > tick) {
            return false;
        }
        devices.remove(&device);
        let is_gone = devices.is_empty();
        if is_gone {
            self.users.remove(&user);
        }
        is_gone
    }

    fn at_or_past(&self, seq: u64) -> u64 {
        self.users.values().filter(|(has, _)| *has >= seq).count() as u64
    }
}

fn check_all(window: &Window, model: &Model, context: &str) {
    assert_eq!(window.num_users(), model.users.len() as u64, "num_users {context}");
    let clients: usize = model.users.values().map(|(_, devices)| devices.len()).sum();
    assert_eq!(window.num_clients(), clients as u64, "num_clients {context}");
    assert_eq!(window.joins(), model.joins, "joins {context}");
}

fn check_each(window: &Window, model: &Model, users: u64, context: &str) {
    for user in 0..users {
        let hash = spread(user);
        let expect = model.users.get(&hash).map(|(_, devices)| Seen {
            tick: *devices.values().max().unwrap(),
            num_clients: devices.len() as u32,
        });
        assert_eq!(window.seen(UserHash(hash)), expect, "user {user} {context}");
    }
    let keys: Vec<u64> = window.unique_keys().collect();
    let distinct: HashSet<u64> = keys.iter().copied().collect();
    let expect: HashSet<u64> = model.users.keys().map(|user| UserHash(*user).unique_key()).collect();
    assert_eq!(keys.len(), distinct.len(), "a user is listed once {context}");
    assert_eq!(distinct, expect, "unique keys {context}");
}

fn spread(user: u64) -> u64 {
    crate::identity::mix(user) & ((1 << KEPT_BITS) - 1)
}

/// Random beats, leaves and steps of time; every count is compared after each of them.
fn run(seed: u64, users: u64, steps: usize, window: Duration) {
    let mut rng = StdRng::seed_from_u64(seed);
    let ticks = Ticks::new(window);
    let start = rng.random_range(1_000..2_000);
    let mut model = Model { window: ticks.window, now: start, ..Model::default() };
    let mut window = Window::new(ticks, start);
    let mut latest_seq = 0_u64;
    for step in 0..steps {
        let context = format!("(seed {seed}, step {step})");
        let user = spread(rng.random_range(0..users));
        let devices = rng.random_range(1..5_u32);
        let device = rng.random_range(0..devices);
        let age = if rng.random_bool(0.2) { rng.random_range(0..=ticks.window + 2) } else { 0 };
        match rng.random_range(0..1_000) {
            0..800 => {
                latest_seq += rng.random_range(0..2);
                let seq = match rng.random_range(0..4) {
                    0 => 0,
                    1 => latest_seq.saturating_sub(rng.random_range(0..400)),
                    _ => latest_seq,
                };
                let tick = if rng.random_bool(0.01) { model.now + 3 } else { model.now - age };
                let proof = Presence { user: UserHash(user), device: DeviceHash(device), tick, place: seq };
                match (window.beat(proof), model.beat(proof)) {
                    // A place far behind is known as "somewhere behind" only.
                    (Beat::Known { had, has }, Beat::Known { had: model_had, has: model_has }) => {
                        assert!(had == model_had || (had == 0 && model_had + 500 < latest_seq), "{context}");
                        assert!(has == model_has || (has == 0 && model_has + 500 < latest_seq), "{context}");
                    }
                    (ours, models) => assert_eq!(ours, models, "{context}"),
                }
            }
            800..900 => {
                let tick = model.now - age;
                let gone = window.leave(UserHash(user), DeviceHash(device), tick);
                assert_eq!(gone, model.leave(user, device, tick), "{context}");
            }
            900..998 => {
                if rng.random_bool(0.3) {
                    let by = if rng.random_bool(0.9) { 1 } else { rng.random_range(1..2 * ticks.window) };
                    let before = window.num_users();
                    model.now += by;
                    model.forget_expired();
                    assert_eq!(window.advance(model.now), before - window.num_users(), "{context}");
                }
            }
            _ => check_each(&window, &model, users.min(500), &context),
        }
        check_all(&window, &model, &context);
        if step % 16 == 0 && latest_seq > 0 {
            for back in [0, 1, 50, 300, 510] {
                let seq = latest_seq.saturating_sub(back).max(1);
                if let Some(reached) = window.at_or_past(seq) {
                    assert_eq!(reached, model.at_or_past(seq), "reached {seq} of {latest_seq} {context}");
                }
            }
        }
    }
    check_each(&window, &model, users, &format!("(seed {seed}, at the end)"));
}

#[test]
fn counts_equal_the_model_at_every_step() {
    for seed in 0..60 {
        run(
            seed,
            [3, 40, 400][seed as usize % 3],
            4_000,
            Duration::from_secs([2, 15, 30, 300][seed as usize % 4]),
        );
    }
}

#[test]
fn counts_equal_the_model_over_many_segments() {
    run(1_000, 30_000, 120_000, Duration::from_secs(30));
}

fn window_of(users: u64) -> (Window, Ticks) {
    let ticks = Ticks::new(Duration::from_secs(30));
    let mut window = Window::new(ticks, 1_000);
    let proofs: Vec<_> = (0..users).map(|user| proof(user, 1_000)).collect();
    window.beat_all(proofs.into_iter(), |_, _| ());
    (window, ticks)
}

fn proof(user: u64, tick: Tick) -> Presence {
    Presence { user: UserHash(spread(user)), device: DeviceHash::ABSENT, tick, place: 0 }
}

#[test]
fn full_split_takes_few_bytes_a_user() {
    for users in [20_000_u64, 40_000, 58_000, 64_000] {
        let (window, _) = window_of(users);
        assert_eq!(window.num_users(), users);
        let bytes = window.bytes() as f64 / users as f64;
        assert!(bytes < 15.0, "{bytes} bytes a user of {users}");
    }
}

#[test]
fn memory_goes_when_the_crowd_has_gone() {
    let (mut window, ticks) = window_of(50_000);
    window.beat(proof(1, 1_001));
    let full = window.bytes();
    for tick in 1_000..1_000 + ticks.window + SWEEP_TICKS + 2 {
        window.advance(tick);
        window.beat(proof(1, tick));
    }
    assert_eq!(window.num_users(), 1);
    assert!(window.bytes() * 20 < full, "{} of {full} bytes are left", window.bytes());
    window.advance(window.now + ticks.window + 1);
    assert_eq!((window.num_users(), window.segments.len()), (0, 1));
}

#[test]
fn user_with_too_many_devices_keeps_the_latest() {
    let (mut window, _) = window_of(0);
    for device in 0..100 {
        window.advance(1_000 + u64::from(device / 10));
        let tick = window.now;
        window.beat(Presence { device: DeviceHash(device), ..proof(7, tick) });
    }
    assert_eq!((window.num_users(), window.num_clients()), (1, DEVICES_PER_USER_MAX as u64));
    assert!(!window.leave(UserHash(spread(7)), DeviceHash(0), window.now), "it gave way long ago");
    assert_eq!(window.num_clients(), DEVICES_PER_USER_MAX as u64);
}

#[test]
fn priority_messages_may_be_many() {
    let (mut window, _) = window_of(100);
    for seq in (1..20_000).step_by(7) {
        window.beat(Presence { place: seq, ..proof(seq % 50, 1_000) });
        assert_eq!(window.at_or_past(seq), Some(1));
        assert_eq!(window.at_or_past(seq + 1), Some(0));
    }
    assert_eq!(window.at_or_past(10), None, "too long ago to know");
    assert_eq!(window.at_or_past(u64::MAX), Some(0));
}
