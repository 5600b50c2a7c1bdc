//! The command that made a report, as it may be shown to others.

/// Flags whose value must not get into a report.
const SECRET_FLAGS: [&str; 3] = ["--token", "--viewer-token", "--secret"];
/// Stands for such a value.
const HIDDEN: &str = "…";

/// How this process was called: without the parts of paths that are one user's, and without secrets.
pub(crate) fn own() -> String {
    let home = std::env::var("HOME").ok().filter(|home| home.len() > 1);
    shown(std::env::args(), home.as_deref())
}

fn shown(arguments: impl Iterator<Item = String>, home: Option<&str>) -> String {
    let mut is_secret = false;
    let shown = arguments.map(|argument| {
        if std::mem::take(&mut is_secret) {
            return HIDDEN.to_owned();
        }
        if let Some((flag, _)) = argument.split_once('=').filter(|(flag, _)| SECRET_FLAGS.contains(flag)) {
            return format!("{flag}={HIDDEN}");
        }
        is_secret = SECRET_FLAGS.contains(&argument.as_str());
        match home {
            Some(home) if argument.starts_with(home) => argument.replacen(home, "~", 1),
            _ => argument,
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_home_are_left_out() {
        let arguments =
            ["/home/ann/bin/loadtest", "run", "--token", "s3cret", "--secret=s3cret", "--token-file", "x"];
        assert_eq!(
            shown(arguments.map(str::to_owned).into_iter(), Some("/home/ann")),
            "~/bin/loadtest run --token … --secret=… --token-file x"
        );
    }
}
