//! The members of a JSON object, each still as it was written.
//!
//! Reading member by member, rather than deriving, keeps `null` apart from absent and lets a refusal name the
//! field and its rule.

use std::{borrow::Cow, fmt};

use room::{ErrorCode, Problem};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// One member's value, under its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    /// What refusals call it, the names of the objects around it included: `limits.room_rate`.
    pub(crate) path: &'a str,
    /// One JSON value without space around it.
    pub(crate) json: &'a str,
}

/// The members of an object in their order.
#[derive(Debug)]
pub(crate) struct Members<'a>(Vec<(Text<'a>, &'a RawValue)>);

/// A JSON string; borrowed where nothing in it is escaped.
#[derive(Deserialize, Debug)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// A body of the wrong shape.
pub(crate) fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ErrorCode::InvalidMessage, detail)
}

impl<'a> Members<'a> {
    /// Takes apart `json`, which [`room::json::check`] has accepted; refusals call it `what`.
    pub(crate) fn of(json: &'a str, what: &str) -> Result<Self, Problem> {
        serde_json::from_str(json).map_err(|_| invalid(format!("{what} must be a JSON object")))
    }

    /// Calls `field` for each member, with its name under `parent`.
    pub(crate) fn each(
        &self,
        parent: &str,
        mut field: impl FnMut(&str, Member<'_>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        for (Text(name), value) in &self.0 {
            let path = match parent {
                "" => Cow::Borrowed(&**name),
                parent => Cow::Owned(format!("{parent}.{name}")),
            };
            field(name, Member { path: &path, json: value.get() })?;
        }
        Ok(())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Vec<(Text<'de>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Pairs).map(Self)
    }
}

impl Member<'_> {
    /// Whether it is `null`.
    pub(crate) fn is_null(&self) -> bool {
        self.json == "null"
    }

    /// Reads it as a `T`; `rule` says what that is in words.
    pub(crate) fn read<'s, T: Deserialize<'s>>(&'s self, rule: &str) -> Result<T, Problem> {
        serde_json::from_str(self.json).map_err(|_| invalid(format!("{} must be {rule}", self.path)))
    }

    /// Refuses it as a field that is not known among `known`.
    pub(crate) fn unknown(&self, known: &str) -> Problem {
        const SHOWN_CHARS_MAX: usize = 64;
        let shown: String = self.path.chars().take(SHOWN_CHARS_MAX).collect();
        invalid(format!("unknown field {shown:?}: the fields are {known}"))
    }
}
