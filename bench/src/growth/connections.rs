//! Requests a second and latency against connections, for a small packument and a small tarball.

use super::{Curve, medians};
use crate::http::{Connection, Request};
use crate::stages::Run;
use anyhow::{Context as _, Result};

const CONNECTIONS: &[usize] = &[1, 4, 16, 64, 256, 1000];

/// One curve each.
pub(super) async fn run(run: &mut Run<'_>) -> Result<Vec<Curve>> {
    let manifest = &run.place.fixture.manifest;
    let small = manifest.packument_near(55_000)?.name.clone();
    let (package, file) = manifest.tarball_near(10_000)?;
    let (package, file) = (package.clone(), file.file.clone());
    let mut curves = Vec::new();
    for what in ["a small packument", "a tarball of 10 kB"] {
        let mut requests = Vec::new();
        for peer in &run.peers[..2] {
            let request = if what == "a small packument" {
                peer.packument(&small, true)
            } else {
                peer.tarball(&package, &file).await?
            };
            let request = request.context("both have an npm registry")?;
            // What is measured is held, and known to be whole.
            for _ in 0..2 {
                Connection::default().get(&request).await?;
            }
            requests.push(request);
        }
        let heading = format!("Connections, {what}");
        curves.push(curve(run, &heading, &requests).await?);
    }
    Ok(curves)
}

async fn curve(run: &mut Run<'_>, heading: &str, requests: &[Request]) -> Result<Curve> {
    let columns = [
        "connections",
        "req/s",
        "p50 ms",
        "p99 ms",
        "CPU µs/req",
        "peak MB",
        "nginx req/s",
        "nginx p99 ms",
        "÷ nginx",
    ];
    let mut curve = Curve::new(heading, &columns);
    for &connections in CONNECTIONS {
        let (mut nginx, mut weir) = (Vec::new(), Vec::new());
        for _ in 0..run.rounds {
            for of in run.order().into_iter().filter(|of| *of < 2) {
                run.settle().await;
                let roots = run.peers[of].roots();
                let values = run.wrk.run(&requests[of], connections, run.seconds, &roots).await?;
                (if of == 0 { &mut nginx } else { &mut weir }).push(values);
            }
        }
        let rate = "requests_per_second";
        let ratio = medians(&weir, rate).zip(medians(&nginx, rate)).map(|(weir, nginx)| weir / nginx);
        curve.point(
            connections,
            vec![
                medians(&weir, rate),
                medians(&weir, "p50_ms"),
                medians(&weir, "p99_ms"),
                medians(&weir, "cpu_us_per_request"),
                medians(&weir, "peak_mb"),
                medians(&nginx, rate),
                medians(&nginx, "p99_ms"),
                ratio,
            ],
        );
    }
    Ok(curve)
}
