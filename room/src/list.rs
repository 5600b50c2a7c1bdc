//! The two lists of a room.

use std::ops::{Index, IndexMut};

/// One of a room's two lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum List {
    /// Delivered first, complete and in order, however far behind the reader is.
    Priority,
    /// May skip under flood, and says how many it skipped.
    Normal,
}

impl List {
    /// Both lists, in the order of delivery.
    pub const ALL: [Self; 2] = [Self::Priority, Self::Normal];

    /// The word for it in the API and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::Normal => "normal",
        }
    }

    /// The list that the API calls `text`, if there is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|list| list.as_str() == text)
    }
}

/// How a sender wants a message treated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Goes to the priority list; needs the right.
    High,
    /// Goes to the normal list.
    #[default]
    Normal,
    /// Goes to the normal list and is the first to be refused under pressure.
    Low,
}

impl Priority {
    /// The list it goes to.
    #[must_use]
    pub const fn list(self) -> List {
        match self {
            Self::High => List::Priority,
            Self::Normal | Self::Low => List::Normal,
        }
    }
}

/// One value for each list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PerList<T> {
    /// The priority list's.
    pub priority: T,
    /// The normal list's.
    pub normal: T,
}

impl<T> PerList<T> {
    /// Makes both values by `make`.
    pub fn from_fn(mut make: impl FnMut(List) -> T) -> Self {
        Self { priority: make(List::Priority), normal: make(List::Normal) }
    }
}

impl<T> Index<List> for PerList<T> {
    type Output = T;
    fn index(&self, list: List) -> &T {
        match list {
            List::Priority => &self.priority,
            List::Normal => &self.normal,
        }
    }
}

impl<T> IndexMut<List> for PerList<T> {
    fn index_mut(&mut self, list: List) -> &mut T {
        match list {
            List::Priority => &mut self.priority,
            List::Normal => &mut self.normal,
        }
    }
}
