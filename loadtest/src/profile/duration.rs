//! Durations as people write them: `90s`, `2h`, `250ms`.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|error| D::Error::custom(format!("`{text}` is no duration such as 90s or 2h: {error}")))
}

/// The same for keys that may be absent.
pub(super) mod option {
    use super::{Deserializer, Duration, Serializer};

    pub(in crate::profile) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::profile) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        /// A duration where one is given.
        #[derive(serde::Deserialize)]
        struct Given(#[serde(with = "super")] Duration);
        let given: Option<Given> = serde::Deserialize::deserialize(deserializer)?;
        Ok(given.map(|Given(duration)| duration))
    }
}
