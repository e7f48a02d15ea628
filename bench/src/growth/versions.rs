//! The versions of the domain: a start, the first look at a package, a page of ListPackages, and answers from
//! memory. The filled data folders stay for the next run.

use super::fill::{VERSIONS, fill, name};
use super::{Curve, first_looks, medians};
use crate::http::{Connection, Request};
use crate::meter::memory;
use crate::peers::start_weir;
use crate::stages::Run;
use anyhow::{Result, ensure};
use std::path::Path;
use std::time::Instant;

const COUNTS: &[usize] = &[1_000, 10_000, 100_000, 1_000_000];
const CONNECTIONS: usize = 16;
const LOOKS: usize = 20;

/// A server on each of the folders.
pub(super) async fn run(run: &mut Run<'_>, binary: &Path) -> Result<Curve> {
    let mut curve = Curve::new(
        "Versions in the domain",
        &["versions", "start ms", "idle MB", "first look ms", "page of packages ms", "req/s", "CPU µs/req"],
    );
    let fixture = format!("http://127.0.0.1:{}", run.place.fixture.manifest.port);
    for &versions in COUNTS {
        let data = run.place.bench.join(format!("growth/versions-{versions}"));
        let complete = run.place.bench.join(format!("growth/versions-{versions}.complete"));
        if !complete.exists() {
            if data.exists() {
                fs_err::remove_dir_all(&data)?;
            }
            fs_err::create_dir_all(run.place.bench.join("growth"))?;
            start_weir(binary, &data, &fixture).await.stop().await;
            let begun = Instant::now();
            fill(&data, versions, false, |done| {
                if done.is_multiple_of(100_000) {
                    eprintln!("growth: {done} versions after {:.0} s", begun.elapsed().as_secs_f64());
                }
            })
            .await;
            fs_err::write(&complete, "")?;
        }
        run.settle().await;
        let mut starts = Vec::new();
        for _ in 1..run.rounds {
            let begun = Instant::now();
            let weir = start_weir(binary, &data, &fixture).await;
            starts.push(begun.elapsed().as_secs_f64() * 1e3);
            weir.stop().await;
        }
        let begun = Instant::now();
        let weir = start_weir(binary, &data, &fixture).await;
        starts.push(begun.elapsed().as_secs_f64() * 1e3);
        let idle = memory(&[weir.process_id()]) as f64 / 1e6;
        let (token, endpoint) = (weir.token("local").await, weir.endpoint("local", "main", "npm").await);
        let apart = (versions / VERSIONS / (LOOKS + 1)).max(1);
        let request = |at: usize| {
            let url = format!("{endpoint}{}", name(at * apart));
            Request::new(&url, Some(&token), &[("accept-encoding", "gzip")])
        };
        let look = async |at: usize| Connection::default().get(&request(at)).await.map(|_| ());
        look(LOOKS).await?;
        let first = first_looks(LOOKS, look).await?;
        let page = first_looks(LOOKS, async |_| {
            let path = "/v1/packages?domain=local&repository=main&format=npm&max-results=100";
            let answer = weir.api("POST", path, "").await;
            ensure!(answer.status == 200, "ListPackages was answered with {}", answer.status);
            Ok(())
        })
        .await?;
        let mut rounds = Vec::new();
        for _ in 0..run.rounds {
            run.settle().await;
            rounds.push(run.wrk.run(&request(0), CONNECTIONS, run.seconds, &[weir.process_id()]).await?);
        }
        weir.stop().await;
        curve.point(
            versions,
            vec![
                crate::measure::median(starts),
                Some(idle),
                first,
                page,
                medians(&rounds, "requests_per_second"),
                medians(&rounds, "cpu_us_per_request"),
            ],
        );
    }
    Ok(curve)
}
