//! G1 to G4 and G10: the same request again and again, for documents and files of several sizes, and
//! conditional requests that find nothing new.

use super::Run;
use crate::fixture::BLOB;
use crate::http::{Connection, Request};
use crate::peers::Peer;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A slow server is given more time, so that it answers at all, but no more than this.
const LONGEST: u64 = 15;

/// What is asked for.
#[derive(Debug, Clone)]
enum What {
    Packument {
        name: String,
        abbreviated: bool,
    },
    Page(String),
    Tarball {
        package: String,
        file: String,
    },
    Wheel {
        project: String,
        file: String,
    },
    /// Again, with the tag of the answer.
    Unchanged(Box<What>),
}

struct Case {
    goal: &'static str,
    name: String,
    what: What,
    connections: &'static [usize],
}

/// Asks every server for everything.
pub(crate) async fn run(run: &mut Run<'_>) -> Result<()> {
    let cases = cases(run)?;
    let mut requests = BTreeMap::new();
    for (at, case) in cases.iter().enumerate() {
        for (of, peer) in run.peers.iter().enumerate() {
            if let Some(request) = request(run, peer, &case.what).await? {
                let slow = warm(&request).await.with_context(|| format!("{} of {}", case.name, peer.name))?;
                requests.insert((at, of), (request, slow));
            }
        }
    }
    for round in 0..run.rounds {
        for (at, case) in cases.iter().enumerate() {
            for &connections in case.connections {
                for of in run.order() {
                    let Some((request, slow)) = requests.get(&(at, of)) else { continue };
                    run.settle().await;
                    let needed = (slow.as_secs_f64() * connections as f64 * 2.5).ceil() as u64;
                    let seconds = needed.clamp(run.seconds, run.seconds.max(LONGEST));
                    let peer = &run.peers[of];
                    let values = run.wrk.run(request, connections, seconds, &peer.roots()).await?;
                    let name = format!("{}, {connections} connections", case.name);
                    run.measured.add(case.goal, &name, &peer.name, round, values);
                }
            }
        }
        eprintln!("requests: round {} of {}", round + 1, run.rounds);
    }
    Ok(())
}

fn cases(run: &Run<'_>) -> Result<Vec<Case>> {
    let manifest = &run.place.fixture.manifest;
    let packument = |bytes, abbreviated| {
        let name = manifest.packument_near(bytes)?.name.clone();
        Ok::<_, anyhow::Error>(What::Packument { name, abbreviated })
    };
    let tarball = |bytes| {
        let (package, file) = manifest.tarball_near(bytes)?;
        Ok::<_, anyhow::Error>(What::Tarball { package: package.name.clone(), file: file.file.clone() })
    };
    let wheel = |bytes| {
        let (project, file) = manifest.wheel_near(bytes)?;
        Ok::<_, anyhow::Error>(What::Wheel { project: project.name.clone(), file: file.file.clone() })
    };
    let blob = manifest.generated(BLOB)?;
    let blob_file = blob.tarballs.first().context("the made-up package has a file")?.file.clone();
    let unchanged = |what: &What| What::Unchanged(Box::new(what.clone()));
    let (small, large) = (packument(55_000, true)?, packument(4_000_000, false)?);
    let page = What::Page(manifest.page_near(30_000)?.name.clone());
    let both: &[usize] = &[16, 64];
    let few: &[usize] = &[16];
    let all = [
        ("G1", "small packument", small.clone(), both),
        ("G1", "small Python page", page, both),
        ("G2", "large packument, full", large.clone(), few),
        ("G2", "large packument, abbreviated", packument(4_000_000, true)?, few),
        ("G2", "large Python page", What::Page(manifest.page_near(1_000_000)?.name.clone()), few),
        ("G3", "tarball of 10 kB", tarball(10_000)?, both),
        ("G3", "tarball of 480 kB", tarball(480_000)?, both),
        ("G3", "wheel of 20 kB", wheel(20_000)?, both),
        ("G4", "tarball of 32 MB", What::Tarball { package: blob.name.clone(), file: blob_file }, few),
        ("G4", "wheel of 17 MB", wheel(17_000_000)?, few),
        // The first is there to be compared with: it must cost the same to say that nothing is new.
        ("G10", "small packument, sent", small.clone(), few),
        ("G10", "small packument, unchanged", unchanged(&small), few),
        ("G10", "large packument, unchanged", unchanged(&large), few),
    ];
    let wanted = all.into_iter().filter(|(goal, ..)| run.goals.contains(goal));
    Ok(wanted
        .map(|(goal, name, what, connections)| Case { goal, name: name.to_owned(), what, connections })
        .collect())
}

async fn request(run: &Run<'_>, peer: &Peer, what: &What) -> Result<Option<Request>> {
    let manifest = &run.place.fixture.manifest;
    match what {
        What::Packument { name, abbreviated } => Ok(peer.packument(name, *abbreviated)),
        What::Page(name) => Ok(peer.page(name)),
        What::Tarball { package, file } => {
            let package = manifest.npm.iter().find(|other| other.name == *package);
            peer.tarball(package.context("the package is in the fixture")?, file).await
        }
        What::Wheel { project, file } => {
            let project = manifest.pypi.iter().find(|other| other.name == *project);
            peer.wheel(project.context("the project is in the fixture")?, file).await
        }
        What::Unchanged(what) => {
            let Some(mut request) = Box::pin(self::request(run, peer, what)).await? else { return Ok(None) };
            let mut connection = Connection::default();
            let answer = connection.send(&request).await?;
            let tag = answer.header("etag").to_owned();
            ensure!(!tag.is_empty(), "{} sends no ETag with {}", peer.name, request.url);
            request.headers.push(("if-none-match".to_owned(), tag));
            Ok(Some(request))
        }
    }
}

/// Asks a few times, so that the server has it, and gives how long the last answer took.
async fn warm(request: &Request) -> Result<Duration> {
    let mut connection = Connection::default();
    let mut took = Duration::ZERO;
    for _ in 0..3 {
        let begun = Instant::now();
        let mut answer = connection.send(request).await?;
        let status = answer.head.status.as_u16();
        while answer.piece().await?.is_some() {}
        let conditional = request.headers.iter().any(|(name, _)| name == "if-none-match");
        let expected = if conditional { 304 } else { 200 };
        // A rival may send the document again; its figures then show that.
        ensure!(status == expected || status == 200, "{} was answered with {status}", request.url);
        if conditional && status == 200 {
            eprintln!("warning: {} is sent again although it did not change", request.url);
        }
        took = begun.elapsed();
    }
    Ok(took)
}
