//! Measured values and what is made of them: medians, and ratios that are paired within a round. Pure.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The target that others are held against.
pub(crate) const REFERENCE: &str = "nginx";

/// The values of one target in one round, by name: `requests_per_second`, `cpu_us_per_request`, …
pub(crate) type Values = BTreeMap<String, f64>;

/// One kind of work done by one target, in several rounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Series {
    /// Which goal it belongs to: `G1`.
    pub(crate) goal: String,
    /// What was done, connections included.
    pub(crate) case: String,
    /// Who did it.
    pub(crate) target: String,
    /// What was measured, by round.
    pub(crate) rounds: BTreeMap<usize, Values>,
}

/// Everything measured in a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// In the order in which it was measured first.
    pub(crate) series: Vec<Series>,
}

impl Measured {
    /// Adds the values of a round.
    pub(crate) fn add(&mut self, goal: &str, case: &str, target: &str, round: usize, values: Values) {
        let same =
            |series: &&mut Series| series.goal == goal && series.case == case && series.target == target;
        if let Some(series) = self.series.iter_mut().find(same) {
            series.rounds.insert(round, values);
            return;
        }
        self.series.push(Series {
            goal: goal.to_owned(),
            case: case.to_owned(),
            target: target.to_owned(),
            rounds: [(round, values)].into(),
        });
    }

    /// The series of the same work by another target.
    pub(crate) fn beside(&self, series: &Series, target: &str) -> Option<&Series> {
        self.series
            .iter()
            .find(|other| other.goal == series.goal && other.case == series.case && other.target == target)
    }
}

impl Series {
    /// Every value of this name, one a round.
    pub(crate) fn values(&self, name: &str) -> Vec<f64> {
        self.rounds.values().filter_map(|values| values.get(name).copied()).collect()
    }

    /// The median over the rounds.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        median(self.values(name))
    }

    /// The largest of the rounds.
    pub(crate) fn largest(&self, name: &str) -> Option<f64> {
        self.values(name).into_iter().reduce(f64::max)
    }

    /// This by the other, round by round: what slowed both at one time is no difference between them.
    pub(crate) fn ratios(&self, other: &Self, name: &str) -> Vec<f64> {
        let pairs = self.rounds.iter().filter_map(|(round, values)| {
            let (mine, others) = (values.get(name)?, other.rounds.get(round)?.get(name)?);
            (*others > 0.0).then(|| mine / others)
        });
        pairs.collect()
    }
}

/// The middle value; the mean of the two in the middle of an even count.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// How two measurements of the same differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Change {
    /// Of the medians, in percent of the earlier one.
    pub(crate) percent: f64,
    /// Whether the values of the two do not even overlap.
    pub(crate) beyond_spread: bool,
}

/// Compares later values with earlier ones; `None` where one side has none.
pub(crate) fn compare(earlier: &[f64], later: &[f64]) -> Option<Change> {
    let (before, after) = (median(earlier.to_vec())?, median(later.to_vec())?);
    let lowest = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let apart = lowest(later) > highest(earlier) || highest(later) < lowest(earlier);
    let percent = (before != 0.0).then(|| (after / before - 1.0) * 100.0)?;
    Some(Change { percent, beyond_spread: apart && earlier.len().min(later.len()) > 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(target: &str, rounds: &[(usize, f64)]) -> Series {
        let mut measured = Measured::default();
        for (round, value) in rounds {
            measured.add("G1", "x", target, *round, [("rate".to_owned(), *value)].into());
        }
        measured.series.remove(0)
    }

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        // The third round was slow for both; a ratio of medians would not know.
        let weir = series("weir", &[(0, 50.0), (1, 60.0), (2, 5.0), (3, 1.0)]);
        let nginx = series(REFERENCE, &[(0, 100.0), (1, 120.0), (2, 10.0)]);
        assert_eq!(weir.ratios(&nginx, "rate"), [0.5, 0.5, 0.5]);
        assert_eq!(weir.ratios(&nginx, "other"), [0.0; 0]);
    }

    #[test]
    fn a_change_within_the_spread_is_told_apart() {
        let small = compare(&[100.0, 110.0, 90.0], &[105.0, 95.0, 106.0]).expect("both have values");
        assert!((small.percent - 5.0).abs() < 1e-9 && !small.beyond_spread);
        let large = compare(&[100.0, 110.0, 90.0], &[50.0, 60.0, 55.0]).expect("both have values");
        assert!((large.percent + 45.0).abs() < 1e-9 && large.beyond_spread);
        assert!(!compare(&[100.0], &[50.0]).expect("both have values").beyond_spread);
        assert_eq!(compare(&[], &[1.0]), None);
    }
}
