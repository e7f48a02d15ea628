//! G8: real clients with an empty cache install from servers that hold everything: `npm ci`, `uv pip install`
//! and `pip install`, from nginx and from each Weir.

use super::Run;
use crate::fixture::Fixture;
use crate::meter::Meter;
use crate::replay::{Set, run as replay};
use anyhow::{Result, ensure};
use weir_testkit::{Client, Output, PythonClient};

/// Measures those clients that are here.
pub(crate) async fn run(run: &mut Run<'_>) -> Result<()> {
    for peer in run.peers.iter().filter(|peer| peer.is_weir()) {
        for set in [Set::Npm, Set::Pypi] {
            replay(peer, &run.place.fixture.manifest, set, false).await?;
        }
    }
    let npm = Client::npm11();
    let mut python = [("uv pip install", PythonClient::uv()), ("pip install", PythonClient::pip())];
    // Whoever comes first pays for reading the client itself from the disk.
    if let Some(npm) = &npm {
        npm_ci(run, npm, 0, None).await?;
    }
    for (name, client) in &mut python {
        if let Some(client) = client {
            pip_install(run, client, name, 0, None).await?;
        }
    }
    for round in 0..run.rounds {
        for of in run.order() {
            // A rival takes minutes; what it costs a client shows in the replays.
            if of != 0 && !run.peers[of].is_weir() {
                continue;
            }
            if let Some(npm) = &npm {
                npm_ci(run, npm, of, Some(round)).await?;
            }
            for (name, client) in &mut python {
                if let Some(client) = client {
                    pip_install(run, client, name, of, Some(round)).await?;
                }
            }
        }
        eprintln!("installations: round {} of {}", round + 1, run.rounds);
    }
    Ok(())
}

/// Without a round it is not measured.
async fn npm_ci(run: &mut Run<'_>, npm: &Client, of: usize, round: Option<usize>) -> Result<()> {
    let peer = &run.peers[of];
    let Some(registry) = &peer.npm else { return Ok(()) };
    npm.forget();
    npm.write_config(registry, peer.token.as_deref());
    let (manifest, lock) = run.place.fixture.npm_project(registry)?;
    npm.write("package.json", manifest);
    npm.write("package-lock.json", lock);
    run.settle().await;
    let meter = Meter::start(&run.peers[of].roots());
    let command = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps"];
    let ended = npm.run(&command).await;
    add(run, "npm ci", of, round, meter, &ended)
}

async fn pip_install(
    run: &mut Run<'_>,
    client: &mut PythonClient,
    name: &str,
    of: usize,
    round: Option<usize>,
) -> Result<()> {
    let peer = &run.peers[of];
    let Some(index) = &peer.pypi else { return Ok(()) };
    client.forget();
    client.write_config(index, peer.token.as_deref().map(|token| ("aws", token)));
    run.settle().await;
    let meter = Meter::start(&run.peers[of].roots());
    let requirements = [&["--only-binary", ":all:"], Fixture::requirements()].concat();
    let ended = client.install(&requirements).await;
    add(run, name, of, round, meter, &ended)
}

fn add(
    run: &mut Run<'_>,
    case: &str,
    of: usize,
    round: Option<usize>,
    meter: Meter,
    ended: &Output,
) -> Result<()> {
    let values = meter.stop().values();
    let name = &run.peers[of].name;
    ensure!(ended.success(), "{case} from {name} failed:\n{ended}");
    if let Some(round) = round {
        run.measured.add("G8", case, name, round, values);
    }
    Ok(())
}
