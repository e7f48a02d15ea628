//! The repositories of a chain: packages lie in the last one and are asked for at the first, from memory and
//! for the first time.

use super::{Curve, first_looks, medians};
use crate::http::{Connection, Request};
use crate::peers::start_weir;
use crate::stages::Run;
use anyhow::{Result, ensure};
use serde_json::json;
use std::path::Path;
use weir_testkit::{NpmPackage, Weir};

/// Repositories that are searched, the asked one included.
const LENGTHS: &[usize] = &[1, 2, 5, 10, 25];
/// Packages, each of which can be asked for the first time once.
const PACKAGES: usize = 20;
const CONNECTIONS: usize = 16;

/// A server with a chain of each length, all of which end in one repository.
pub(super) async fn run(run: &mut Run<'_>, binary: &Path) -> Result<Curve> {
    let data = run.place.bench.join("run/growth-chain");
    if data.exists() {
        fs_err::remove_dir_all(&data)?;
    }
    let fixture = format!("http://127.0.0.1:{}", run.place.fixture.manifest.port);
    let mut weir = start_weir(binary, &data, &fixture).await;
    repository(&weir, "last", None).await?;
    publish(&weir).await?;
    let mut curve = Curve::new(
        "Repositories in the chain",
        &["repositories", "first look ms", "from memory ms", "req/s", "p99 ms", "CPU µs/req"],
    );
    for &length in LENGTHS {
        let first = make(&weir, length).await?;
        // Nothing is in memory but what the request before the first look needed too.
        weir = weir.restart().await;
        let token = weir.token("local").await;
        let endpoint = weir.endpoint("local", &first, "npm").await;
        let request = |at: usize| {
            Request::new(&format!("{endpoint}chain-{at}"), Some(&token), &[("accept-encoding", "gzip")])
        };
        let look = async |at: usize| Connection::default().get(&request(at)).await.map(|_| ());
        look(PACKAGES).await?;
        let cold = first_looks(PACKAGES, look).await?;
        let warm = first_looks(PACKAGES, look).await?;
        let mut rounds = Vec::new();
        for _ in 0..run.rounds {
            run.settle().await;
            rounds.push(run.wrk.run(&request(0), CONNECTIONS, run.seconds, &[weir.process_id()]).await?);
        }
        curve.point(
            length,
            vec![
                cold,
                warm,
                medians(&rounds, "requests_per_second"),
                medians(&rounds, "p99_ms"),
                medians(&rounds, "cpu_us_per_request"),
            ],
        );
    }
    weir.stop().await;
    Ok(curve)
}

/// Makes the repositories of a chain and gives the first of it.
async fn make(weir: &Weir, length: usize) -> Result<String> {
    let mut behind = "last".to_owned();
    for at in 1..length {
        let name = format!("chain-{length}-{at}");
        repository(weir, &name, Some(&behind)).await?;
        behind = name;
    }
    Ok(behind)
}

async fn repository(weir: &Weir, name: &str, upstream: Option<&str>) -> Result<()> {
    let upstreams: Vec<_> = upstream.iter().map(|name| json!({ "repositoryName": name })).collect();
    let body = json!({ "upstreams": upstreams }).to_string();
    let answer = weir.api("POST", &format!("/v1/repository?domain=local&repository={name}"), &body).await;
    ensure!(answer.status == 200, "the repository {name} could not be made: {}", answer.text());
    Ok(())
}

/// Publishes the packages, and one more that is asked for before any is measured.
async fn publish(weir: &Weir) -> Result<()> {
    let endpoint = weir.endpoint("local", "last", "npm").await;
    let token = format!("Bearer {}", weir.token("local").await);
    for at in 0..=PACKAGES {
        for version in ["1.0.0", "1.1.0", "2.0.0"] {
            let package = NpmPackage::new(&format!("chain-{at}"), version).dependency("left-pad", "^1.3.0");
            let body = package.publish_document(&endpoint).to_string();
            let url = format!("{endpoint}{}", package.full_name());
            let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
            let answer = weir_testkit::http::send("PUT", &url, &headers, body).await;
            ensure!(answer.status.is_success(), "{url} could not be published: {}", answer.text());
        }
    }
    Ok(())
}
