//! How costs grow: with the viewers of a room, with rooms, with messages and their size, with senders.
//!
//! Each point is a scenario of its own, so that a repeat goes once through all of them.

use std::time::Duration;

use serde::Serialize;

use super::{
    Chapter, Figure,
    parked::Parked,
    play::{MESSAGE_BYTES, Scenario, Stage},
    runs::{Cell, Runs},
    sends, slope,
    storm::{PAUSE, Storm},
};
use crate::{
    mark::MARK_BYTES,
    peers::Peer,
    report::plot::{Axis, Chart, Series, Shape},
    stats::Spread,
};

/// Begins the name of every point.
const NAME_BEFORE: &str = "growth, ";
/// Viewers of one room.
const VIEWERS: [u32; 6] = [100, 300, 1_000, 3_000, 10_000, 18_000];
/// Rooms in all; one of them is written to, so there are two at least.
const ROOMS: [u32; 5] = [2, 10, 100, 1_000, 10_000];
/// Viewers of the room that is written to, and of all the others together.
const ROOM_VIEWERS: u32 = 1_000;
const ELSEWHERE_VIEWERS: u32 = 10_000;
/// How long rooms are there before the first message: longer than the statistics take to write of them for the first time, 5 s.
const SETTLE: Duration = Duration::from_secs(7);
/// Messages a second.
const RATES: [u32; 4] = [1, 10, 100, 1_000];
const RATE_VIEWERS: u32 = 500;
/// Bytes of a message.
const SIZES: [u32; 6] = [30, 100, 300, 1_000, 4_000, 15_000];
const SENDERS: [u32; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
/// Deliveries that a point is measured over, about.
const DELIVERIES: u32 = 150_000;

/// What grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Grown {
    Viewers,
    Rooms,
    Rate,
    Size,
    Senders,
}

impl Grown {
    const ALL: [Self; 5] = [Self::Viewers, Self::Rooms, Self::Rate, Self::Size, Self::Senders];

    fn points(self) -> &'static [u32] {
        match self {
            Self::Viewers => &VIEWERS,
            Self::Rooms => &ROOMS,
            Self::Rate => &RATES,
            Self::Size => &SIZES,
            Self::Senders => &SENDERS,
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::Viewers => "viewers",
            Self::Rooms => "rooms",
            Self::Rate => "rate",
            Self::Size => "size",
            Self::Senders => "senders",
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Viewers => "viewers of the room",
            Self::Rooms => "rooms",
            Self::Rate => "messages a second",
            Self::Size => "bytes of a message",
            Self::Senders => "senders at a time",
        }
    }

    /// What is plotted against it.
    fn figures(self) -> &'static [Figure] {
        match self {
            Self::Viewers | Self::Rate | Self::Size => &[Figure::CpuPerDelivery],
            Self::Rooms => &[Figure::CpuPerDelivery, Figure::CpuPerArrival],
            Self::Senders => &[Figure::CpuPerSend],
        }
    }

    /// Names one of its plots in file names.
    fn plot_name(self, figure: Figure) -> &'static str {
        match (self, figure) {
            (Self::Rooms, Figure::CpuPerArrival) => "arrivals",
            _ => self.key(),
        }
    }

    /// Every axis with each of its figures.
    fn all_plots() -> impl Iterator<Item = (Self, Figure)> {
        Self::ALL.into_iter().flat_map(|axis| axis.figures().iter().map(move |&figure| (axis, figure)))
    }

    fn scenario_name(self, point: u32) -> String {
        format!("{NAME_BEFORE}{point} {}", self.label())
    }

    fn story(self) -> String {
        match self {
            Self::Viewers => "One room whose viewers all have a parked poll; one message after the other.".to_owned(),
            Self::Rooms => format!(
                "A room of {ROOM_VIEWERS} viewers that is written to, as above, while {ELSEWHERE_VIEWERS} more are \
                 parked in the other rooms. All are there for {SETTLE:?} before the first message; what the server does \
                 until then is what it takes to let a viewer in, and a room begin."
            ),
            Self::Rate => format!(
                "{RATE_VIEWERS} viewers that pause {PAUSE:?} between polls, as in the storm. More messages share an \
                 answer, so a message gets cheaper."
            ),
            Self::Size => format!("{ROOM_VIEWERS} parked polls of one room; {MARK_BYTES} bytes of a message are its mark."),
            Self::Senders => {
                "Durable sends over HTTP, each sender sending when its last message is acknowledged; client and server \
                 share all cores. More senders share a sync."
                    .to_owned()
            }
        }
    }

    fn scenario<'a>(
        self,
        stage: &'a Stage,
        all: &[&'a dyn Peer],
        ours: &[&'a dyn Peer],
        point: u32,
    ) -> Scenario<'a> {
        let messages = |viewers: u32| stage.scale((DELIVERIES / viewers).clamp(8, 300), 5);
        let scenario = match self {
            Self::Viewers => {
                Parked::room_of(point, messages(point)).scenario(Chapter::Growth, all, stage.start())
            }
            Self::Rooms => {
                let room = Parked::room_of(ROOM_VIEWERS, messages(ROOM_VIEWERS));
                let settle = stage.scale(SETTLE, Duration::from_millis(500));
                Parked {
                    elsewhere: ELSEWHERE_VIEWERS,
                    rooms_elsewhere: point - 1,
                    settle: Some(settle),
                    ..room
                }
                .scenario(Chapter::Growth, ours, stage.start())
            }
            Self::Rate => {
                let storm = Storm {
                    viewers: RATE_VIEWERS,
                    rate: f64::from(point),
                    priority_rate: 0.0,
                    message_bytes: MESSAGE_BYTES,
                    pause: PAUSE,
                    arrival: PAUSE,
                    // At one a second, ticks of the clock that counts processor time are a tenth of what is spent.
                    time: stage
                        .scale(Duration::from_secs(if point < 10 { 20 } else { 6 }), Duration::from_secs(2)),
                };
                storm.scenario(Chapter::Growth, all, stage.start())
            }
            Self::Size => {
                let room = Parked::room_of(ROOM_VIEWERS, messages(ROOM_VIEWERS) / 2);
                Parked { message_bytes: point as usize, ..room }.scenario(Chapter::Growth, all, stage.start())
            }
            Self::Senders => {
                let time = stage.scale(Duration::from_secs(3), Duration::from_secs(1));
                sends::of_server(stage, Chapter::Growth, ours, point, time)
            }
        };
        scenario.told(self.scenario_name(point), self.story())
    }
}

