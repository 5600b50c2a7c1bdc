//! How each type of value is written: as text in flags and variables, as a TOML value in the file.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use room::PollWait;
use toml::Value;

use super::{ByteSize, CorsOrigins, LogFormat, NodeAddress, NodeAddresses, PolicyName, TrustedProxies};

/// A value as some source has it.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// A flag's or a variable's.
    Text(String),
    /// The file's.
    Toml(Value),
}

impl fmt::Display for Raw {
    /// The value as it was written, cut where it is too long for a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_CHARS_MAX: usize = 100;
        let text = match self {
            Self::Text(text) => format!("{text:?}"),
            Self::Toml(Value::String(text)) => format!("{text:?}"),
            Self::Toml(value) => value.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
        };
        if text.chars().count() <= SHOWN_CHARS_MAX {
            return f.write_str(&text);
        }
        text.chars().take(SHOWN_CHARS_MAX).try_for_each(|c| fmt::Write::write_char(f, c))?;
        f.write_str("…")
    }
}

/// A type that configuration values have.
pub(super) trait Setting: Sized {
    /// What it is called in a rule: "must be …".
    const NOUN: &'static str;

    /// Reads a flag's or variable's text.
    fn from_text(text: &str) -> Option<Self>;

    /// Reads the file's value; by default, a string as [`Setting::from_text`] does.
    fn from_toml(value: &Value) -> Option<Self> {
        Self::from_text(value.as_str()?)
    }

    /// Reads a value of either form.
    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Text(text) => Self::from_text(text),
            Raw::Toml(value) => Self::from_toml(value),
        }
    }
}

macro_rules! whole_numbers {
    ($($number:ty)+) => {$(
        impl Setting for $number {
            const NOUN: &'static str = "a whole number";

            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn from_toml(value: &Value) -> Option<Self> {
                value.as_integer()?.try_into().ok()
            }
        }
    )+};
}

whole_numbers! { u32 u64 usize }

impl Setting for bool {
    const NOUN: &'static str = "true or false";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Setting for Duration {
    const NOUN: &'static str = "a duration with its unit, such as 500ms, 30s or 5m,";

    fn from_text(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok()
    }
}

impl Setting for SocketAddr {
    const NOUN: &'static str = "an address with its port, such as 127.0.0.1:8080 or [::]:8080";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Setting for PathBuf {
    const NOUN: &'static str = "a path";

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.into())
    }
}

/// A key that may be absent can't be unset: what is given counts.
impl<T: Setting> Setting for Option<T> {
    const NOUN: &'static str = T::NOUN;

    fn from_text(text: &str) -> Option<Self> {
        T::from_text(text).map(Some)
    }

    fn from_toml(value: &Value) -> Option<Self> {
        T::from_toml(value).map(Some)
    }
}

impl Setting for String {
    const NOUN: &'static str = "a text";

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Setting for ByteSize {
    const NOUN: &'static str = "a number of bytes, such as 1048576 or 512MiB,";

    fn from_text(text: &str) -> Option<Self> {
        const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("", 0)];
        UNITS.iter().find_map(|(unit, shift)| {
            let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            number.checked_mul(1 << shift).map(Self)
        })
    }

    fn from_toml(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(number) => (*number).try_into().ok().map(Self),
            _ => Self::from_text(value.as_str()?),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trailing_zeros() {
            _ if self.0 == 0 => f.write_str("0"),
            40.. => write!(f, "{}TiB", self.0 >> 40),
            30.. => write!(f, "{}GiB", self.0 >> 30),
            20.. => write!(f, "{}MiB", self.0 >> 20),
            10.. => write!(f, "{}KiB", self.0 >> 10),
            _ => self.0.fmt(f),
        }
    }
}

impl Setting for CorsOrigins {
    const NOUN: &'static str = "a list of origins such as https://example.com, without a path, or of * alone";

    /// A TOML or JSON array, or origins with commas between them.
    fn from_text(text: &str) -> Option<Self> {
        match array(text) {
            Some(value) => Self::from_toml(&value?),
            None => Self::parse(text.split(',').map(str::trim)),
        }
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::parse(texts(value)?)
    }
}

impl Setting for NodeAddress {
    const NOUN: &'static str = "an address such as 10.0.0.1:7071 or sendsvr:7071";

    fn from_text(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Setting for NodeAddresses {
    const NOUN: &'static str = "a list of addresses such as 10.0.0.1:7070 or stats-1:7070, none twice";

    /// A TOML or JSON array, or addresses with commas between them.
    fn from_text(text: &str) -> Option<Self> {
        match array(text) {
            Some(value) => Self::from_toml(&value?),
            None if text.trim().is_empty() => Some(Self::default()),
            None => Self::parse(text.split(',').map(str::trim)),
        }
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::parse(texts(value)?)
    }
}

impl Setting for TrustedProxies {
    const NOUN: &'static str = "a list of addresses or prefixes such as 192.0.2.7, 10.0.0.0/8 or fd00::/8";

    /// A TOML or JSON array, or prefixes with commas between them.
    fn from_text(text: &str) -> Option<Self> {
        match array(text) {
            Some(value) => Self::from_toml(&value?),
            None if text.trim().is_empty() => Some(Self::default()),
            None => Self::parse(text.split(',').map(str::trim)),
        }
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::parse(texts(value)?)
    }
}

/// The value of a text that begins like an array: within, `None` if it is broken.
#[allow(clippy::option_option, reason = "no array, a broken one, an array")]
fn array(text: &str) -> Option<Option<Value>> {
    text.trim_start().starts_with('[').then(|| {
        let table: toml::Table = format!("list = {text}").parse().ok()?;
        // One value, not what a line break within could add.
        (table.len() == 1).then(|| table.get("list").cloned()).flatten()
    })
}

/// The elements of an array of texts.
fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

impl Setting for PolicyName {
    const NOUN: &'static str = "default or off";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "default" => Some(Self::Default),
            "off" => Some(Self::Off),
            _ => None,
        }
    }
}

impl Setting for PollWait {
    const NOUN: &'static str = "client or server";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "client" => Some(Self::Client),
            "server" => Some(Self::Server),
            _ => None,
        }
    }
}

impl Setting for LogFormat {
    const NOUN: &'static str = "human or json";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "human" => Some(Self::Human),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}
