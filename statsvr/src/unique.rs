//! How many different viewers a room has had.
//!
//! Up to [`EXACT_MAX`] a table of all of them says so exactly; above, a sketch does ([`Sketch`]). The table holds the very
//! keys that the sketch is made of, so the sketch of a room that outgrows its table is the one that would have
//! been written beside it from the start.
//!
//! Sets merge: those of splits, nodes and restarts give what one set would have that had seen them all, in any
//! order and however often.

mod sketch;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use self::sketch::{PRECISION, Sketch};
use self::table::Table;

/// Most viewers that are counted exactly (count).
pub const EXACT_MAX: usize = 10_000;
/// How far a count may be off above [`EXACT_MAX`]: three standard errors of the sketch, 1.04 / √65536 each. 99.7 % of
/// the counts are nearer to the truth; the worst of 12,000 was off by 1.31 % (`docs/benchmarks/unique.txt`).
pub(crate) const ERROR_BOUND: f64 = 0.0122;

/// Version of the encoded form.
const VERSION: u8 = 1;
/// What the keys are: `UserHash::unique_key`. Sets of other keys must not be merged, so another hash has another number.
const HASHER: u8 = 1;
const KIND_TABLE: u8 = 0;
const KIND_SKETCH: u8 = 1;

/// How many, and how sure that is.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct UniqueCount {
    /// Different viewers (count).
    pub count: u64,
    /// How far `count` may be off, as a part of it: 0 where it is exact, 0.0122 otherwise.
    pub error: f64,
}

/// Why bytes are no set of viewers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UniqueError {
    /// Cut short, too long, or with values that no set has.
    #[error("the set of viewers is damaged")]
    Damaged,
    /// Of a later bigroom, or counted by another hash.
    #[error(
        "the set of viewers has version {version} and hash {hasher}, this bigroom knows {VERSION} and {HASHER}"
    )]
    Unknown {
        /// Its version.
        version: u8,
        /// The number of its hash.
        hasher: u8,
    },
}

/// A set of viewers that can be counted.
///
/// Takes 8 bytes a viewer up to 10,000 and 64 KiB above.
#[derive(Clone, Debug)]
pub struct UniqueViewers(Form);

#[derive(Clone, Debug)]
enum Form {
    Exact(Table),
    Sketched {
        sketch: Box<Sketch>,
        /// What the sketch estimated when the set had exactly [`EXACT_MAX`] viewers.
        anchor: f64,
    },
}

impl Default for UniqueViewers {
    fn default() -> Self {
        Self::new()
    }
}

