//! G11: many clients ask at one moment for one large file that the server does not hold yet. How often the
//! registry behind is asked, whether all receive while it is fetched, and what a client more costs in memory.

use super::Run;
use crate::fixture::CROWD;
use crate::http::{Connection, Request};
use crate::measure::Values;
use crate::meter::{Meter, memory};
use crate::peers::CROWD_LOG;
use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::time::{Duration, Instant};

/// How many clients ask at once.
const CROWDS: &[usize] = &[64, 1000];

/// Lets each crowd ask each Weir once.
pub(crate) async fn run(run: &mut Run<'_>) -> Result<()> {
    for of in (0..run.peers.len()).filter(|of| run.peers[*of].is_weir()).collect::<Vec<_>>() {
        // What the fetch itself takes.
        let (alone, _) = crowd(run, of, 1).await.context("one client")?;
        for &clients in CROWDS {
            let (grown, mut values) =
                crowd(run, of, clients).await.with_context(|| format!("{clients} clients"))?;
            let more = grown.saturating_sub(alone) as f64 / 1024.0 / (clients - 1) as f64;
            values.insert("kib_per_client".to_owned(), more);
            let name = &run.peers[of].name;
            run.measured.add("G11", &format!("{clients} clients"), name, 0, values);
        }
    }
    Ok(())
}

/// What one client saw.
struct Seen {
    /// From the request to the first byte of the body.
    first: Option<Duration>,
    bytes: u64,
    failed: Option<String>,
}

/// Lets a crowd ask: by how many bytes the server grew, and the other values.
async fn crowd(run: &mut Run<'_>, of: usize, clients: usize) -> Result<(u64, Values)> {
    run.peers[of].reset(&run.place).await?;
    let package = run.place.fixture.manifest.generated(CROWD)?.clone();
    let file = package.tarballs.first().context("the made-up package has a file")?;
    let request = run.peers[of].tarball(&package, &file.file).await?.context("Weir has an npm registry")?;
    let log = run.place.bench.join("run/nginx").join(CROWD_LOG);
    let earlier = fs_err::read_to_string(&log).unwrap_or_default().lines().count();
    run.settle().await;
    let roots = run.peers[of].roots();
    let before = memory(&roots);
    let meter = Meter::start(&roots);
    let mut waiting: FuturesUnordered<_> = (0..clients).map(|_| ask(&request)).collect();
    let mut seen = Vec::with_capacity(clients);
    while let Some(one) = waiting.next().await {
        seen.push(one);
    }
    let cost = meter.stop();
    let (requests, took) = upstream(&log, earlier).await;
    let streamed = |one: &&Seen| one.first.is_some_and(|first| first.as_secs_f64() < took * 0.75);
    let whole = seen.iter().filter(|one| one.failed.is_none() && one.bytes == file.size);
    let failed: Vec<_> = seen.iter().filter_map(|one| one.failed.as_deref()).collect();
    if let Some(first) = failed.first() {
        eprintln!("crowd of {clients}: {} clients failed, one with: {first}", failed.len());
    }
    let mut values = cost.values();
    for (name, value) in [
        ("upstream_requests", requests as f64),
        ("upstream_s", took),
        ("streamed_share", seen.iter().filter(streamed).count() as f64 / clients as f64),
        ("whole_share", whole.count() as f64 / clients as f64),
    ] {
        values.insert(name.to_owned(), value);
    }
    let name = &run.peers[of].name;
    eprintln!("crowd of {clients} at {name}: {:.0} s", cost.wall);
    Ok((cost.peak.saturating_sub(before), values))
}

async fn ask(request: &Request) -> Seen {
    let mut seen = Seen { first: None, bytes: 0, failed: None };
    if let Err(error) = receive(request, &mut seen).await {
        seen.failed = Some(format!("{error:#}"));
    }
    seen
}

async fn receive(request: &Request, seen: &mut Seen) -> Result<()> {
    let begun = Instant::now();
    let mut connection = Connection::default();
    let mut answer = connection.send(request).await?;
    anyhow::ensure!(answer.head.status == 200, "the answer was {}", answer.head.status);
    while let Some(piece) = answer.piece().await? {
        seen.first.get_or_insert_with(|| begun.elapsed());
        seen.bytes += piece.len() as u64;
    }
    Ok(())
}

/// How often nginx was asked since, and how long the longest of its answers took.
async fn upstream(log: &std::path::Path, earlier: usize) -> (usize, f64) {
    // It writes the line when the answer is done, which may be a moment after the last client has it.
    for _ in 0..20 {
        let lines = fs_err::read_to_string(log).unwrap_or_default();
        let times: Vec<f64> = lines.lines().skip(earlier).filter_map(request_time).collect();
        if !times.is_empty() {
            return (times.len(), times.into_iter().fold(0.0, f64::max));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (0, 0.0)
}

fn request_time(line: &str) -> Option<f64> {
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_begins_with_the_time() {
        assert_eq!(request_time("2.503 100012345"), Some(2.503));
        assert_eq!(request_time(""), None);
    }
}
