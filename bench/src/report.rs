//! What a run comes to: tables, a file of JSON below `target/bench/results`, the comparison with the last such
//! file, and the tables of `docs/benchmarks.md`.

use crate::goals::{Met, Verdict, judge};
use crate::growth::Curve;
use crate::measure::{Change, Measured, REFERENCE, Series, compare, median};
use crate::table::{Table, number, optional};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use weir_core::{Clock as _, SystemClock};

const BEGIN: &str = "<!-- results begin -->";
const END: &str = "<!-- results end -->";

/// A run, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    /// When it ended.
    pub(crate) at: String,
    /// The machine.
    pub(crate) machine: String,
    /// Which fixture: others cannot be compared with.
    pub(crate) fixture: String,
    /// The command line.
    pub(crate) command: String,
    /// The Weirs, by name.
    pub(crate) weirs: Vec<String>,
    /// Measurements before which the machine was not quiet.
    pub(crate) disturbed: usize,
    pub(crate) measured: Measured,
    #[serde(default)]
    pub(crate) curves: Vec<Curve>,
}

impl Report {
    /// The tables.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("{}, {}, fixture {}\n", self.at, self.machine, self.fixture);
        text += &format!("`{}`\n", self.command);
        if self.disturbed > 0 {
            text +=
                &format!("\nThe machine was busy with other work before {} measurements.\n", self.disturbed);
        }
        for (heading, table) in [
            ("Goals", self.verdicts()),
            ("Requests", self.requests()),
            ("Replays and installations", self.work()),
            ("Memory", self.plain("G9", &["idle_mb", "peak_mb"])),
            (
                "Crowds",
                self.plain(
                    "G11",
                    &[
                        "upstream_requests",
                        "streamed_share",
                        "whole_share",
                        "kib_per_client",
                        "wall_s",
                        "upstream_s",
                    ],
                ),
            ),
        ] {
            if !table.is_empty() {
                text += &format!("\n### {heading}\n\n{}", table.render());
            }
        }
        for curve in &self.curves {
            text += &format!("\n### {}\n\n{}", curve.heading, curve.table().render());
        }
        text
    }

    /// What was judged.
    pub(crate) fn judged(&self) -> Vec<Verdict> {
        judge(&self.measured, &self.weirs)
    }

    fn verdicts(&self) -> Table {
        let mut table = Table::new(&["goal", "server", "what", "worst", "must", "stretch", "", "worst case"]);
        for verdict in self.judged() {
            let met = match verdict.met {
                Met::Stretch => "met, and the stretch",
                Met::Must => "met",
                Met::Missed => "MISSED",
            };
            table.row(vec![
                verdict.goal,
                verdict.target,
                verdict.what,
                number(verdict.worst),
                verdict.must,
                verdict.stretch.unwrap_or_default(),
                met.to_owned(),
                verdict.case,
            ]);
        }
        table
    }

    fn requests(&self) -> Table {
        let mut table = Table::new(&[
            "what",
            "server",
            "req/s",
            "÷ nginx",
            "MB/s",
            "p50 ms",
            "p99 ms",
            "CPU µs/req",
            "÷ nginx",
            "peak MB",
            "errors",
            "other cores",
        ]);
        for series in self.of(&["G1", "G2", "G3", "G4", "G10"]) {
            table.row(vec![
                format!("{} {}", series.goal, series.case),
                series.target.clone(),
                optional(series.median("requests_per_second")),
                optional(self.ratio(series, "requests_per_second")),
                optional(series.median("mb_per_second")),
                optional(series.median("p50_ms")),
                optional(series.median("p99_ms")),
                optional(series.median("cpu_us_per_request")),
                optional(self.ratio(series, "cpu_us_per_request")),
                optional(series.largest("peak_mb")),
                optional(series.largest("errors")),
                optional(series.median("other_cores")),
            ]);
        }
        table
    }

    fn work(&self) -> Table {
        let mut table = Table::new(&[
            "what",
            "server",
            "seconds",
            "÷ nginx",
            "requests",
            "MB",
            "p50 ms",
            "p99 ms",
            "CPU s",
            "client CPU s",
            "peak MB",
            "errors",
            "other cores",
        ]);
        for series in self.of(&["G5", "G6", "G7", "G8"]) {
            table.row(vec![
                format!("{} {}", series.goal, series.case),
                series.target.clone(),
                optional(series.median("wall_s")),
                optional(self.ratio(series, "wall_s")),
                optional(series.median("requests")),
                optional(series.median("mb")),
                optional(series.median("p50_ms")),
                optional(series.median("p99_ms")),
                optional(series.median("cpu_s")),
                optional(series.median("client_cpu_s")),
                optional(series.largest("peak_mb")),
                optional(series.largest("errors")),
                optional(series.median("other_cores")),
            ]);
        }
        table
    }

    fn plain(&self, goal: &str, values: &[&str]) -> Table {
        let mut table = Table::new(&[&["what", "server"], values].concat());
        for series in self.of(&[goal]) {
            let mut cells = vec![format!("{goal} {}", series.case), series.target.clone()];
            cells.extend(values.iter().map(|value| optional(series.largest(value))));
            table.row(cells);
        }
        table
    }

    fn of(&self, goals: &[&str]) -> Vec<&Series> {
        let mut series: Vec<_> =
            self.measured.series.iter().filter(|series| goals.contains(&series.goal.as_str())).collect();
        // By kind of work, as the order within a round was random.
        let first = |series: &Series| {
            let mut all = self.measured.series.iter();
            all.position(|other| other.goal == series.goal && other.case == series.case)
        };
        let rank = |target: &str| {
            let weir = self.weirs.iter().position(|weir| weir == target).map_or(99, |at| at + 1);
            (if target == REFERENCE { 0 } else { weir }, target.to_owned())
        };
        series.sort_by_key(|one| (first(one), rank(&one.target)));
        series
    }

    fn ratio(&self, series: &Series, value: &str) -> Option<f64> {
        median(series.ratios(self.measured.beside(series, REFERENCE)?, value))
    }

    /// How each Weir changed since an earlier run: its ratios to nginx, which say more than figures of another hour.
    pub(crate) fn compared(&self, earlier: &Self) -> Table {
        let mut table = Table::new(&["what", "server", "value", "then", "now", "change"]);
        for series in self.measured.series.iter().filter(|series| self.weirs.contains(&series.target)) {
            let Some(before) = earlier.measured.beside(series, &series.target) else { continue };
            for value in
                ["requests_per_second", "cpu_us_per_request", "wall_s", "cpu_s", "idle_mb", "peak_mb"]
            {
                // A run by wrk lasts as long as it is told, so its seconds say nothing.
                let timed = series.rounds.values().any(|values| values.contains_key("requests_per_second"));
                if timed && matches!(value, "cpu_s" | "peak_mb") {
                    continue;
                }
                let (then, now, what) = match (earlier.beside(before), self.beside(series)) {
                    (Some(other_then), Some(other_now)) if value != "peak_mb" => (
                        before.ratios(other_then, value),
                        series.ratios(other_now, value),
                        format!("{value} ÷ {REFERENCE}"),
                    ),
                    _ => (before.values(value), series.values(value), value.to_owned()),
                };
                let Some(change) = compare(&then, &now) else { continue };
                table.row(vec![
                    format!("{} {}", series.goal, series.case),
                    series.target.clone(),
                    what,
                    optional(median(then)),
                    optional(median(now)),
                    told(change),
                ]);
            }
        }
        table
    }

    fn beside(&self, series: &Series) -> Option<&Series> {
        self.measured.beside(series, REFERENCE)
    }

    /// Keeps it, and gives the one before of the same fixture.
    pub(crate) fn keep(&self, bench: &Path) -> Result<(PathBuf, Option<Self>)> {
        let folder = bench.join("results");
        fs_err::create_dir_all(&folder)?;
        let mut files: Vec<PathBuf> =
            fs_err::read_dir(&folder)?.flatten().map(|entry| entry.path()).collect();
        files.sort();
        let read = |file: &PathBuf| serde_json::from_slice::<Self>(&fs_err::read(file).ok()?).ok();
        let before = files.iter().rev().find_map(|file| read(file).filter(|one| one.fixture == self.fixture));
        let file = folder.join(format!("{}.json", self.at.replace(':', "-")));
        fs_err::write(&file, serde_json::to_vec_pretty(self)?)?;
        Ok((file, before))
    }

    /// Puts the tables into the page, between its marks.
    pub(crate) fn write_docs(&self, root: &Path) -> Result<()> {
        let path = root.join("docs/benchmarks.md");
        let page = fs_err::read_to_string(&path)?;
        let written = between_marks(&page, &self.render());
        fs_err::write(&path, written.with_context(|| format!("{} has no marks", path.display()))?)?;
        Ok(())
    }
}

