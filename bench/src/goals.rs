//! What is to be reached, as data, and whether it was: each goal is a bound on one value, or on its ratio to
//! nginx within a round, of every case that was measured for it.

use crate::measure::{Measured, REFERENCE, Series, median};
use serde::Serialize;

/// How a value is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The median of the ratios to nginx.
    Ratio,
    /// The median.
    Median,
    /// The largest of all rounds.
    Largest,
    /// The median of the ratios to the case of that name, by the same target.
    Beside(&'static str),
}

/// Which side of a bound is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    AtLeast,
    AtMost,
}

struct Goal {
    goal: &'static str,
    /// Only cases that contain this.
    case: &'static str,
    value: &'static str,
    of: Of,
    side: Side,
    must: f64,
    stretch: Option<f64>,
}

const fn goal(
    (goal, case): (&'static str, &'static str),
    value: &'static str,
    of: Of,
    side: Side,
    must: f64,
    stretch: Option<f64>,
) -> Goal {
    Goal { goal, case, value, of, side, must, stretch }
}

use Of::{Beside, Largest, Median, Ratio};
use Side::{AtLeast, AtMost};

const GOALS: &[Goal] = &[
    goal(("G1", ""), "requests_per_second", Ratio, AtLeast, 0.5, Some(1.0)),
    goal(("G1", ""), "cpu_us_per_request", Ratio, AtMost, 2.5, Some(1.2)),
    goal(("G2", ""), "requests_per_second", Ratio, AtLeast, 0.6, Some(1.0)),
    goal(("G2", ""), "p99_ms", Ratio, AtMost, 3.0, None),
    goal(("G2", ""), "cpu_us_per_request", Ratio, AtMost, 2.0, None),
    goal(("G3", ""), "requests_per_second", Ratio, AtLeast, 0.6, Some(1.0)),
    goal(("G3", ""), "cpu_us_per_request", Ratio, AtMost, 2.0, None),
    goal(("G4", ""), "mb_per_second", Ratio, AtLeast, 0.8, None),
    goal(("G4", ""), "cpu_us_per_mb", Ratio, AtMost, 12.0, Some(3.0)),
    goal(("G5", ""), "wall_s", Ratio, AtMost, 1.2, Some(1.1)),
    goal(("G5", ""), "cpu_s", Median, AtMost, 0.2, None),
    goal(("G6", ""), "wall_s", Ratio, AtMost, 2.0, Some(1.12)),
    goal(("G6", ""), "cpu_s", Median, AtMost, 1.5, None),
    goal(("G7", "cold"), "wall_s", Ratio, AtMost, 1.5, Some(1.2)),
    goal(("G7", "warm"), "wall_s", Ratio, AtMost, 1.15, Some(1.05)),
    goal(("G8", "npm"), "wall_s", Ratio, AtMost, 1.05, Some(1.0)),
    goal(("G8", "pip"), "wall_s", Ratio, AtMost, 1.3, Some(1.0)),
    goal(("G9", ""), "idle_mb", Largest, AtMost, 30.0, Some(20.0)),
    goal(("G9", ""), "peak_mb", Largest, AtMost, 120.0, Some(60.0)),
    goal(
        ("G10", "unchanged"),
        "cpu_us_per_request",
        Beside("small packument, sent, 16 connections"),
        AtMost,
        1.05,
        None,
    ),
    goal(("G11", ""), "upstream_requests", Largest, AtMost, 1.0, None),
    goal(("G11", ""), "streamed_share", Median, AtLeast, 1.0, None),
    goal(("G11", ""), "whole_share", Median, AtLeast, 1.0, None),
    goal(("G11", ""), "kib_per_client", Largest, AtMost, 48.0, None),
];

/// A goal held against what a target did.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    pub(crate) goal: String,
    pub(crate) target: String,
    /// What is bounded, in words: `requests_per_second ÷ nginx`.
    pub(crate) what: String,
    /// The worst of all cases, and which it was.
    pub(crate) worst: f64,
    pub(crate) case: String,
    /// `at least 0.5`.
    pub(crate) must: String,
    pub(crate) stretch: Option<String>,
    pub(crate) met: Met,
}

