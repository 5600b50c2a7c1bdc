//! Controller and workers in one process, over real sockets, with players that are told what to do.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use tokio::{net::TcpListener, sync::oneshot};

use super::{
    access::Secret,
    control::Workers,
    played::Played,
    session::Player,
    worker::{Terms, serve_on},
};
use crate::{
    mark::List,
    profile::{Expect, Profile},
    run::{RunOutcome, RunPlan, Sample, ServerSample, Target},
};

/// A worker on a thread of its own; gone, with all its connections, when it is dropped.
struct TestWorker {
    address: SocketAddr,
    kill: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<bool>>,
}

impl TestWorker {
    fn start(terms: Terms, player: Player) -> Self {
        let (kill, killed) = oneshot::channel();
        let (told, address) = mpsc::sync_channel(8);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let has_ended = runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    ended = serve_on(listener, terms, player, std::future::pending()) => ended.is_ok(),
                    _ = killed => false,
                }
            });
            // As if the process were killed: nothing is said, every socket closes.
            runtime.shutdown_background();
            has_ended
        });
        Self { address: address.recv().unwrap(), kill: Some(kill), thread: Some(thread) }
    }

    /// Waits until it ends by itself.
    fn has_ended(mut self) -> bool {
        let _kill = self.kill.take();
        self.thread.take().unwrap().join().unwrap()
    }

    fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            let _ = kill.send(());
        }
    }
}

impl Drop for TestWorker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn terms() -> Terms {
    Terms { secret: Secret::read(None).unwrap(), allow_remote: false, once: false }
}

fn workers(of: &[&TestWorker]) -> Workers {
    Workers {
        addresses: of.iter().map(|worker| worker.address).collect(),
        secret: Secret::read(None).unwrap(),
        allow_remote: false,
    }
}

fn plan(clients: u32) -> RunPlan {
    let text =
        format!("name = \"t\"\nstory = \"A test.\"\nduration = \"5s\"\n[clients]\ncount = {clients}\n");
    let profile = Profile::parse(&text).unwrap();
    RunPlan {
        run_id: "test".to_owned(),
        clients: 0..clients,
        profile,
        targets: vec![target([127, 0, 0, 1])],
        ops: Vec::new(),
        server_pid: None,
        sends: true,
        probes: true,
        watches: true,
        shows_progress: true,
        threads: 1,
        start_at_unix_ms: 0,
        seed: 1,
        token: None,
        viewer_tokens: Vec::new(),
        allow_remote: false,
    }
}

fn target(ip: [u8; 4]) -> Target {
    Target { authority: "target".to_owned(), address: (ip, 80).into() }
}

/// What a share of this plan comes to, with a message from the sender.
fn share_of(plan: &RunPlan) -> RunOutcome {
    let mut outcome = RunOutcome { peak_connected: plan.clients.len() as u64, ..RunOutcome::default() };
    for at_s in 0..3 {
        outcome.samples.push(Sample { at_s, connected: plan.clients.len() as u64, ..Sample::default() });
    }
    if plan.sends {
        outcome.facts.sent = [0, 1];
        outcome.totals.acknowledged = [0, 1];
        assert!(outcome.facts.room(0)[List::Normal.index()].acknowledged.note(7, 0));
    }
    outcome.facts.room(0)[List::Normal.index()].ends.insert(8, plan.clients.len() as u64);
    outcome
}

/// Plays at once.
fn quick() -> Player {
    Arc::new(|plan, _, on_second| {
        let outcome = share_of(plan);
        outcome.samples.iter().for_each(on_second);
        Ok(outcome)
    })
}

/// Tells one second, then plays until it is stopped; tells over the channel that it began, and that it was stopped.
fn endless(told: mpsc::SyncSender<&'static str>) -> Player {
    let told = shared(told);
    Arc::new(move |plan, stop, on_second| {
        on_second(&Sample::default());
        told("began");
        while !stop.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        told("stopped");
        Ok(RunOutcome { is_cut_short: true, ..share_of(plan) })
    })
}

/// A sender that several threads may use.
fn shared(told: mpsc::SyncSender<&'static str>) -> impl Fn(&'static str) + Send + Sync {
    let told = std::sync::Mutex::new(told);
    move |word| {
        let _ = told.lock().unwrap().send(word);
    }
}

fn play(workers: &Workers, plan: &mut RunPlan) -> anyhow::Result<Played> {
    workers.play(plan, &AtomicBool::new(false), &mut |_| {})
}

