//! Writing XML: the one place where text and numbers become markup.

use std::fmt::{Display, Write as _};

/// Text as it may stand between tags and in quoted attributes of HTML and XML.
///
/// Characters that XML has no place for (most control characters) become U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | '\r' | ' '..='\u{7e}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'.. => {
                escaped.push(letter);
            }
            _ => escaped.push('\u{fffd}'),
        }
    }
    escaped
}

/// A place or a length: to a tenth of a unit, which no screen shows.
pub(super) fn length(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// An element under construction.
#[derive(Debug)]
pub(super) struct Element {
    name: &'static str,
    text: String,
}

impl Element {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, text: format!("<{name}") }
    }

    /// Adds an attribute; the value is escaped.
    pub(super) fn with(mut self, name: &str, value: impl Display) -> Self {
        write!(self.text, " {name}=\"{}\"", escape(&value.to_string())).expect("memory takes all writes");
        self
    }

    /// Adds an attribute that is a length.
    pub(super) fn at(self, name: &str, value: f64) -> Self {
        self.with(name, length(value))
    }

    /// An element with nothing inside.
    pub(super) fn empty(self) -> String {
        self.text + "/>\n"
    }

    /// An element around markup, which is taken as it is.
    pub(super) fn around(self, markup: &str) -> String {
        format!("{}>{markup}</{}>\n", self.text, self.name)
    }

    /// An element around text, which is escaped.
    pub(super) fn saying(self, text: &str) -> String {
        self.around(&escape(text))
    }
}
