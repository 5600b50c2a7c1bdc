//! What all charts share: the picture, its title, legend, grid and labels.

use super::{
    markup::{Element, length},
    scale::{Ruler, short},
};

/// Size of a picture in its own units, which are CSS pixels at its natural width. Small enough that text can still be
/// read when a phone shrinks it to its width.
pub(super) const WIDTH: f64 = 480.0;
/// Height of the part with the values.
const PLOT_HEIGHT: f64 = 200.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 18.0;
const BELOW: f64 = 44.0;
/// From one line of text to the next.
const LINE: f64 = 18.0;
/// Mean width of a letter at the size of labels; what is laid out by it only has to be about right.
pub(super) const LETTER: f64 = 7.2;
/// Colours before they begin anew.
const COLOURS: usize = 7;

/// Colours and text of plots, for the `<style>` of a page. Light by default, dark where the reader's system is.
///
/// Neighbours differ in lightness as well as in hue, so that they can be told apart without seeing colour.
pub(crate) const STYLE: &str = "\
.plot{--ink:#1c2430;--soft:#5b6675;--line:#dde2e9;--s0:#1f5fbf;--s1:#e0790b;--s2:#0b7f6b;--s3:#c2266a;--s4:#7a4bc4;\
--s5:#8a6d00;--s6:#5b6675;font:13px system-ui,sans-serif;width:100%;height:auto;display:block}\
@media(prefers-color-scheme:dark){.plot{--ink:#e8ecf2;--soft:#9aa6b6;--line:#333c48;--s0:#6ea8ff;--s1:#ffb057;\
--s2:#3fd0b4;--s3:#ff7fb0;--s4:#bd9bff;--s5:#e3c64a;--s6:#9aa6b6}}\
.plot text{fill:var(--soft)}.plot .title{fill:var(--ink);font-weight:600;font-size:14px}\
.plot .grid{stroke:var(--line);stroke-width:1}.plot .base{stroke:var(--soft);stroke-width:1}\
.plot .path{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}\
.plot .band{stroke-width:1.2;stroke-linejoin:round;fill-opacity:.25}.plot .range{stroke-width:1.5}.plot .bar{fill-opacity:.85}\
.plot .mark{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 3}";

/// The colour of the `nth` series.
pub(super) fn colour(nth: usize) -> String {
    format!("var(--s{})", nth % COLOURS)
}

/// A dash pattern where colours begin anew, so that no two series look alike.
pub(super) fn dashes(nth: usize) -> Option<&'static str> {
    [None, Some("6 4"), Some("2 3")][nth / COLOURS % 3]
}

/// A picture with its fixed parts; what is in between is added by whoever draws values.
#[derive(Debug)]
pub(super) struct Frame {
    title: String,
    /// Title, legend, labels.
    head: String,
    /// Left and right end of the values.
    pub(super) across: (f64, f64),
    /// Lower and upper end of the values.
    pub(super) up: (f64, f64),
}

impl Frame {
    /// With a title, a remark below it (empty for none), and the names of the series.
    pub(super) fn new(title: &str, remark: &str, label: &str, names: &[&str]) -> Self {
        let mut y = LINE;
        let mut head = text(2.0, y, "start").with("class", "title").saying(title);
        for line in lines(remark) {
            y += LINE;
            head += &text(2.0, y, "start").saying(&line);
        }
        // One series needs no legend: the title says what it is.
        if names.len() > 1 {
            y += LINE;
            let mut x = 2.0;
            for (nth, name) in names.iter().enumerate() {
                let width = name.chars().count() as f64 * LETTER + 34.0;
                if x > 2.0 && x + width > WIDTH - RIGHT {
                    (x, y) = (2.0, y + LINE);
                }
                let key =
                    Element::new("line").at("x1", x).at("x2", x + 16.0).at("y1", y - 4.0).at("y2", y - 4.0);
                head += &stroked(key.with("stroke-width", 4), nth).empty();
                head += &text(x + 21.0, y, "start").saying(name);
                x += width;
            }
        }
        y += LINE;
        head += &text(2.0, y, "start").saying(label);
        let top = y + 12.0;
        Self { title: title.to_owned(), head, across: (LEFT, WIDTH - RIGHT), up: (top + PLOT_HEIGHT, top) }
    }

    /// Lines and labels of the vertical axis.
    pub(super) fn rows(&self, ruler: &Ruler) -> String {
        let mut rows = String::new();
        for tick in &ruler.ticks {
            let Some(y) = ruler.place(*tick) else { continue };
            rows += &horizontal(self.across, y).with("class", "grid").empty();
            rows += &text(self.across.0 - 6.0, y + 4.0, "end").saying(&short(*tick));
        }
        rows
    }

    /// The line at the bottom, labels of the horizontal axis below it, and its name below those.
    pub(super) fn columns(&self, ticks: &[(f64, String)], base: f64, label: &str) -> String {
        let mut columns = horizontal(self.across, base).with("class", "base").empty();
        for (x, name) in ticks {
            columns += &text(*x, self.up.0 + LINE, "middle").saying(name);
        }
        let middle = f64::midpoint(self.across.0, self.across.1);
        columns + &text(middle, self.up.0 + LINE * 2.0, "middle").saying(label)
    }

    /// The whole picture around `body`; with its style inside if it is to stand alone.
    pub(super) fn close(&self, body: &str, is_alone: bool) -> String {
        let height = self.up.0 + BELOW;
        let style = if is_alone { Element::new("style").around(STYLE) } else { String::new() };
        Element::new("svg")
            .with("xmlns", "http://www.w3.org/2000/svg")
            .with("class", "plot")
            .with("viewBox", format!("0 0 {} {}", length(WIDTH), length(height)))
            .at("width", WIDTH)
            .at("height", height)
            .with("role", "img")
            .with("aria-label", &self.title)
            .around(&format!("\n{style}{}{body}", self.head))
    }
}

/// An element in the colour of the `nth` series, and with its dashes.
pub(super) fn stroked(element: Element, nth: usize) -> Element {
    let element = element.with("style", format!("stroke:{}", colour(nth)));
    match dashes(nth) {
        Some(dashes) => element.with("stroke-dasharray", dashes),
        None => element,
    }
}

/// Text in lines that fit into the picture.
fn lines(text: &str) -> Vec<String> {
    let letters_max = ((WIDTH - RIGHT) / LETTER) as usize;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= letters_max => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn text(x: f64, y: f64, anchor: &str) -> Element {
    Element::new("text").at("x", x).at("y", y).with("text-anchor", anchor)
}

fn horizontal((from, to): (f64, f64), y: f64) -> Element {
    Element::new("line").at("x1", from).at("x2", to).at("y1", y).at("y2", y)
}