fn told(change: Change) -> String {
    let mark = if change.beyond_spread { " (beyond the spread)" } else { "" };
    format!("{:+.1} %{mark}", change.percent)
}

fn between_marks(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}{END}{after}"))
}

/// Now, to the second.
pub(crate) fn now() -> String {
    let now = SystemClock.now().to_string();
    now.split_once('.').map_or(now.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// Cores, processor and memory of this machine, and its kernel.
pub(crate) fn machine() -> String {
    let line = |file: &str, name: &str| {
        let text = fs_err::read_to_string(file).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
        value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kilobytes =
        line("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<f64>().unwrap_or_default();
    let kernel = fs_err::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processor = line("/proc/cpuinfo", "model name");
    format!("{cores} cores of {processor}, {:.0} GB, Linux {}", kilobytes / 1e6, kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rates: &[f64]) -> Report {
        let mut measured = Measured::default();
        for (round, rate) in rates.iter().enumerate() {
            for (target, rate) in [("nginx", 100.0), ("weir", *rate)] {
                let values = [("requests_per_second".to_owned(), rate)].into();
                measured.add("G1", "small", target, round, values);
            }
        }
        Report {
            at: "2026-01-01T00:00:00Z".to_owned(),
            machine: "a machine".to_owned(),
            fixture: "f".to_owned(),
            command: "bench".to_owned(),
            weirs: vec!["weir".to_owned()],
            disturbed: 0,
            measured,
            curves: Vec::new(),
        }
    }

    #[test]
    fn a_run_is_kept_and_compared_with_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (report(&[50.0, 52.0, 51.0]), report(&[25.0, 26.0, 25.5]));
        assert!(first.keep(folder.path()).expect("it is written").1.is_none());
        let later = Report { at: "2026-01-02T00:00:00Z".to_owned(), ..second };
        let (_, before) = later.keep(folder.path()).expect("it is written");
        let table = later.compared(&before.expect("the first is there")).render();
        assert!(table.contains("-50.0 % (beyond the spread)"), "{table}");
        assert!(later.render().contains("| G1 small | nginx "), "{}", later.render());
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(between_marks(&page, "new\n"), Some(format!("a\n{BEGIN}\nnew\n{END}\nb\n")));
        assert_eq!(between_marks("no marks", "new"), None);
    }
}
