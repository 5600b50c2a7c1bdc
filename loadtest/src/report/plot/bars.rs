//! Charts with names on the horizontal axis.

use super::{
    frame::{Frame, LETTER, colour},
    markup::Element,
    scale::{Axis, Ruler, short},
};
use crate::stats::Spread;

/// Share of a group's width that its bars take.
const FILLED: f64 = 0.8;

/// A chart of groups of bars, each bar a median with the range of its repeats.
#[derive(Clone, Debug)]
pub(crate) struct BarChart {
    pub(crate) title: String,
    /// A sentence below the title; empty for none.
    pub(crate) remark: String,
    pub(crate) y: Axis,
    /// Names below the groups, left to right.
    pub(crate) groups: Vec<String>,
    /// One bar in each group.
    pub(crate) series: Vec<BarSeries>,
}

/// The bars of one colour.
#[derive(Clone, Debug)]
pub(crate) struct BarSeries {
    pub(crate) name: String,
    /// In the order of the groups; `None` leaves a place empty.
    pub(crate) bars: Vec<Option<Spread>>,
}

impl BarChart {
    /// For a page that has [`STYLE`](super::STYLE).
    pub(crate) fn svg(&self) -> String {
        let names: Vec<_> = self.series.iter().map(|series| series.name.as_str()).collect();
        let frame = Frame::new(&self.title, &self.remark, &self.y.label, &names);
        let values = self.series.iter().flat_map(|series| series.bars.iter().flatten());
        let y = Ruler::over(self.y.scale, values.flat_map(|bar| [bar.min, bar.median, bar.max]), frame.up);

        let group = (frame.across.1 - frame.across.0) / self.groups.len().max(1) as f64;
        let width = group * FILLED / self.series.len().max(1) as f64;
        let ticks: Vec<_> = self
            .groups
            .iter()
            .enumerate()
            .map(|(nth, name)| (frame.across.0 + group * (nth as f64 + 0.5), cut(name, group)))
            .collect();
        let mut body = frame.rows(&y);
        for (nth, series) in self.series.iter().enumerate() {
            for ((at, name), bar) in self.groups.iter().enumerate().zip(&series.bars) {
                let left = frame.across.0 + group * (at as f64 + (1.0 - FILLED) / 2.0) + width * nth as f64;
                if let Some(bar) = bar {
                    body += &draw_bar(bar, &format!("{}, {name}", series.name), nth, (left, width), &y);
                }
            }
        }
        body += &frame.columns(&ticks, y.base(), "");
        frame.close(&body, false)
    }
}

fn draw_bar(bar: &Spread, name: &str, nth: usize, (left, width): (f64, f64), y: &Ruler) -> String {
    let Some(top) = y.place(bar.median) else { return String::new() };
    let base = y.base();
    let told = format!("{name}: {} ({} to {})", short(bar.median), short(bar.min), short(bar.max));
    let mut drawn = Element::new("rect")
        .with("class", "bar")
        .with("style", format!("fill:{}", colour(nth)))
        .at("x", left + 1.0)
        .at("width", (width - 2.0).max(1.0))
        .at("y", top.min(base))
        .at("height", (top - base).abs())
        .around(&Element::new("title").saying(&told));
    let middle = left + width / 2.0;
    if let Some((low, high)) = y.place(bar.min).zip(y.place(bar.max)) {
        let range = Element::new("line").at("x1", middle).at("x2", middle).at("y1", low).at("y2", high);
        drawn += &range.with("class", "base").empty();
    }
    drawn
}

/// A name, cut where it would run into the next one.
fn cut(name: &str, width: f64) -> String {
    let most = ((width / LETTER) as usize).max(3);
    if name.chars().count() <= most {
        return name.to_owned();
    }
    name.chars().take(most - 1).chain(['…']).collect()
}
