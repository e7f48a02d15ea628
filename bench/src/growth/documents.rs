//! The size of a document: the first answer of all, which fetches and renders it, the first after a restart,
//! which renders it from what is kept, and answers from memory.

use super::{Curve, first_looks, medians};
use crate::fixture::{SIZES, sized};
use crate::http::Connection;
use crate::stages::Run;
use anyhow::{Context as _, Result};

const CONNECTIONS: usize = 16;

/// Full packuments of made-up packages.
pub(super) async fn run(run: &mut Run<'_>) -> Result<Curve> {
    let columns = [
        "bytes",
        "fetched ms",
        "after restart ms",
        "from memory ms",
        "req/s",
        "CPU µs/req",
        "nginx req/s",
        "÷ nginx",
    ];
    let mut curve = Curve::new("Size of the packument", &columns);
    run.peers[1].reset(&run.place).await?;
    let ask = async |run: &Run<'_>, name: &str, times: usize| {
        let request = run.peers[1].packument(name, false).context("Weir has an npm registry")?;
        first_looks(times, async |_| Connection::default().get(&request).await.map(|_| ())).await
    };
    for &bytes in SIZES {
        let name = sized(bytes);
        run.settle().await;
        let fetched = ask(run, &name, 1).await?;
        let mut restarted = Vec::new();
        for _ in 0..run.rounds {
            run.peers[1].restart().await?;
            // The first request of all also opens connections to the database.
            ask(run, &sized(SIZES[0] + 1), 1).await.ok();
            restarted.extend(ask(run, &name, 1).await?);
        }
        let warm = ask(run, &name, 15).await?;
        let (mut weir, mut nginx) = (Vec::new(), Vec::new());
        for _ in 0..run.rounds {
            for (of, to) in [(1, &mut weir), (0, &mut nginx)] {
                run.settle().await;
                let request = run.peers[of].packument(&name, false).context("both have an npm registry")?;
                to.push(run.wrk.run(&request, CONNECTIONS, run.seconds, &run.peers[of].roots()).await?);
            }
        }
        let rate = "requests_per_second";
        let ratio = medians(&weir, rate).zip(medians(&nginx, rate)).map(|(weir, nginx)| weir / nginx);
        curve.point(
            bytes,
            vec![
                fetched,
                crate::measure::median(restarted),
                warm,
                medians(&weir, rate),
                medians(&weir, "cpu_us_per_request"),
                medians(&nginx, rate),
                ratio,
            ],
        );
    }
    Ok(curve)
}