fn refusal(workers: &Workers, plan: &mut RunPlan) -> String {
    format!("{:#}", play(workers, plan).unwrap_err())
}

#[test]
fn shares_of_three_workers_are_one_run() {
    let three = [(); 3].map(|()| TestWorker::start(terms(), quick()));
    let workers = workers(&three.each_ref());
    let mut plan = plan(100);
    let mut seconds = Vec::new();
    let played = workers
        .play(&mut plan, &AtomicBool::new(false), &mut |second| seconds.push((second.at_s, second.connected)))
        .unwrap();
    assert_eq!(seconds, [(0, 100), (1, 100), (2, 100)], "each second once, of all workers");
    assert_eq!(played.outcome.peak_connected, 100);
    assert_eq!(played.workers.len(), 3);
    let verdict = played.verdict(&Expect::default());
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!(verdict.acknowledged, [0, 1]);
    assert!(plan.start_at_unix_ms > 0);

    // They are there for the next one.
    assert!(play(&workers, &mut plan).unwrap().verdict(&Expect::default()).is_clean());
}

#[test]
fn message_that_readers_of_another_worker_missed_is_lost() {
    let forgetful: Player = Arc::new(|plan, _, _| {
        let mut outcome = share_of(plan);
        outcome.facts.room(0)[List::Normal.index()].ends = [(7, 5)].into();
        Ok(outcome)
    });
    let (sender, readers) = (TestWorker::start(terms(), quick()), TestWorker::start(terms(), forgetful));
    let played = play(&workers(&[&sender, &readers]), &mut plan(10)).unwrap();
    let verdict = played.verdict(&Expect::default());
    assert_eq!(verdict.lost, [0, 5], "five readers never got what the other worker's sender sent");
    assert!(!verdict.is_clean());
}

#[test]
fn lost_worker_ends_the_run_on_all_and_fails_it() {
    let (told, words) = mpsc::sync_channel(8);
    let stays = TestWorker::start(terms(), endless(told.clone()));
    let mut dies = TestWorker::start(terms(), endless(told));
    let workers = workers(&[&stays, &dies]);
    let address = dies.address;
    let killer = thread::spawn(move || {
        assert_eq!((words.recv().unwrap(), words.recv().unwrap()), ("began", "began"));
        dies.kill();
        dies
    });
    let began = Instant::now();
    let played = play(&workers, &mut plan(10)).unwrap();
    assert!(began.elapsed() < super::SILENCE_MAX, "a death is noticed, not waited for");
    drop(killer.join().unwrap());
    let verdict = played.verdict(&Expect { silence: true, ..Expect::default() });
    assert!(verdict.findings[0].what.starts_with(&format!("worker {address} was lost")), "{verdict:?}");
    assert!(played.outcome.is_cut_short);
    assert_eq!(played.outcome.peak_connected, 5, "what the other one yielded is there");
}

#[test]
fn worker_that_lost_its_controller_stops_and_takes_the_next_run() {
    let (told, words) = mpsc::sync_channel(8);
    let worker = TestWorker::start(terms(), endless(told));
    let workers = workers(&[&worker]);
    // A controller that dies: its runtime is gone in the middle of the run.
    let dying = workers.clone();
    let controller = thread::spawn(move || {
        let stop = AtomicBool::new(false);
        let dies = std::panic::AssertUnwindSafe(|| {
            dying.play(&mut plan(10), &stop, &mut |_| std::panic::resume_unwind(Box::new("killed")))
        });
        std::panic::catch_unwind(dies).is_err()
    });
    assert!(controller.join().unwrap());
    assert_eq!(
        (words.recv_timeout(super::SILENCE_MAX), words.recv_timeout(super::SILENCE_MAX)),
        (Ok("began"), Ok("stopped"))
    );

    let stop = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        // The worker may need a moment to put the old run away.
        match workers.play(&mut plan(10), &stop, &mut |_| stop.store(true, Ordering::Relaxed)) {
            Ok(played) => break assert!(played.outcome.is_cut_short && played.lost.is_empty(), "{played:?}"),
            Err(error) => assert!(Instant::now() < deadline, "{error:#}"),
        }
        thread::yield_now();
    }
}

#[test]
fn run_that_is_stopped_hands_over_what_there_is() {
    let (told, words) = mpsc::sync_channel(8);
    let two = [told.clone(), told].map(|told| TestWorker::start(terms(), endless(told)));
    let stop = AtomicBool::new(false);
    let played = workers(&two.each_ref())
        .play(&mut plan(10), &stop, &mut |_| stop.store(true, Ordering::Relaxed))
        .unwrap();
    assert!(played.lost.is_empty() && played.outcome.is_cut_short);
    assert_eq!(played.outcome.peak_connected, 10);
    assert_eq!(words.iter().take(4).filter(|word| *word == "stopped").count(), 2);
}

