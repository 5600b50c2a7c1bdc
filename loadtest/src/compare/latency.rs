//! How old messages are when they arrive, at half of what a core can do, and whether that stays.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    Chapter, Figure, Outcome,
    parked::deliver,
    play::{MESSAGE_BYTES, Scenario, Stage},
    storm::milliseconds,
};
use crate::{
    client::{Behaviour, Crowd, histogram},
    mark::List,
    measure::Meter,
    peers::{Peer, Server},
    stats::Spread,
};

const VIEWERS: u32 = 1_000;
/// Share of a core that deliveries are to take.
const LOAD: f64 = 0.5;
/// Share of the messages that are priority.
const PRIORITY_SHARE: f64 = 0.1;
/// Messages that the cost of a delivery is measured over, after those that grow buffers.
const CALIBRATION: u32 = 40;
const WARM_UP: u32 = 5;
/// Parts of a run that are looked at by themselves; in thirds.
const SLICES: u32 = 9;
/// How long the last messages may take to the last viewer.
const LAST_TIMEOUT: Duration = Duration::from_secs(10);

/// Each server at half of its own core.
pub(super) fn scenario<'a>(stage: &'a Stage, peers: &[&'a dyn Peer]) -> Scenario<'a> {
    let time = stage.scale(stage.latency_time, Duration::from_secs(3));
    let story = format!(
        "{VIEWERS} viewers of one room who poll again at once, nobody held back. First {CALIBRATION} messages one after \
         the other tell what a delivery costs; then messages are sent at set times, so many a second that deliveries at \
         that cost take {:.0} % of a core, a tenth of them priority, for {time:?}. So each server has a rate of its own. \
         Ages count from when a message was due. The rise is that of the normal p99 from the first third of the time to \
         the last.",
        LOAD * 100.0
    );
    let play = move |peer: &dyn Peer, server: &Server| play(peer, server, time);
    Scenario::of_servers(Chapter::Latency, VIEWERS, peers, stage.start(), play)
        .told("ages at half of saturation", story)
}

fn play(peer: &dyn Peer, server: &Server, time: Duration) -> Result<Outcome> {
    let tree = server.process.tree();
    let mut crowd = Crowd::new(peer, server, Behaviour::Follow(Duration::ZERO), MESSAGE_BYTES)?;
    for _ in 0..VIEWERS {
        crowd.open()?;
    }
    deliver(&mut crowd, WARM_UP)?;
    let meter = Meter::start(tree)?;
    let delivered = deliver(&mut crowd, CALIBRATION)?.len();
    let cpu_s = meter.spent()?.server_cpu_s;
    ensure!(cpu_s > 0.0, "{CALIBRATION} messages took no time that can be counted");
    let rate = LOAD * delivered as f64 / cpu_s;

    crowd.set_rate(List::Normal, rate * (1.0 - PRIORITY_SHARE));
    crowd.set_rate(List::Priority, rate * PRIORITY_SHARE);
    crowd.take_tally();
    let late_before = crowd.late_sends();
    let memory_before = tree.pss_bytes()? as f64;
    let meter = Meter::start(tree)?;
    let mut ages = [histogram(), histogram()];
    let (mut received, mut p99s) = (0, Vec::new());
    for _ in 0..SLICES {
        crowd.run(time / SLICES, |_| false)?;
        let tally = crowd.take_tally();
        received += tally.received;
        p99s.push(milliseconds(&tally.ages[List::Normal.index()], 0.99));
        for (all, slice) in ages.iter_mut().zip(&tally.ages) {
            all.add(slice)?;
        }
    }
    let spent = meter.spent()?;
    let memory_after = tree.pss_bytes()? as f64;
    let late = crowd.late_sends() - late_before;
    crowd.set_rate(List::Normal, 0.0);
    crowd.set_rate(List::Priority, 0.0);
    crowd.run(LAST_TIMEOUT, Crowd::has_everything)?;
    let age_ms = |list: List, quantile: f64| milliseconds(&ages[list.index()], quantile);
    Ok(Outcome {
        figures: vec![
            (Figure::NormalAgeP50, age_ms(List::Normal, 0.5)),
            (Figure::NormalAgeP99, age_ms(List::Normal, 0.99)),
            (Figure::NormalAgeP999, age_ms(List::Normal, 0.999)),
            (Figure::PriorityAgeP50, age_ms(List::Priority, 0.5)),
            (Figure::PriorityAgeP99, age_ms(List::Priority, 0.99)),
            (Figure::PriorityAgeP999, age_ms(List::Priority, 0.999)),
            (Figure::MessagesPerSecond, rate),
            (Figure::CpuPerDelivery, spent.server_cpu_s * 1e6 / received as f64),
            (Figure::AgeDrift, rise_percent(&p99s)),
            (Figure::MemoryDrift, (memory_after / memory_before - 1.0) * 100.0),
            (Figure::LateSends, late as f64),
        ],
        spent: Some(spent),
        verdict: crowd.verdict(),
    })
}

/// How much higher the median of the last third is than that of the first (per cent); not a number without values.
fn rise_percent(values: &[f64]) -> f64 {
    let third = values.len() / 3;
    let median = |of: &[f64]| Spread::of(of.iter().copied()).map(|spread| spread.median);
    match (median(&values[..third]), median(&values[values.len() - third..])) {
        (Some(first), Some(last)) => (last / first - 1.0) * 100.0,
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rise_is_that_of_the_thirds_medians() {
        assert!(rise_percent(&[10.0; 9]).abs() < 1e-9);
        assert!((rise_percent(&[10.0, 90.0, 10.0, 0.0, 0.0, 0.0, 12.0, 12.0, 1.0]) - 20.0).abs() < 1e-9);
        assert!(rise_percent(&[1.0, 2.0]).is_nan());
    }
}
