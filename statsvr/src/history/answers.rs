//! Two nodes' answers about one room, in one.
//!
//! Both nodes look at a room once a second, but one that was away has seen less of it. What is taken of two answers is
//! what the one that saw more can say.

use std::cmp::Ordering;

use super::{Point, SERIES_POINTS_MAX, Series, Standing};

impl Series {
    /// Adds what a second node says about the same part of the same series. A point that both have is put together of
    /// both: the smaller minimum, the larger maximum, joins and leaves, and the mean of the one that saw more. That is the
    /// one with the larger span from minimum to maximum, with equal spans the one with more joins and leaves, and if
    /// these are equal, too, `self`.
    #[must_use]
    pub(crate) fn merge(self, other: Self) -> Self {
        let mut points = Vec::with_capacity(self.points.len().max(other.points.len()));
        let (mut ones, mut others) =
            (self.points.into_iter().peekable(), other.points.into_iter().peekable());
        while let (Some(one), Some(second)) = (ones.peek(), others.peek()) {
            let point = match one.t_ms.cmp(&second.t_ms) {
                Ordering::Less => ones.next(),
                Ordering::Greater => others.next(),
                Ordering::Equal => ones.next().zip(others.next()).map(|(one, second)| one.merge(&second)),
            };
            points.extend(point);
        }
        points.extend(ones.chain(others));
        let surplus = points.len().saturating_sub(SERIES_POINTS_MAX);
        points.drain(..surplus);
        Self { step: self.step, points }
    }
}

impl Point {
    fn merge(&self, other: &Self) -> Self {
        let seen =
            |point: &Self| (point.max.saturating_sub(point.min), point.joins.saturating_add(point.leaves));
        Self {
            t_ms: self.t_ms,
            min: self.min.min(other.min),
            avg: if seen(other) > seen(self) { other.avg } else { self.avg },
            max: self.max.max(other.max),
            joins: self.joins.max(other.joins),
            leaves: self.leaves.max(other.leaves),
        }
    }
}

impl Standing {
    /// Adds what a second node says about the same room: the larger numbers of both count, of equal peaks the earlier.
    #[must_use]
    pub(crate) fn merge(self, other: Self) -> Self {
        let is_later = |standing: &Self| (standing.peak_num_users, std::cmp::Reverse(standing.peak_at_ms));
        let peak =
            if is_later(&other) > is_later(&self) && other.peak_num_users > 0 { &other } else { &self };
        Self {
            peak_num_users: peak.peak_num_users,
            peak_at_ms: peak.peak_at_ms,
            unique_viewers: self.unique_viewers.max(other.unique_viewers),
            unique_viewers_total: self.unique_viewers_total.max(other.unique_viewers_total),
            unique_error: self.unique_error.max(other.unique_error),
            is_loaded: self.is_loaded && other.is_loaded,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::Step;

    fn point() -> impl Strategy<Value = Point> {
        (0_u64..40, 0_u64..9, 0_u64..9, 0_u64..5, 0_u64..5).prop_map(|(at, min, more, joins, leaves)| {
            let (t_ms, max) = (at * 10_000, min + more);
            Point { t_ms, min, avg: min + more / 2, max, joins, leaves }
        })
    }

    fn series() -> impl Strategy<Value = Series> {
        proptest::collection::vec(point(), 0..30).prop_map(|mut points| {
            points.sort_by_key(|point| point.t_ms);
            points.dedup_by_key(|point| point.t_ms);
            Series { step: Step::TenSeconds, points }
        })
    }

    proptest! {
        /// Nothing that either has seen is missing, and nothing else is there.
        #[test]
        fn merged_series_has_what_either_has(one in series(), other in series()) {
            let merged = one.clone().merge(other.clone());
            let times = |series: &Series| series.points.iter().map(|point| point.t_ms).collect::<Vec<_>>();
            let all: BTreeSet<u64> = times(&one).into_iter().chain(times(&other)).collect();
            prop_assert_eq!(times(&merged), all.into_iter().collect::<Vec<_>>());
            for point in &merged.points {
                let had = |series: &Series| series.points.iter().find(|had| had.t_ms == point.t_ms).copied();
                let parts: Vec<Point> = had(&one).into_iter().chain(had(&other)).collect();
                prop_assert_eq!(Some(point.min), parts.iter().map(|part| part.min).min());
                prop_assert_eq!(Some(point.max), parts.iter().map(|part| part.max).max());
                prop_assert_eq!(Some(point.joins), parts.iter().map(|part| part.joins).max());
                prop_assert_eq!(Some(point.leaves), parts.iter().map(|part| part.leaves).max());
                prop_assert!(parts.iter().any(|part| part.avg == point.avg));
                prop_assert!((point.min..=point.max).contains(&point.avg));
            }
            prop_assert_eq!(merged.clone().merge(other), merged.clone());
            prop_assert_eq!(one.merge(merged.clone()), merged);
        }
    }

    #[test]
    fn mean_is_that_of_the_node_that_saw_more() {
        let point = |min, avg, max, joins| Point { t_ms: 0, min, avg, max, joins, leaves: 0 };
        assert_eq!(point(5, 6, 7, 0).merge(&point(1, 4, 9, 0)).avg, 4, "the wider span");
        assert_eq!(point(5, 6, 7, 2).merge(&point(5, 5, 7, 3)).avg, 5, "more joins and leaves");
        assert_eq!(point(5, 6, 7, 2).merge(&point(5, 5, 7, 2)).avg, 6, "the first node's");
    }

    #[test]
    fn larger_numbers_and_the_earlier_peak_count() {
        let standing = |peak, at_ms, unique| Standing {
            peak_num_users: peak,
            peak_at_ms: at_ms,
            unique_viewers: unique,
            unique_viewers_total: 10 - unique,
            ..Standing::default()
        };
        let both = standing(7, 2_000, 3).merge(standing(7, 1_000, 5));
        assert_eq!(both, Standing { unique_viewers: 5, unique_viewers_total: 7, ..standing(7, 1_000, 0) });
        assert_eq!(standing(7, 2_000, 3).merge(standing(6, 1_000, 3)), standing(7, 2_000, 3));
        assert_eq!(Standing::default().merge(standing(7, 2_000, 3)).peak_at_ms, 2_000);
    }
}
