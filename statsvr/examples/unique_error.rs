//! How far the count of unique viewers is off, beside HyperLogLog++ of the crate `hyperloglogplus`.
//!
//! `cargo run --release -p bigroom-statsvr --example unique_error > docs/benchmarks/unique.txt`, about a minute.
//! Every seed is a room of its own, with viewers of other names.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    hash::{BuildHasherDefault, Hasher},
    time::Instant,
};

use hyperloglogplus::{HyperLogLog, HyperLogLogPlus};
use room::{AppId, UserId};
use statsvr::{UniqueViewers, UserHash};

const SEEDS: u64 = 20;
const SIZES: [u64; 7] = [100, 1_000, 9_999, 10_001, 100_000, 1_000_000, 15_000_000];
const MANY_SEEDS: u64 = 2_000;
const MANY_SIZES: [u64; 6] = [10_001, 12_000, 20_000, 50_000, 100_000, 200_000];
/// Precisions of the crate to compare with.
const PRECISIONS: [u8; 3] = [14, 15, 16];

/// Gives keys to the crate as they are.
#[derive(Default)]
struct PassThrough(u64);

impl Hasher for PassThrough {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers")
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

type Crate = HyperLogLogPlus<u64, BuildHasherDefault<PassThrough>>;

/// Relative errors of one estimator at one size.
#[derive(Default, Clone)]
struct Errors(Vec<f64>);

impl Errors {
    fn push(&mut self, counted: f64, truth: u64) {
        self.0.push((counted / truth as f64 - 1.0) * 100.0);
    }

    fn row(&self) -> String {
        let count = self.0.len() as f64;
        let mean = self.0.iter().sum::<f64>() / count;
        let rms = (self.0.iter().map(|error| error * error).sum::<f64>() / count).sqrt();
        let worst = self.0.iter().map(|error| error.abs()).fold(0.0, f64::max);
        let within = self.0.iter().filter(|error| error.abs() <= 1.22).count();
        format!(
            "mean {mean:+8.4} %  rms {rms:7.4} %  worst {worst:7.4} %  within 1.22 %: {within} of {count}"
        )
    }
}

fn key(app: &AppId, seed: u64, viewer: u64) -> u64 {
    UserHash::new(app, &UserId::internal(&format!("u{seed}-{viewer}"))).unique_key()
}

fn main() {
    let began = Instant::now();
    let app = AppId::default();
    let mut ours = vec![Errors::default(); SIZES.len()];
    let mut others = vec![vec![Errors::default(); SIZES.len()]; PRECISIONS.len()];
    let mut is_exact = vec![true; SIZES.len()];
    for seed in 0..SEEDS {
        let mut viewers = UniqueViewers::new();
        let mut crates: Vec<Crate> = PRECISIONS
            .into_iter()
            .map(|precision| {
                Crate::new(precision, BuildHasherDefault::default()).expect("a precision it has")
            })
            .collect();
        let mut come = 0;
        for (at, size) in SIZES.into_iter().enumerate() {
            for viewer in come..size {
                let key = key(&app, seed, viewer);
                viewers.insert(key);
                crates.iter_mut().for_each(|sketch| sketch.insert_any(&key));
            }
            come = size;
            let counted = viewers.count();
            is_exact[at] &= counted.error == 0.0;
            ours[at].push(counted.count as f64, size);
            for (errors, sketch) in others.iter_mut().zip(&mut crates) {
                errors[at].push(sketch.count(), size);
            }
        }
    }
    println!("{SEEDS} seeds a size; errors relative to the truth\n");
    println!(
        "bigroom: exact table to 10,000, then 65,536 registers (p = 16), Ertl's estimate, anchored at the switch"
    );
    for (at, size) in SIZES.into_iter().enumerate() {
        println!("{size:>10}  {:6}  {}", if is_exact[at] { "exact" } else { "sketch" }, ours[at].row());
    }
    for (precision, errors) in PRECISIONS.into_iter().zip(&others) {
        println!("\nhyperloglogplus 0.4.1, p = {precision}");
        for (at, size) in SIZES.into_iter().enumerate() {
            println!("{size:>10}          {}", errors[at].row());
        }
    }
    println!("\nbigroom, {MANY_SEEDS} seeds a size");
    let mut many = vec![Errors::default(); MANY_SIZES.len()];
    for seed in 0..MANY_SEEDS {
        let mut viewers = UniqueViewers::new();
        let mut come = 0;
        for (at, size) in MANY_SIZES.into_iter().enumerate() {
            (come..size).for_each(|viewer| {
                viewers.insert(key(&app, SEEDS + seed, viewer));
            });
            come = size;
            many[at].push(viewers.count().count as f64, size);
        }
    }
    for (at, size) in MANY_SIZES.into_iter().enumerate() {
        println!("{size:>10}          {}", many[at].row());
    }
    cost(&app);
    eprintln!("took {:.1} s", began.elapsed().as_secs_f64());
}

/// What the two cost once they are sketches of a million viewers: nanoseconds a call, one thread.
fn cost(app: &AppId) {
    const CALLS: u32 = 200;
    let keys: Vec<u64> = (0..1_000_000).map(|viewer| key(app, u64::MAX, viewer)).collect();
    let per = |began: Instant, calls: usize| began.elapsed().as_nanos() as f64 / calls as f64;
    let mut viewers = UniqueViewers::new();
    keys.iter().for_each(|key| {
        viewers.insert(*key);
    });
    let mut sketch = Crate::new(16, BuildHasherDefault::default()).expect("a precision it has");
    keys.iter().for_each(|key| sketch.insert_any(key));

    println!("\ncost in nanoseconds a call at 1,000,000 viewers (bigroom, hyperloglogplus p = 16)");
    let began = Instant::now();
    keys.iter().for_each(|key| {
        viewers.insert(*key);
    });
    let ours = per(began, keys.len());
    let began = Instant::now();
    keys.iter().for_each(|key| sketch.insert_any(key));
    println!("{:>10}  {ours:12.1}  {:12.1}", "insert", per(began, keys.len()));

    let began = Instant::now();
    (0..CALLS).for_each(|_| assert!(std::hint::black_box(&viewers).count().count > 0));
    let ours = per(began, CALLS as usize);
    let began = Instant::now();
    (0..CALLS).for_each(|_| assert!(std::hint::black_box(&mut sketch).count() > 0.0));
    println!("{:>10}  {ours:12.1}  {:12.1}", "count", per(began, CALLS as usize));

    let (other, other_sketch) = (viewers.clone(), sketch.clone());
    let began = Instant::now();
    (0..CALLS).for_each(|_| {
        std::hint::black_box(&mut viewers).merge(&other);
    });
    let ours = per(began, CALLS as usize);
    let began = Instant::now();
    (0..CALLS)
        .for_each(|_| std::hint::black_box(&mut sketch).merge(&other_sketch).expect("of one precision"));
    println!("{:>10}  {ours:12.1}  {:12.1}", "merge", per(began, CALLS as usize));

    let bytes = viewers.encode();
    let began = Instant::now();
    (0..CALLS).for_each(|_| assert!(UniqueViewers::decode(&bytes).is_ok()));
    println!(
        "{:>10}  {:12.1}  (with all checks; {} bytes)",
        "decode",
        per(began, CALLS as usize),
        bytes.len()
    );
}
