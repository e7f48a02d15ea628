//! How answers grow slower: with connections, the size of the document, the repositories of the chain, the
//! statements of a policy and the versions of the domain. Curves, since a point hides where they bend.

mod chain;
mod connections;
mod documents;
#[path = "../../crates/weir/tests/it/many/fill.rs"]
mod fill;
mod policies;
mod versions;

use crate::measure::{Values, median};
use crate::stages::Run;
use crate::table::{Table, optional};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;

/// A measured curve: for each value of what grows, what was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Curve {
    /// What it is.
    pub(crate) heading: String,
    /// What grows, and then what is measured.
    pub(crate) columns: Vec<String>,
    /// One row for each point; the first is its label.
    pub(crate) points: Vec<(String, Vec<Option<f64>>)>,
}

impl Curve {
    fn new(heading: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Self { heading: heading.to_owned(), columns, points: Vec::new() }
    }

    fn point(&mut self, label: impl ToString, values: Vec<Option<f64>>) {
        let label = label.to_string();
        let shown: Vec<_> = values.iter().map(|value| optional(*value)).collect();
        eprintln!("growth: {}: {label}: {}", self.heading, shown.join(", "));
        self.points.push((label, values));
    }

    /// The curve as a table.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(&self.columns.iter().map(String::as_str).collect::<Vec<_>>());
        for (label, values) in &self.points {
            let cells = values.iter().map(|value| optional(*value));
            table.row(std::iter::once(label.clone()).chain(cells).collect());
        }
        table
    }
}

/// Measures all curves with the first Weir of the run, whose binary this is.
pub(crate) async fn run(run: &mut Run<'_>, binary: &Path, curves: &mut Vec<Curve>) -> Result<()> {
    curves.extend(connections::run(run).await?);
    curves.push(documents::run(run).await?);
    curves.push(chain::run(run, binary).await?);
    curves.push(policies::run(run, binary).await?);
    curves.push(versions::run(run, binary).await?);
    Ok(())
}

/// Medians of several measurements, by name.
fn medians(rounds: &[Values], name: &str) -> Option<f64> {
    median(rounds.iter().filter_map(|values| values.get(name).copied()).collect())
}

/// How long each of these takes, in milliseconds; the median.
async fn first_looks(count: usize, look: impl AsyncFn(usize) -> Result<()>) -> Result<Option<f64>> {
    let mut times = Vec::with_capacity(count);
    for at in 0..count {
        let begun = Instant::now();
        look(at).await.context("a first look failed")?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times))
}
