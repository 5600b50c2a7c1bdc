//! 15 million users of one room, through the way that their heartbeats take: what a beat costs, what a user takes.
//!
//! ```text
//! cargo run --release -p bigroom-statsvr --example online_bench [-- KEY=VALUE…]
//!   users=15000000    distinct users of the room
//!   seconds=120       seconds of the run; time is virtual, so it takes as long as the work does
//!   leave=5000000     users who fall silent together at the end
//!   out=FILE          where the figures go as well
//! ```
//!
//! Each user polls once in 30 s, as a collector hears of it; its batches, of a second's beats each, are those that a statsvr is
//! sent. The figure for a core is the statsvr's share alone, by CPU time of the one thread that takes the batches; the
//! collector's share is shown beside it. Another thread asks for the count all the while.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fmt::Write as _,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use room::{AppId, Role, RoomId, RoomKey, Seq};
use rustix::time::{ClockId, clock_gettime};
use statsvr::{
    Clock, Collector, CollectorSettings, DeviceHash, NodeId, Stats, StatsService, StatsSettings, Statsvr,
    UserHash, Visitor,
};
use tokio_util::sync::CancellationToken;

const WINDOW_S: u64 = 30;

fn main() -> Result<(), Box<dyn Error>> {
    let mut settings = BTreeMap::from([("users", 15_000_000_u64), ("seconds", 120), ("leave", 5_000_000)]);
    let mut out = None;
    for argument in env::args().skip(1) {
        let (key, value) = argument.split_once('=').ok_or_else(|| format!("{argument} is not KEY=VALUE"))?;
        match settings.get_mut(key) {
            Some(setting) => *setting = value.parse()?,
            None if key == "out" => out = Some(value.to_owned()),
            None => return Err(format!("{key} can't be set").into()),
        }
    }
    let figures = run(settings["users"], settings["seconds"], settings["leave"].min(settings["users"]))?;
    print!("{figures}");
    if let Some(out) = out {
        fs::write(out, figures)?;
    }
    Ok(())
}

/// What is measured, and the statsvr that it is measured of.
struct Bench {
    room: RoomKey,
    app: AppId,
    hand: Arc<AtomicU64>,
    node: Arc<Statsvr>,
    stats: Arc<Stats>,
    collector: Collector,
    /// CPU time that the statsvr took, and the collector.
    ingest: Duration,
    collect: Duration,
    beats: u64,
    /// Longest time that a batch, and that a round, took.
    batch_max: Duration,
    round_max: Duration,
    rounds: Duration,
}