#[test]
fn worker_whose_share_fails_says_why() {
    let fails: Player = Arc::new(|_, _, _| anyhow::bail!("the target is gone"));
    let worker = TestWorker::start(terms(), fails);
    let played = play(&workers(&[&worker]), &mut plan(1)).unwrap();
    let verdict = played.verdict(&Expect::default());
    assert!(verdict.findings[0].what.contains("the target is gone"), "{verdict:?}");
    assert_eq!(verdict.findings.len(), 1, "without the sender's share, nothing else can be said");
}

#[test]
fn share_that_panics_is_a_lost_worker() {
    let panics: Player = Arc::new(|_, _, _| std::panic::resume_unwind(Box::new("broken")));
    let worker = TestWorker::start(terms(), panics);
    let played = play(&workers(&[&worker]), &mut plan(1)).unwrap();
    assert!(!played.verdict(&Expect { silence: true, ..Expect::default() }).is_clean());
}

#[test]
fn worker_for_one_run_ends_after_it() {
    let worker = TestWorker::start(Terms { once: true, ..terms() }, quick());
    assert!(play(&workers(&[&worker]), &mut plan(1)).unwrap().lost.is_empty());
    assert!(worker.has_ended());
}

#[test]
fn worker_plays_one_run_at_a_time() {
    let (told, words) = mpsc::sync_channel(8);
    let worker = TestWorker::start(terms(), endless(told));
    let workers = workers(&[&worker]);
    let stop = Arc::new(AtomicBool::new(false));
    let (first, first_stop) = (workers.clone(), stop.clone());
    let first = thread::spawn(move || first.play(&mut plan(10), &first_stop, &mut |_| {}).unwrap());
    assert_eq!(words.recv().unwrap(), "began");
    assert!(refusal(&workers, &mut plan(10)).contains("a run is under way here"));
    stop.store(true, Ordering::Relaxed);
    assert!(first.join().unwrap().lost.is_empty());
}

#[test]
fn workers_and_targets_elsewhere_are_refused() {
    let worker = TestWorker::start(terms(), quick());
    let mut elsewhere = workers(&[&worker]);
    elsewhere.addresses.push(([192, 0, 2, 1], 80).into());
    assert!(refusal(&elsewhere, &mut plan(10)).contains("--allow-remote"));

    // Whatever the controller allows, the worker asks for its own permission.
    let mut far = RunPlan { targets: vec![target([192, 0, 2, 1])], allow_remote: true, ..plan(10) };
    let told = refusal(&workers(&[&worker]), &mut far);
    assert!(told.contains(&worker.address.to_string()) && told.contains("--allow-remote"), "{told}");
    let mut far = RunPlan { ops: vec![target([192, 0, 2, 1])], ..plan(10) };
    assert!(refusal(&workers(&[&worker]), &mut far).contains("--allow-remote"));
    let allowed = TestWorker::start(Terms { allow_remote: true, ..terms() }, quick());
    assert!(play(&workers(&[&allowed]), &mut far).is_ok());
}

#[test]
fn run_does_not_start_without_all_workers() {
    let worker = TestWorker::start(terms(), Arc::new(|_, _, _| unreachable!("nothing starts")));
    let mut gone = TestWorker::start(terms(), quick());
    gone.kill();
    let address = gone.address;
    assert!(!gone.has_ended());
    let two = Workers { addresses: vec![worker.address, address], ..workers(&[&worker]) };
    assert!(refusal(&two, &mut plan(10)).contains(&format!("prepare worker {address}: connect")));
    let twice = Workers { addresses: vec![worker.address; 2], ..workers(&[&worker]) };
    assert!(refusal(&twice, &mut plan(10)).contains("named twice"));
    let none = Workers { addresses: Vec::new(), ..workers(&[&worker]) };
    assert!(refusal(&none, &mut plan(10)).contains("0 workers"));
}

#[test]
fn share_beyond_the_open_files_is_refused_with_advice() {
    let worker = TestWorker::start(terms(), quick());
    // More than any system lets one process open.
    assert!(refusal(&workers(&[&worker]), &mut plan(10_000_000)).contains("--processes"));
}

