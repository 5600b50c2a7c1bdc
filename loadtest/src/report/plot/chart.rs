//! Charts with a number on both axes.

use super::{
    frame::{Frame, colour, stroked},
    markup::{Element, length},
    scale::{Axis, Ruler, Scale, short},
};
use crate::stats::Spread;

/// Most points of a line that are drawn: more than a screen has columns would only make the file large. Where there
/// are more, each stretch keeps its least and its greatest value, so that no peak is lost.
const POINTS_MAX: usize = 1_200;

/// A chart with a number on both axes.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// A sentence below the title, for instance a slope; empty for none.
    pub(crate) remark: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    /// Later ones are drawn over earlier ones.
    pub(crate) series: Vec<Series>,
    /// Places on the horizontal axis that have a name, for instance where a phase began.
    pub(crate) marks: Vec<(f64, String)>,
}

/// Values that belong together.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// In the legend.
    pub(crate) name: String,
    pub(crate) shape: Shape,
}

/// How values are shown. All are in ascending order of their first number; what is not finite makes a hole.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// Points, joined.
    Line(Vec<(f64, f64)>),
    /// The area between a lower and an upper value at each point.
    Band(Vec<(f64, f64, f64)>),
    /// Medians, joined, each with a bar from the least to the greatest of its repeats.
    Spreads(Vec<(f64, Spread)>),
}

impl Series {
    /// A line.
    pub(crate) fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), shape: Shape::Line(points) }
    }

    /// The area between two lines.
    pub(crate) fn band(name: impl Into<String>, points: Vec<(f64, f64, f64)>) -> Self {
        Self { name: name.into(), shape: Shape::Band(points) }
    }

    /// Whether there is anything to see.
    pub(crate) fn has_values(&self) -> bool {
        self.ys().iter().any(|y| y.is_finite())
    }

    /// Places of all its values.
    fn xs(&self) -> Vec<f64> {
        match &self.shape {
            Shape::Line(points) => points.iter().map(|point| point.0).collect(),
            Shape::Band(points) => points.iter().map(|point| point.0).collect(),
            Shape::Spreads(points) => points.iter().map(|point| point.0).collect(),
        }
    }

    fn ys(&self) -> Vec<f64> {
        match &self.shape {
            Shape::Line(points) => points.iter().map(|point| point.1).collect(),
            Shape::Band(points) => points.iter().flat_map(|(_, low, high)| [*low, *high]).collect(),
            Shape::Spreads(points) => points.iter().flat_map(|(_, at)| [at.min, at.max]).collect(),
        }
    }
}

impl Chart {
    /// A chart without remark and marks.
    pub(crate) fn new(title: impl Into<String>, x: Axis, y: Axis, series: Vec<Series>) -> Self {
        Self { title: title.into(), remark: String::new(), x, y, series, marks: Vec::new() }
    }

    /// Whether there is anything to see.
    pub(crate) fn is_empty(&self) -> bool {
        !self.series.iter().any(Series::has_values)
    }

    /// For a page that has [`STYLE`](super::STYLE).
    pub(crate) fn svg(&self) -> String {
        self.draw(false)
    }

    /// For a file of its own.
    pub(crate) fn svg_file(&self) -> String {
        self.draw(true)
    }

    fn draw(&self, is_alone: bool) -> String {
        let names: Vec<_> = self.series.iter().map(|series| series.name.as_str()).collect();
        let frame = Frame::new(&self.title, &self.remark, &self.y.label, &names);
        let xs: Vec<f64> = self.series.iter().flat_map(Series::xs).filter(|x| x.is_finite()).collect();
        let has_place = |x: &&f64| self.x.scale == Scale::Linear || **x > 0.0;
        let (low, high) = xs
            .iter()
            .filter(has_place)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
        // Time begins at zero, also where the first value comes later.
        let low = if self.x.scale == Scale::Linear { low.min(0.0) } else { low };
        let x = Ruler::exactly(self.x.scale, low, high, frame.across);
        let y = Ruler::over(self.y.scale, self.series.iter().flat_map(Series::ys), frame.up);

        let mut body = frame.rows(&y);
        let ticks: Vec<_> = x.ticks.iter().filter_map(|tick| Some((x.place(*tick)?, short(*tick)))).collect();
        body += &frame.columns(&ticks, y.base(), &self.x.label);
        for (at, name) in &self.marks {
            let Some(at) = x.place(*at).filter(|at| (frame.across.0..=frame.across.1).contains(at)) else {
                continue;
            };
            let line =
                Element::new("line").at("x1", at).at("x2", at).at("y1", frame.up.1).at("y2", frame.up.0);
            body += &line.with("class", "mark").around(&Element::new("title").saying(name));
        }
        for (nth, series) in self.series.iter().enumerate() {
            body += &draw_series(series, nth, &x, &y);
        }
        frame.close(&body, is_alone)
    }
}