fn run(users: u64, seconds: u64, leave: u64) -> Result<String, Box<dyn Error>> {
    let before = resident()?;
    let (clock, hand) = Clock::manual(1_800_000_000_000);
    let settings = StatsSettings::default();
    let id = NodeId::new("bench");
    let node = Statsvr::new(id.clone(), settings, clock.clone(), true, None);
    let service: Arc<dyn StatsService> = Arc::new(Arc::clone(&node));
    let stats = Stats::new(clock, &settings, Duration::from_secs(1), [(id, service)]);
    let stop = CancellationToken::new();
    // Follows the node's updates, as in a process that shows the numbers.
    let following = {
        let (stats, stop) = (Arc::clone(&stats), stop.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        thread::spawn(move || runtime.block_on(stats.run(&stop)))
    };
    while stats.nodes().live().is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    let collector =
        Collector::new(Arc::clone(&stats), CollectorSettings { beats_max: usize::MAX, ..Default::default() });
    let room = RoomKey::new(AppId::default(), RoomId::internal("final"));
    let mut bench = Bench {
        room: room.clone(),
        app: AppId::default(),
        hand,
        node,
        stats: Arc::clone(&stats),
        collector,
        ingest: Duration::ZERO,
        collect: Duration::ZERO,
        beats: 0,
        batch_max: Duration::ZERO,
        round_max: Duration::ZERO,
        rounds: Duration::ZERO,
    };
    let asking = Arc::new(AtomicBool::new(true));
    let asker = {
        let (stats, asking, room) = (Arc::clone(&stats), Arc::clone(&asking), room.clone());
        thread::spawn(move || ask(&stats, &room, &asking))
    };

    // Two minutes in which the room fills and finds its level, then the run.
    let per_second = users.div_ceil(WINDOW_S);
    let warm_up = 4 * WINDOW_S;
    for second in 0..warm_up {
        bench.second(second, per_second, 0..users)?;
    }
    (bench.ingest, bench.collect, bench.beats) = (Duration::ZERO, Duration::ZERO, 0);
    (bench.batch_max, bench.round_max, bench.rounds) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut error_max = 0;
    for second in warm_up..warm_up + seconds {
        bench.second(second, per_second, 0..users)?;
        error_max = error_max.max(bench.count().abs_diff(users));
    }
    let (ingest, collect, beats) = (bench.ingest, bench.collect, bench.beats);
    let (batch_max, round_max, rounds) = (bench.batch_max, bench.round_max, bench.rounds);
    let (window_bytes, names_bytes) = bench.node.bytes();
    let rss = resident()?.saturating_sub(before);
    let level = stats.room(&room).map_or(0, |(snapshot, _)| snapshot.layout.level);

    // Some poll once more, all in one second, and fall silent together; the others go on.
    let mut gone_after = None;
    let silent_from = warm_up + seconds;
    bench.polls(0..leave, silent_from)?;
    (bench.batch_max, bench.round_max) = (Duration::ZERO, Duration::ZERO);
    let mut before_last = users;
    for second in silent_from..silent_from + WINDOW_S + 20 {
        bench.second(second, per_second, leave..users)?;
        if bench.count() == users - leave && gone_after.is_none() {
            gone_after = Some(second - silent_from + 1);
        }
        if gone_after.is_none() {
            before_last = bench.count();
        }
    }
    let (expiry_batch_max, expiry_round_max) = (bench.batch_max, bench.round_max);
    let (swept_bytes, _) = bench.node.bytes();
    asking.store(false, Ordering::Relaxed);
    let (asked, p50, p99, p999) = asker.join().map_err(|_| "the asking thread failed")?;
    stop.cancel();
    following.join().map_err(|_| "the following thread failed")?;

    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let mib = |bytes: usize| bytes as f64 / 1_048_576.0;
    let a_user = |bytes: usize| bytes as f64 / users as f64;
    let mut text = String::new();
    writeln!(text, "users in the room                       {users}")?;
    writeln!(text, "level, splits                           {level}, {}", 1_u64 << level)?;
    writeln!(text, "heartbeats taken                        {beats} in {seconds} s of virtual time")?;
    writeln!(text, "heartbeats a core-second, statsvr       {:.0}", beats as f64 / ingest.as_secs_f64())?;
    writeln!(text, "ns of CPU a heartbeat, statsvr          {:.1}", ingest.as_nanos() as f64 / beats as f64)?;
    writeln!(
        text,
        "ns of CPU a heartbeat, collector        {:.1}",
        collect.as_nanos() as f64 / beats as f64
    )?;
    writeln!(text, "ms of CPU a second's round, mean        {:.1}", ms(rounds) / seconds as f64)?;
    writeln!(text, "longest round, longest batch (ms)       {:.1}, {:.1}", ms(round_max), ms(batch_max))?;
    writeln!(text, "online window, computed (MiB)           {:.1}", mib(window_bytes))?;
    writeln!(text, "bytes a user, computed                  {:.2}", a_user(window_bytes))?;
    writeln!(text, "names for the list, computed (MiB)      {:.1}", mib(names_bytes))?;
    writeln!(text, "resident, all of the process (MiB)      {:.1}", mib(rss))?;
    writeln!(text, "bytes a user, resident                  {:.2}", a_user(rss))?;
    writeln!(text, "error of num_users, largest             {error_max}")?;
    writeln!(text, "count queries asked meanwhile           {asked}")?;
    writeln!(
        text,
        "count query p50, p99, p99.9 (µs)        {:.2}, {:.2}, {:.2}",
        us(p50),
        us(p99),
        us(p999)
    )?;
    writeln!(text, "users who fell silent together          {leave}")?;
    writeln!(
        text,
        "their count was gone after (s)          {} (window {WINDOW_S} s), from {before_last} at once",
        gone_after.map_or_else(|| "never".to_owned(), |after| after.to_string())
    )?;
    writeln!(
        text,
        "longest round, batch meanwhile (ms)     {:.1}, {:.1}",
        ms(expiry_round_max),
        ms(expiry_batch_max)
    )?;
    writeln!(text, "online window 20 s after that (MiB)     {:.1}", mib(swept_bytes))?;
    Ok(text)
}

impl Bench {
    /// One second: the polls that fall into it, the batches made of them, and a round.
    fn second(
        &mut self,
        second: u64,
        per_second: u64,
        online: std::ops::Range<u64>,
    ) -> Result<(), Box<dyn Error>> {
        let first = (second % WINDOW_S) * per_second;
        self.polls(first.max(online.start)..(first + per_second).min(online.end), second)
    }

    /// A second in which these users poll.
    fn polls(&mut self, polls: std::ops::Range<u64>, second: u64) -> Result<(), Box<dyn Error>> {
        let start_ms = self.hand.load(Ordering::Relaxed);
        let count = polls.end.saturating_sub(polls.start);
        let visitors = polls.map(|number| Visitor {
            // What the hash of an id looks like; hashing belongs to the connection, not to the poll.
            user: UserHash(scatter(number)),
            device: DeviceHash(scatter(number.wrapping_mul(31)) as u32 | 1),
            id: None,
            role: Role::Viewer,
        });
        let visitors: Vec<Visitor> = visitors.collect();
        let begun = cpu();
        for (number, visitor) in (0_u64..).zip(&visitors) {
            let at_ms = start_ms + number * 1_000 / count.max(1);
            self.collector.seen(&self.room, visitor, Some(Seq(second)), at_ms);
        }
        self.hand.store(start_ms + 1_000, Ordering::Relaxed);
        let batches = self.collector.batches(start_ms + 1_000);
        self.collect += cpu() - begun;
        for (_, batch) in batches {
            self.beats += batch.num_beats() as u64;
            let (begun, begun_wall) = (cpu(), Instant::now());
            self.node.take(batch);
            self.ingest += cpu() - begun;
            self.batch_max = self.batch_max.max(begun_wall.elapsed());
        }
        let (begun, begun_wall) = (cpu(), Instant::now());
        self.node.round(&self.stats.nodes());
        self.rounds += cpu() - begun;
        self.round_max = self.round_max.max(begun_wall.elapsed());
        // The round's update is on its way to the snapshots; the next second must see its layout.
        let as_of_ms = start_ms + 1_000;
        let late = Instant::now() + Duration::from_secs(5);
        while self.stats.room(&self.room).is_none_or(|(_, seen_ms)| seen_ms < as_of_ms) {
            if Instant::now() > late {
                return Err(format!("no snapshot of {} as of {as_of_ms}", self.app).into());
            }
            thread::yield_now();
        }
        Ok(())
    }

    fn count(&self) -> u64 {
        self.stats.room(&self.room).map_or(0, |(snapshot, _)| snapshot.num_users)
    }
}

/// Asks for the count some 10,000 times a second; gives back how often, and how long it took.
fn ask(stats: &Stats, room: &RoomKey, asking: &AtomicBool) -> (usize, Duration, Duration, Duration) {
    let mut times = Vec::new();
    while asking.load(Ordering::Relaxed) {
        for _ in 0..10 {
            let begun = Instant::now();
            let seen = stats.room(room).map(|(snapshot, _)| snapshot.num_users);
            times.push(begun.elapsed());
            std::hint::black_box(seen);
        }
        thread::sleep(Duration::from_millis(1));
    }
    times.sort_unstable();
    let at = |part: f64| times[((times.len() as f64 * part) as usize).min(times.len() - 1)];
    (times.len(), at(0.5), at(0.99), at(0.999))
}

fn scatter(number: u64) -> u64 {
    let number = (number ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 29)
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Resident memory of this process (bytes).
fn resident() -> Result<usize, Box<dyn Error>> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split_whitespace().nth(1).ok_or("statm has too few fields")?.parse()?;
    Ok(pages * rustix::param::page_size())
}
