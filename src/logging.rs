//! Log lines, on stderr.

use std::io::IsTerminal as _;

use anyhow::Context;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

use crate::config::{Log, LogFormat};

/// What a good `log.level` is.
pub(crate) const LEVEL_RULE: &str =
    "must be off, error, warn, info, debug or trace, or directives such as info,hyper=warn";

/// Whether `text` is a level or a list of directives.
///
/// The filter itself would take any word for a module's name and show nothing else, so a typing error would
/// silence the log: a word on its own must be a level here. And it slices what is not ASCII in the middle of a character.
pub(crate) fn is_level(text: &str) -> bool {
    let are_words_levels = text
        .split(',')
        .filter(|part| !part.contains(['=', '[']))
        .all(|part| part.trim().parse::<LevelFilter>().is_ok() && !part.trim().is_empty());
    are_words_levels && text.is_ascii() && parse(text).is_ok()
}

/// Reads directives. Values of fields in them are taken as they are written: as patterns, which is the library's default, they
/// are compiled whole, and a short one can take minutes.
fn parse(text: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().with_regex(false).parse(text)
}

/// Starts logging for the process, to stderr.
///
/// # Errors
/// If a log is set up already.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let filter = parse(&log.level).context("read log.level")?;
    // Colours are for people who look at a terminal, not for files and pipes.
    let lines =
        fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    match log.format {
        LogFormat::Human => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("set up the log: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_follow_their_rule() {
        for (text, expect) in [
            ("info", true),
            ("WARN", true),
            ("off", true),
            ("info,hyper=warn", true),
            ("bigroom=debug", true),
            ("inof", false),
            ("info,hyper", false),
            ("info,", false),
            ("", false),
            ("hyper=loud", false),
            ("[poll{room=\u{784}}]\u{784}=debug", false),
            ("[poll{room=r}]=debug", true),
            // As a pattern it would need more states than there is memory for.
            ("[poll{room=.*1................................................}]=debug", true),
        ] {
            assert_eq!(is_level(text), expect, "{text:?}");
        }
    }
}
