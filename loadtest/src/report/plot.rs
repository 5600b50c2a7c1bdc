//! Plots, as SVG.
//!
//! They are drawn here and not by a plotting crate: a report is read by day and by night and on a phone, so the
//! colours have to be CSS variables that a page or a media query sets, and the crates at hand write fixed colours into
//! every element.
//!
//! [`Chart`] has a number on both axes: lines, bands and points with their range. [`BarChart`] has names below.
//! Both give one `<svg>` element for a page that has [`STYLE`]; [`Chart::svg_file`] is for a file of its own, which brings
//! its style along. All text is escaped.

mod bars;
mod chart;
mod frame;
mod markup;
mod scale;

pub(crate) use self::{
    bars::{BarChart, BarSeries},
    chart::{Chart, Series, Shape},
    frame::STYLE,
    markup::escape,
    scale::Axis,
};

#[cfg(test)]
mod tests;