fn draw_series(series: &Series, nth: usize, x: &Ruler, y: &Ruler) -> String {
    let title = Element::new("title").saying(&series.name);
    match &series.shape {
        Shape::Line(points) => line(&thinned(points), nth, x, y, &title),
        Shape::Band(points) => {
            runs(points.iter().map(|(at, low, high)| Some((x.place(*at)?, y.place(*low)?, y.place(*high)?))))
                .map(|run| {
                    let upper = run.iter().map(|(x, _, high)| (*x, *high));
                    let lower = run.iter().rev().map(|(x, low, _)| (*x, *low));
                    let path = format!("{}Z", path_of(upper.chain(lower)));
                    let style = format!("fill:{0};stroke:{0}", colour(nth));
                    Element::new("path")
                        .with("class", "band")
                        .with("style", style)
                        .with("d", path)
                        .around(&title)
                })
                .collect()
        }
        Shape::Spreads(points) => {
            let medians: Vec<_> = points.iter().map(|(at, spread)| (*at, spread.median)).collect();
            let mut drawn = line(&medians, nth, x, y, &title);
            for (at, spread) in points {
                let Some(at_x) = x.place(*at) else { continue };
                if let Some((low, high)) = y.place(spread.min).zip(y.place(spread.max)) {
                    let range =
                        Element::new("line").at("x1", at_x).at("x2", at_x).at("y1", low).at("y2", high);
                    drawn += &stroked(range.with("class", "range"), nth).empty();
                }
                if let Some(median) = y.place(spread.median) {
                    let told = format!(
                        "{}: {} at {} ({} to {})",
                        series.name,
                        short(spread.median),
                        short(*at),
                        short(spread.min),
                        short(spread.max)
                    );
                    drawn += &dot(at_x, median, nth).around(&Element::new("title").saying(&told));
                }
            }
            drawn
        }
    }
}

fn line(points: &[(f64, f64)], nth: usize, x: &Ruler, y: &Ruler, title: &str) -> String {
    let placed = points.iter().map(|(at, value)| Some((x.place(*at)?, y.place(*value)?)));
    runs(placed)
        .map(|run| match run[..] {
            // A point without neighbours would be invisible as a line.
            [(at, value)] => dot(at, value, nth).around(title),
            _ => {
                let path = Element::new("path").with("class", "path").with("d", path_of(run.into_iter()));
                stroked(path, nth).around(title)
            }
        })
        .collect()
}

fn dot(x: f64, y: f64, nth: usize) -> Element {
    let style = format!("fill:{}", colour(nth));
    Element::new("circle").at("cx", x).at("cy", y).with("r", 3.5).with("style", style)
}

/// The stretches without a hole.
fn runs<T>(placed: impl Iterator<Item = Option<T>>) -> impl Iterator<Item = Vec<T>> {
    let mut placed = placed.fuse();
    std::iter::from_fn(move || {
        let first = placed.by_ref().find_map(|point| point)?;
        let mut run = vec![first];
        run.extend(placed.by_ref().map_while(|point| point));
        Some(run)
    })
}

fn path_of(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (x, y) in points {
        path.push(if path.is_empty() { 'M' } else { 'L' });
        path += &format!("{} {}", length(x), length(y));
    }
    path
}

/// At most about [`POINTS_MAX`] points, with the least and the greatest of each stretch.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS_MAX {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(POINTS_MAX / 2);
    points
        .chunks(stretch)
        .flat_map(|chunk| {
            let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
            let finite = || chunk.iter().filter(|point| point.1.is_finite());
            let mut kept: Vec<_> =
                finite().min_by(by_value).into_iter().chain(finite().max_by(by_value)).copied().collect();
            kept.sort_by(|a, b| a.0.total_cmp(&b.0));
            kept.dedup();
            kept
        })
        .collect()
}