#[test]
fn worker_with_a_secret_wants_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789abcdef").unwrap();
    let secret = Secret::read(Some(file.path())).unwrap();
    let worker = TestWorker::start(Terms { secret: secret.clone(), ..terms() }, quick());
    let without = workers(&[&worker]);
    assert!(refusal(&without, &mut plan(10)).contains("the secret is missing"));
    assert!(play(&Workers { secret, ..without }, &mut plan(10)).is_ok());
}

#[test]
fn silent_port_is_no_worker() {
    // Takes connections, and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let workers = Workers {
        addresses: vec![silent.local_addr().unwrap()],
        secret: Secret::read(None).unwrap(),
        allow_remote: false,
    };
    let began = Instant::now();
    assert!(refusal(&workers, &mut plan(10)).contains("prepare worker"));
    assert!(began.elapsed() < super::SILENCE_MAX);
}

/// A share of a run: a few seconds, latencies, errors, facts about a few messages. Times are halves of powers of two, so that
/// adding them in another order gives the same.
fn any_outcome() -> impl Strategy<Value = RunOutcome> {
    let second = (0_u32..6, 0_u64..100, 0_u64..5, prop::option::of(0_u64..50), "[a-c]");
    let numbers = prop::collection::vec((1_u64..12, 0_u64..5, any::<bool>()), 0..6);
    (prop::collection::vec(second, 0..6), numbers, any::<bool>()).prop_map(
        |(seconds, numbers, is_cut_short)| {
            let mut outcome = RunOutcome { is_cut_short, ..RunOutcome::default() };
            for (at_s, connected, errors, users, error) in seconds {
                let mut sample = Sample { at_s, connected, server_users: users, ..Sample::default() };
                sample.counters.received = [connected, errors];
                sample.counters.add_error(&error, errors);
                sample.client_cpu_s = errors as f64 * 0.25;
                sample.server = users.map(|users| ServerSample {
                    cpu_s: Some(0.5),
                    memory_bytes: Some(users),
                    pressure_step: (users % 2 == 0).then_some(users),
                    ..ServerSample::default()
                });
                outcome.totals.merge(&sample.counters);
                let one = RunOutcome { samples: vec![sample], ..RunOutcome::default() };
                outcome.merge(&one);
            }
            for (seq, readers, was_seen) in numbers {
                let list = &mut outcome.facts.room((seq % 2) as u32)[List::Normal.index()];
                // One message a sequence number, as a server that does not lie has it.
                let numbers = if was_seen { &mut list.seen } else { &mut list.acknowledged };
                assert!(numbers.note(seq, seq as u32));
                *list.ends.entry(seq).or_default() += readers;
                outcome.facts.oddities.lost[0] += readers;
            }
            outcome
        },
    )
}

fn merged<'o>(outcomes: impl IntoIterator<Item = &'o RunOutcome>) -> RunOutcome {
    let mut all = RunOutcome::default();
    outcomes.into_iter().for_each(|outcome| all.merge(outcome));
    all
}

proptest! {
    #[test]
    fn merging_does_not_depend_on_order_or_grouping(a in any_outcome(), b in any_outcome(), c in any_outcome()) {
        let forth = merged([&a, &b, &c]);
        prop_assert_eq!(&forth, &merged([&c, &a, &b]));
        prop_assert_eq!(&forth, &merged([&a, &merged([&b, &c])]));
        prop_assert_eq!(&merged([&a]), &a, "nothing adds nothing");
        prop_assert_eq!(merged([&a, &b, &c]).totals.errors_all(), [&a, &b, &c].map(|one| one.totals.errors_all()).iter().sum::<u64>());
    }

    #[test]
    fn outcome_is_the_same_on_the_other_side(a in any_outcome()) {
        let there: RunOutcome = serde_json::from_slice(&serde_json::to_vec(&a).unwrap()).unwrap();
        prop_assert_eq!(there, a);
    }

    #[test]
    fn shares_have_every_client_once_and_one_sender(clients in 1_u32..5_000, parts in 1_u32..40) {
        let plan = plan(clients);
        let shares = plan.split(parts);
        prop_assert_eq!(shares.len(), parts as usize);
        let mut next = 0;
        for share in &shares {
            prop_assert_eq!(share.clients.start, next);
            next = share.clients.end;
        }
        prop_assert_eq!(next, clients);
        let sizes: Vec<_> = shares.iter().map(|share| share.clients.len()).collect();
        prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{:?}", sizes);
        prop_assert_eq!(shares.iter().filter(|share| share.sends || share.probes || share.watches).count(), 1);
        prop_assert!(shares[0].sends && shares[0].probes && shares[0].watches);
    }
}
