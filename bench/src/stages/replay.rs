//! G5 to G7: the request sets of two package managers, from servers that hold everything and from servers
//! that hold nothing yet.

use super::Run;
use crate::replay::{Set, run as replay};
use anyhow::Result;

/// Warm first, then cold: the other way round the first warm round would be the second look at everything.
pub(crate) async fn run(run: &mut Run<'_>) -> Result<()> {
    if run.wants(&["G5"]) {
        rounds(run, "G5", "npm replay, warm", Set::Npm, false).await?;
    }
    if run.wants(&["G6"]) {
        rounds(run, "G6", "npm replay, cold", Set::Npm, true).await?;
    }
    if run.wants(&["G7"]) {
        rounds(run, "G7", "Python replay, warm", Set::Pypi, false).await?;
        rounds(run, "G7", "Python replay, cold", Set::Pypi, true).await?;
    }
    Ok(())
}

async fn rounds(run: &mut Run<'_>, goal: &str, case: &str, set: Set, cold: bool) -> Result<()> {
    if !cold {
        for peer in &run.peers {
            // Not measured.
            replay(peer, &run.place.fixture.manifest, set, false).await?;
        }
    }
    for round in 0..run.rounds {
        for of in run.order() {
            let has = match set {
                Set::Npm => run.peers[of].npm.is_some(),
                Set::Pypi => run.peers[of].pypi.is_some(),
            };
            if !has {
                continue;
            }
            if cold {
                run.peers[of].reset(&run.place).await?;
            }
            run.settle().await;
            let peer = &run.peers[of];
            if let Some(values) = replay(peer, &run.place.fixture.manifest, set, false).await? {
                run.measured.add(goal, case, &peer.name, round, values);
            }
        }
        eprintln!("{case}: round {} of {}", round + 1, run.rounds);
    }
    Ok(())
}
