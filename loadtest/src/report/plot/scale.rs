//! From values to places on an axis, and where its ticks stand.

/// Most ticks on an axis: more than that run into each other on a phone.
const TICKS_MAX: usize = 7;

/// How values are spread over an axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scale {
    /// Equal differences are equally long. Begins at zero unless there are values below.
    Linear,
    /// Equal ratios are equally long. Values of zero and less have no place and are left out.
    Log,
}

/// An axis: what it shows, in which unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Axis {
    /// With the unit, for instance `age (ms)`.
    pub(crate) label: String,
    pub(crate) scale: Scale,
}

impl Axis {
    /// A linear axis.
    pub(crate) fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Linear }
    }

    /// A logarithmic axis.
    pub(crate) fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Log }
    }
}

/// An axis with its bounds, laid out between two places of the picture.
#[derive(Clone, Debug)]
pub(super) struct Ruler {
    scale: Scale,
    /// Lowest and highest value; of their logarithms if the scale is one.
    low: f64,
    high: f64,
    /// Where those two stand.
    places: (f64, f64),
    /// Ascending.
    pub(super) ticks: Vec<f64>,
}

impl Ruler {
    /// For all values that have a place on the scale; without any, from zero (or one) to ten.
    pub(super) fn over(scale: Scale, values: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        let values = values.filter(|value| value.is_finite() && (scale == Scale::Linear || *value > 0.0));
        let bounds = values.fold(None, |bounds: Option<(f64, f64)>, value| {
            Some(bounds.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        });
        match scale {
            Scale::Linear => {
                let (low, high) = bounds.map_or((0.0, 10.0), |(low, high)| (low.min(0.0), high.max(0.0)));
                let high = if high > low { high } else { low + 1.0 };
                Self::linear(low, high, places)
            }
            Scale::Log => Self::log(bounds.unwrap_or((1.0, 10.0)), places),
        }
    }

    /// From the first value to the last and no further, with the ticks in between.
    pub(super) fn exactly(scale: Scale, low: f64, high: f64, places: (f64, f64)) -> Self {
        let mut ruler = Self::over(scale, [low, high].into_iter(), places);
        let (from, to) = match scale {
            Scale::Linear => (low, high),
            Scale::Log => (low.log10(), high.log10()),
        };
        if from.is_finite() && to.is_finite() && from < to {
            (ruler.low, ruler.high) = (from, to);
            ruler.ticks.retain(|tick| (low..=high).contains(tick));
        }
        ruler
    }

    fn linear(low: f64, high: f64, places: (f64, f64)) -> Self {
        let step = step_of((high - low) / (TICKS_MAX - 1) as f64);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let count = (last - first).min(2.0 * TICKS_MAX as f64) as usize;
        let ticks = (0..=count).map(|nth| (first + nth as f64) * step).collect();
        Self { scale: Scale::Linear, low: first * step, high: last * step, places, ticks }
    }

    fn log((low, high): (f64, f64), places: (f64, f64)) -> Self {
        // To whole decades, except that a short axis may end at a 2 or a 5 in between.
        let (mut first, mut last) = (low.log10().floor(), high.log10().ceil());
        if last <= first {
            (first, last) = (first - f64::from(first == low.log10()), first + 1.0);
        }
        let decades = (last - first) as usize;
        let steps: &[f64] = if decades <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let stride = decades.div_ceil(TICKS_MAX).max(1);
        let mut ticks: Vec<f64> = (0..=decades)
            .step_by(stride)
            .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powf(first + decade as f64)))
            .collect();
        let from = ticks.iter().rposition(|tick| *tick <= low).unwrap_or(0);
        ticks.drain(..from);
        let to = ticks.iter().position(|tick| *tick >= high).map_or(ticks.len(), |at| at + 1);
        ticks.truncate(to.max(2));
        let low = ticks.first().map_or(first, |tick| tick.log10());
        let high = ticks.last().map_or(last, |tick| tick.log10().max(high.log10()));
        Self { scale: Scale::Log, low, high, places, ticks }
    }

    /// Where a value stands; `None` if the scale has no place for it.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Log if value > 0.0 => value.log10(),
            Scale::Log => return None,
        };
        let share = (value - self.low) / (self.high - self.low);
        share.is_finite().then_some(self.places.0 + share * (self.places.1 - self.places.0))
    }

    /// Where bars and the like begin.
    pub(super) fn base(&self) -> f64 {
        if self.scale == Scale::Linear { self.place(0.0).unwrap_or(self.places.0) } else { self.places.0 }
    }
}

/// The next of 1, 2, 5, 10, … that is not below `value`.
fn step_of(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * decade >= value * 0.999_999);
    step.unwrap_or(10.0) * decade
}

/// A value in few letters: `0.25`, `40`, `1.5k`, `20M`.
pub(crate) fn short(value: f64) -> String {
    let (unit, suffix) = match value.abs() {
        1e9.. => (1e9, "G"),
        1e6.. => (1e6, "M"),
        1e3.. => (1e3, "k"),
        _ => (1.0, ""),
    };
    let scaled = value / unit;
    let text = match scaled.abs() {
        0.0 => return "0".to_owned(),
        100.0.. => format!("{scaled:.0}"),
        10.0.. => format!("{scaled:.1}"),
        1.0.. => format!("{scaled:.2}"),
        0.001.. => format!("{scaled:.4}"),
        _ => return format!("{value:.0e}"),
    };
    let trimmed = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{trimmed}{suffix}")
}
