//! G9: resident memory of each Weir, idle after a start and at most during all kinds of work. Documents above
//! 8 MiB are left out: while such a one is read, its own size is all that would show.

use super::Run;
use crate::fixture::BLOB;
use crate::meter::{highest_memory, memory};
use crate::replay::{Set, run as replay};
use anyhow::Result;
use std::time::Duration;

/// How long a server has been idle when it is looked at.
const IDLE: Duration = Duration::from_secs(2);
/// Connections that ask at once.
const CONNECTIONS: usize = 64;

/// A cold start, everything once cold and once warm, and the heaviest requests.
pub(crate) async fn run(run: &mut Run<'_>) -> Result<()> {
    // Memory does not depend on who else is at work, so few rounds say as much as many.
    for round in 0..run.rounds.min(3) {
        for of in 0..run.peers.len() {
            if !run.peers[of].is_weir() {
                continue;
            }
            run.peers[of].reset(&run.place).await?;
            tokio::time::sleep(IDLE).await;
            let roots = run.peers[of].roots();
            let idle = memory(&roots);
            work(run, of).await?;
            let peer = &run.peers[of];
            let values = [("idle_mb", idle as f64 / 1e6), ("peak_mb", highest_memory(&roots) as f64 / 1e6)];
            let values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            run.measured.add("G9", "memory", &peer.name, round, values);
        }
        eprintln!("memory: round {}", round + 1);
    }
    Ok(())
}

async fn work(run: &Run<'_>, of: usize) -> Result<()> {
    let (peer, manifest) = (&run.peers[of], &run.place.fixture.manifest);
    for set in [Set::Npm, Set::Pypi, Set::Npm, Set::Pypi] {
        replay(peer, manifest, set, true).await?;
    }
    let large = manifest.packument_near(4_000_000)?;
    let blob = manifest.generated(BLOB)?;
    let file = blob.tarballs.first().map(|file| file.file.clone()).unwrap_or_default();
    let requests = [
        peer.packument(&manifest.packument_near(55_000)?.name, true),
        peer.packument(&large.name, false),
        peer.packument(&large.name, true),
        peer.page(&manifest.page_near(1_000_000)?.name),
        peer.tarball(blob, &file).await?,
    ];
    for request in requests.into_iter().flatten() {
        run.wrk.run(&request, CONNECTIONS, run.seconds, &peer.roots()).await?;
    }
    Ok(())
}
