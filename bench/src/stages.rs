//! The stages of a run, one for each kind of work: rounds in which all servers do the same in random order.

pub(crate) mod crowd;
pub(crate) mod install;
pub(crate) mod load;
pub(crate) mod memory;
pub(crate) mod replay;

use crate::load::Wrk;
use crate::measure::Measured;
use crate::meter::{PATIENCE, settle};
use crate::peers::{Peer, Place};
use anyhow::Result;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use weir_core::{Secrets as _, SystemSecrets};

/// What a stage is given.
pub(crate) struct Run<'a> {
    pub(crate) place: Place<'a>,
    /// The goals to measure: `G1`.
    pub(crate) goals: BTreeSet<&'static str>,
    pub(crate) rounds: usize,
    /// Seconds of one run of wrk.
    pub(crate) seconds: u64,
    pub(crate) wrk: Wrk,
    /// nginx first.
    pub(crate) peers: Vec<Peer>,
    pub(crate) measured: Measured,
    /// Measurements before which the machine did not become quiet.
    pub(crate) disturbed: usize,
    /// How long to wait for quiet the next time.
    pub(crate) patience: Duration,
}

impl Run<'_> {
    /// Whether any of these goals is asked for.
    pub(crate) fn wants(&self, goals: &[&str]) -> bool {
        goals.iter().any(|goal| self.goals.contains(goal))
    }

    /// The servers' places in a new random order.
    pub(crate) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.peers.len()).collect();
        for last in (1..order.len()).rev() {
            let mut bytes = [0; 8];
            SystemSecrets.fill(&mut bytes);
            let at = u64::from_le_bytes(bytes) % (last as u64 + 1);
            order.swap(last, usize::try_from(at).unwrap_or(last));
        }
        order
    }

    /// Waits until no server works any more and the machine is quiet, and counts when it did not become so.
    pub(crate) async fn settle(&mut self) {
        let roots: Vec<u32> = self.peers.iter().flat_map(Peer::roots).collect();
        if settle(&roots, self.patience).await {
            self.patience = PATIENCE;
            return;
        }
        // Where others work on and on, waiting long each time would make hours of a run.
        self.patience = Duration::from_secs(1);
        self.disturbed += 1;
        if self.disturbed == 1 {
            eprintln!("warning: others use this machine; ratios within a round suffer less than figures");
        }
    }

    /// Runs all stages that were asked for.
    pub(crate) async fn all(&mut self) -> Result<()> {
        if self.wants(&["G1", "G2", "G3", "G4", "G10"]) {
            self.timed("requests", async |run| load::run(run).await).await?;
        }
        if self.wants(&["G5", "G6", "G7"]) {
            self.timed("replays", async |run| replay::run(run).await).await?;
        }
        if self.wants(&["G8"]) {
            self.timed("installations", async |run| install::run(run).await).await?;
        }
        if self.wants(&["G9"]) {
            self.timed("memory", async |run| memory::run(run).await).await?;
        }
        if self.wants(&["G11"]) {
            self.timed("crowds", async |run| crowd::run(run).await).await?;
        }
        Ok(())
    }

    async fn timed(&mut self, what: &str, stage: impl AsyncFnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        eprintln!("stage: {what}");
        stage(self).await?;
        eprintln!("stage: {what} took {:.0} s", begun.elapsed().as_secs_f64());
        Ok(())
    }
}