impl UniqueViewers {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self(Form::Exact(Table::default()))
    }

    /// Adds a viewer by their evenly distributed 64-bit key; says whether the set is another one now. A viewer who is in
    /// it already never changes it.
    pub fn insert(&mut self, unique_key: u64) -> bool {
        match &mut self.0 {
            Form::Exact(table) if table.len() < EXACT_MAX => table.insert(unique_key),
            Form::Exact(table) => {
                if table.contains(unique_key) {
                    return false;
                }
                let mut sketch = Box::new(Sketch::new());
                table.keys().iter().for_each(|key| {
                    sketch.insert(*key);
                });
                let anchor = sketch.estimate();
                sketch.insert(unique_key);
                self.0 = Form::Sketched { sketch, anchor };
                true
            }
            Form::Sketched { sketch, .. } => sketch.insert(unique_key),
        }
    }

    /// Adds all viewers of another set; says whether the set is another one now.
    pub fn merge(&mut self, other: &Self) -> bool {
        match (&mut self.0, &other.0) {
            (Form::Exact(table), Form::Exact(others)) => {
                let before = table.len();
                let union = table.union(others);
                if union.len() <= EXACT_MAX {
                    self.0 = Form::Exact(union);
                    return self.exact_len() != Some(before);
                }
                self.0 = sketch_of(&union);
                true
            }
            (Form::Exact(table), Form::Sketched { sketch: other, anchor }) => {
                let mut sketch = other.clone();
                table.keys().iter().for_each(|key| {
                    sketch.insert(*key);
                });
                self.0 = Form::Sketched { sketch, anchor: *anchor };
                true
            }
            (Form::Sketched { sketch, .. }, Form::Exact(table)) => {
                table.keys().iter().fold(false, |changed, key| sketch.insert(*key) | changed)
            }
            (Form::Sketched { sketch, anchor }, Form::Sketched { sketch: other, anchor: others }) => {
                // Any rule that does not depend on the order will do.
                let is_moved = *others < *anchor;
                *anchor = anchor.min(*others);
                sketch.merge(other) | is_moved
            }
        }
    }

    /// How many viewers there are.
    ///
    /// Adding viewers never makes it smaller. At the switch to the sketch it goes on from the exact count: how far the sketch
    /// was off there is known, and taken off its estimates, the less the farther they are from there.
    #[must_use]
    pub fn count(&self) -> UniqueCount {
        match &self.0 {
            Form::Exact(table) => UniqueCount { count: table.len() as u64, error: 0.0 },
            Form::Sketched { sketch, anchor } => {
                let estimate = sketch.estimate();
                let corrected = estimate + (EXACT_MAX as f64 - anchor) * (anchor / estimate);
                UniqueCount {
                    count: (corrected.round() as u64).max(EXACT_MAX as u64 + 1),
                    error: ERROR_BOUND,
                }
            }
        }
    }

    /// The viewers' number if it is exact.
    #[must_use]
    pub fn exact_len(&self) -> Option<usize> {
        match &self.0 {
            Form::Exact(table) => Some(table.len()),
            Form::Sketched { .. } => None,
        }
    }

    /// How long [`Self::encode`] would be (bytes).
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        3 + match &self.0 {
            Form::Exact(table) => table.len() * 8,
            Form::Sketched { .. } => 1 + 8 + Sketch::PACKED_BYTES,
        }
    }

    /// The set for the disk and for other nodes: version, hash and kind in a byte each, then the table's keys, or the sketch's
    /// precision, anchor and packed registers. Equal sets have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_bytes());
        bytes.extend_from_slice(&[VERSION, HASHER]);
        match &self.0 {
            Form::Exact(table) => {
                bytes.push(KIND_TABLE);
                table.keys().iter().for_each(|key| bytes.extend_from_slice(&key.to_be_bytes()));
            }
            Form::Sketched { sketch, anchor } => {
                bytes.push(KIND_SKETCH);
                bytes.push(PRECISION);
                bytes.extend_from_slice(&anchor.to_be_bytes());
                sketch.pack(&mut bytes);
            }
        }
        bytes
    }

    /// The set that [`Self::encode`] made these bytes of.
    ///
    /// # Errors
    /// [`UniqueError`] for any others; nothing is taken on trust.
    pub fn decode(bytes: &[u8]) -> Result<Self, UniqueError> {
        let (head, body) = bytes.split_first_chunk::<3>().ok_or(UniqueError::Damaged)?;
        match *head {
            [VERSION, HASHER, KIND_TABLE] => Table::decode(body).map(|table| Self(Form::Exact(table))),
            [VERSION, HASHER, KIND_SKETCH] => decode_sketch(body).map(Self),
            [VERSION, HASHER, _] => Err(UniqueError::Damaged),
            [version, hasher, _] => Err(UniqueError::Unknown { version, hasher }),
        }
    }
}

/// The sketch of a table that is too long. Its anchor is what it would be if the viewers had come in the order of the
/// low bits of their keys, which say nothing about where in the sketch they go.
fn sketch_of(table: &Table) -> Form {
    let mut keys = table.keys().to_vec();
    keys.sort_unstable_by_key(|key| key.rotate_right(16));
    let (first, rest) = keys.split_at(EXACT_MAX);
    let mut sketch = Box::new(Sketch::new());
    first.iter().for_each(|key| {
        sketch.insert(*key);
    });
    let anchor = sketch.estimate();
    rest.iter().for_each(|key| {
        sketch.insert(*key);
    });
    Form::Sketched { sketch, anchor }
}

fn decode_sketch(body: &[u8]) -> Result<Form, UniqueError> {
    let (precision, body) = body.split_first().ok_or(UniqueError::Damaged)?;
    let (anchor, packed) = body.split_first_chunk::<8>().ok_or(UniqueError::Damaged)?;
    let anchor = f64::from_be_bytes(*anchor);
    // Ten standard errors from what it estimates. No number at all is outside, too.
    let is_near = (anchor - EXACT_MAX as f64).abs() <= EXACT_MAX as f64 * 0.04;
    if *precision != PRECISION || !is_near {
        return Err(UniqueError::Damaged);
    }
    let sketch = Box::new(Sketch::unpack(packed).ok_or(UniqueError::Damaged)?);
    // A sketch always has more viewers than a table, and those that its anchor was taken of.
    if sketch.estimate() < anchor { Err(UniqueError::Damaged) } else { Ok(Form::Sketched { sketch, anchor }) }
}
