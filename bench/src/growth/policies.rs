//! The statements of a principal's policy: a user who may read, with none, ten and fifty statements about
//! other things before the one that counts.

use super::{Curve, medians};
use crate::http::{ABBREVIATED, Connection, Request};
use crate::peers::start_weir;
use crate::stages::Run;
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::path::Path;

const STATEMENTS: &[usize] = &[0, 10, 50];
const CONNECTIONS: usize = 16;

/// Small packuments, as users of different policies see them.
pub(super) async fn run(run: &mut Run<'_>, binary: &Path) -> Result<Curve> {
    let data = run.place.bench.join("run/growth-policies");
    if data.exists() {
        fs_err::remove_dir_all(&data)?;
    }
    let fixture = format!("http://127.0.0.1:{}", run.place.fixture.manifest.port);
    let weir = start_weir(binary, &data, &fixture).await;
    let endpoint = weir.endpoint("local", "main", "npm").await;
    let url = format!("{endpoint}{}", run.place.fixture.manifest.packument_near(55_000)?.name);
    let mut curve = Curve::new(
        "Statements in the principal's policy, a small packument",
        &["further statements", "req/s", "p99 ms", "CPU µs/req"],
    );
    let mut requests = Vec::new();
    for &further in STATEMENTS {
        let name = format!("reader-{further}");
        let file = run.place.bench.join(format!("run/{name}.json"));
        fs_err::write(&file, policy(further).to_string())?;
        let file = file.to_str().context("the folder has a name that is text")?;
        let user = weir.cli(&["user", "create", &name, "--policy", file]).await;
        ensure!(user.success(), "{user}");
        let created = weir.cli(&["token", "create", "--user", &name, "--json"]).await;
        ensure!(created.success(), "{created}");
        let created = created.json();
        let token = created["token"].as_str().context("a token was made")?;
        let request =
            Request::new(&url, Some(token), &[("accept", ABBREVIATED), ("accept-encoding", "gzip")]);
        Connection::default().get(&request).await?;
        requests.push(request);
    }
    let mut measured = vec![Vec::new(); STATEMENTS.len()];
    for _ in 0..run.rounds {
        for (request, rounds) in requests.iter().zip(&mut measured) {
            run.settle().await;
            rounds.push(run.wrk.run(request, CONNECTIONS, run.seconds, &[weir.process_id()]).await?);
        }
    }
    for (further, rounds) in STATEMENTS.iter().zip(&measured) {
        let values =
            ["requests_per_second", "p99_ms", "cpu_us_per_request"].map(|name| medians(rounds, name));
        curve.point(further, values.into());
    }
    weir.stop().await;
    Ok(curve)
}

fn policy(further: usize) -> serde_json::Value {
    let mut statements: Vec<_> = (0..further)
        .map(|at| {
            json!({
                "Effect": if at % 2 == 0 { "Allow" } else { "Deny" },
                "Action": "codeartifact:Delete*",
                // Short, as a document may have 7,168 characters.
                "Resource": format!("arn:aws:codeartifact:*:*:package/*/team-{at}/*"),
            })
        })
        .collect();
    statements.push(json!({
        "Effect": "Allow",
        "Action": ["codeartifact:*", "sts:GetServiceBearerToken"],
        "Resource": "*",
    }));
    json!({ "Version": "2012-10-17", "Statement": statements })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_policy_is_one_that_is_taken() {
        assert!(policy(50).to_string().len() < 7168);
    }
}