/// All points of all axes.
pub(super) fn scenarios<'a>(
    stage: &'a Stage,
    all: &[&'a dyn Peer],
    ours: &[&'a dyn Peer],
) -> Vec<Scenario<'a>> {
    Grown::ALL
        .into_iter()
        .flat_map(|axis| axis.points().iter().map(move |&point| axis.scenario(stage, all, ours, point)))
        .filter(|scenario| !scenario.contenders.is_empty())
        .collect()
}

/// The scenarios at both ends of the axes along which a delivery is to cost the same.
pub(super) fn extremes() -> Vec<(String, String)> {
    [Grown::Viewers, Grown::Rooms]
        .into_iter()
        .filter_map(|axis| {
            let points = axis.points();
            Some((axis.scenario_name(*points.first()?), axis.scenario_name(*points.last()?)))
        })
        .collect()
}

/// How one contender's figure grew along an axis.
#[derive(Serialize, Debug)]
pub(crate) struct Growth {
    /// Names the axis in file names.
    pub(crate) axis: &'static str,
    /// What grows, in words.
    pub(crate) label: &'static str,
    pub(crate) contender: &'static str,
    #[serde(serialize_with = "as_key")]
    pub(crate) figure: Figure,
    /// Place on the axis, and what the repeats gave there.
    pub(crate) points: Vec<(u32, Spread)>,
    /// Exponent of the nearest power law: 0 is flat, 1 proportional.
    pub(crate) exponent: Option<f64>,
    /// The last place's value to the first's, repeat by repeat.
    pub(crate) last_to_first: Option<Spread>,
}

impl Growth {
    /// A sentence about it.
    pub(crate) fn sentence(&self) -> String {
        let Some(exponent) = self.exponent else { return format!("{}: too few points", self.contender) };
        // What tenfold of the axis does to the figure.
        let tenfold = (10_f64.powf(exponent) - 1.0) * 100.0;
        let ends = self.last_to_first.map_or(String::new(), |ratio| {
            format!("; last to first {:.2} ({:.2} to {:.2})", ratio.median, ratio.min, ratio.max)
        });
        format!("{}: slope {exponent:+.3}, {tenfold:+.0} % a tenfold{ends}", self.contender)
    }
}

fn as_key<S: serde::Serializer>(figure: &Figure, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(figure.key())
}

/// Whether a scenario is a point of an axis.
pub(crate) fn has_point(scenario: &str) -> bool {
    scenario.starts_with(NAME_BEFORE)
}