/// How far a goal was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Met {
    /// What is hoped for.
    Stretch,
    /// What is demanded.
    Must,
    /// Less.
    Missed,
}

/// Every goal for every target named here, as far as it was measured.
pub(crate) fn judge(measured: &Measured, targets: &[String]) -> Vec<Verdict> {
    let pairs = GOALS.iter().flat_map(|goal| targets.iter().map(move |target| (goal, target)));
    pairs.filter_map(|(goal, target)| goal.judge(measured, target)).collect()
}

impl Goal {
    fn judge(&self, measured: &Measured, target: &str) -> Option<Verdict> {
        let cases = measured.series.iter().filter(|series| {
            series.goal == self.goal && series.target == target && series.case.contains(self.case)
        });
        let values = cases.filter_map(|series| Some((self.value(measured, series)?, series.case.clone())));
        let (worst, case) =
            values.reduce(|one, other| if self.is_worse(one.0, other.0) { one } else { other })?;
        let holds = |bound: f64| match self.side {
            AtLeast => worst >= bound,
            AtMost => worst <= bound,
        };
        let met = if self.stretch.is_some_and(holds) {
            Met::Stretch
        } else if holds(self.must) {
            Met::Must
        } else {
            Met::Missed
        };
        let side = if self.side == AtLeast { "at least" } else { "at most" };
        let what = match self.of {
            Ratio => format!("{} ÷ {REFERENCE}", self.value),
            Median | Largest => self.value.to_owned(),
            Beside(_) => format!("{} ÷ the same with the document sent", self.value),
        };
        Some(Verdict {
            goal: self.goal.to_owned(),
            target: target.to_owned(),
            what,
            worst,
            case,
            must: format!("{side} {}", self.must),
            stretch: self.stretch.map(|bound| format!("{side} {bound}")),
            met,
        })
    }

    fn value(&self, measured: &Measured, series: &Series) -> Option<f64> {
        match self.of {
            Ratio => median(series.ratios(measured.beside(series, REFERENCE)?, self.value)),
            Median => series.median(self.value),
            Largest => series.largest(self.value),
            Beside(case) => {
                let other = Series { case: case.to_owned(), ..series.clone() };
                median(series.ratios(measured.beside(&other, &series.target)?, self.value))
            }
        }
    }

    fn is_worse(&self, one: f64, other: f64) -> bool {
        if self.side == AtLeast { one <= other } else { one >= other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Values;

    fn values(rate: f64, cpu: f64) -> Values {
        [("requests_per_second".to_owned(), rate), ("cpu_us_per_request".to_owned(), cpu)].into()
    }

    #[test]
    fn a_goal_is_judged_by_the_worst_case_and_only_where_it_was_measured() {
        let mut measured = Measured::default();
        for (case, rate) in [("16", 90.0), ("64", 40.0)] {
            measured.add("G1", case, REFERENCE, 0, values(100.0, 10.0));
            measured.add("G1", case, "weir", 0, values(rate, 11.0));
        }
        let verdicts = judge(&measured, &["weir".to_owned()]);
        assert_eq!(verdicts.len(), 2);
        assert_eq!((verdicts[0].worst, verdicts[0].case.as_str(), verdicts[0].met), (0.4, "64", Met::Missed));
        assert_eq!(verdicts[1].met, Met::Stretch);
    }

    #[test]
    fn unchanged_documents_are_held_against_a_small_one_that_is_sent() {
        let mut measured = Measured::default();
        measured.add("G10", "small packument, sent, 16 connections", "weir", 0, values(1.0, 10.0));
        measured.add("G10", "large packument, unchanged, 16 connections", "weir", 0, values(1.0, 20.0));
        let verdicts = judge(&measured, &["weir".to_owned()]);
        assert_eq!(verdicts.len(), 1);
        assert_eq!((verdicts[0].worst, verdicts[0].met), (2.0, Met::Missed));
    }
}