/// Follows all axes that were played.
pub(crate) fn of_runs(runs: &Runs) -> Vec<Growth> {
    let mut growths = Vec::new();
    for (axis, figure) in Grown::all_plots() {
        let names: Vec<(u32, String)> =
            axis.points().iter().map(|&point| (point, axis.scenario_name(point))).collect();
        for contender in runs.contenders(|run| names.iter().any(|(_, name)| *name == run.scenario)) {
            let played: Vec<(u32, &str, Spread)> = names
                .iter()
                .filter_map(|(point, name)| {
                    Some((*point, name.as_str(), runs.spread(name, contender, figure)?))
                })
                .collect();
            if played.is_empty() {
                continue;
            }
            let medians: Vec<(f64, f64)> =
                played.iter().map(|(point, _, spread)| (f64::from(*point), spread.median)).collect();
            let cell = |scenario| Cell { scenario, contender, figure };
            let ends = played.first().zip(played.last());
            growths.push(Growth {
                axis: axis.plot_name(figure),
                label: axis.label(),
                contender,
                figure,
                exponent: slope::exponent(&medians),
                last_to_first: ends.and_then(|(first, last)| runs.ratio(cell(last.1), cell(first.1))),
                points: played.into_iter().map(|(point, _, spread)| (point, spread)).collect(),
            });
        }
    }
    growths
}

/// A plot for each axis that was played, and each of its figures: its name, and the SVG.
pub(crate) fn plots(growths: &[Growth]) -> Vec<(&'static str, String)> {
    let plot = |(axis, figure): (Grown, Figure)| {
        let name = axis.plot_name(figure);
        let of_axis: Vec<&Growth> = growths.iter().filter(|growth| growth.axis == name).collect();
        let series = of_axis.iter().map(|growth| {
            let points = growth.points.iter().map(|(point, spread)| (f64::from(*point), *spread)).collect();
            Series { name: growth.contender.to_owned(), shape: Shape::Spreads(points) }
        });
        let label = format!("{} ({})", figure.title(), figure.unit());
        let title = format!("{} against {}", figure.title(), axis.label());
        let mut chart = Chart::new(title, Axis::log(axis.label()), Axis::linear(label), series.collect());
        if let Some(ours) = of_axis.first() {
            chart.remark = ours.sentence();
        }
        (!chart.is_empty()).then(|| (name, chart.svg_file()))
    };
    Grown::all_plots().filter_map(plot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::Verdict,
        compare::{Outcome, Run},
    };

    fn runs(axis: Grown, value: impl Fn(u32) -> f64) -> Runs {
        let run = |&point: &u32| {
            let figures = axis.figures().iter().map(|&figure| (figure, value(point))).collect();
            let outcome = Outcome { figures, spent: None, verdict: Verdict::default() };
            Run { scenario: axis.scenario_name(point), contender: "bigroom", repeat: 0, outcome }
        };
        Runs(axis.points().iter().map(run).collect())
    }

    #[test]
    fn growth_is_followed_from_the_first_to_the_last_place() {
        let growths = of_runs(&runs(Grown::Viewers, |viewers| f64::from(viewers).powf(0.1)));
        let [growth] = &growths[..] else { panic!("{growths:?}") };
        assert_eq!(growth.points.len(), VIEWERS.len());
        assert!((growth.exponent.unwrap() - 0.1).abs() < 1e-9);
        assert!((growth.last_to_first.unwrap().median - 180_f64.powf(0.1)).abs() < 1e-9);
        assert!(growth.sentence().contains("slope +0.100, +26 % a tenfold"), "{}", growth.sentence());
    }

    #[test]
    fn rooms_have_a_plot_for_deliveries_and_one_for_arrivals() {
        let growths = of_runs(&runs(Grown::Rooms, f64::from));
        assert_eq!(growths.iter().map(|growth| growth.axis).collect::<Vec<_>>(), ["rooms", "arrivals"]);
        assert_eq!(plots(&growths).iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["rooms", "arrivals"]);
    }

    #[test]
    fn every_axis_that_was_played_has_a_plot() {
        let growths = of_runs(&runs(Grown::Senders, |senders| 300.0 / f64::from(senders)));
        let plots = plots(&growths);
        assert_eq!(plots.len(), 1);
        assert!(
            plots[0].0 == "senders" && plots[0].1.contains("<svg") && plots[0].1.contains("slope -1.000")
        );
    }
}
