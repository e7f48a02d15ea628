//! What a package manager asks of a registry, without the package manager: every index document and then
//! its files over 16 connections, each file compared with its digest while it comes.

use crate::fixture::{LARGE_DOCUMENT, Manifest};
use crate::http::{Connection, Request};
use crate::measure::{Values, median};
use crate::meter::Meter;
use crate::peers::Peer;
use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sha2::{Digest as _, Sha256, Sha512};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

const CONNECTIONS: usize = 16;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    /// Abbreviated packuments and tarballs.
    Npm,
    /// Index pages in JSON and wheels.
    Pypi,
}

/// An index document and the files that are asked for after it, each with its digest.
struct Package {
    index: Request,
    files: Vec<(String, Expected)>,
}

enum Expected {
    Sha512(Vec<u8>),
    Sha256(Vec<u8>),
}

#[derive(Default)]
struct Seen {
    requests: usize,
    bytes: u64,
    latencies: Vec<f64>,
    errors: Vec<String>,
}

/// Asks a server for all of it once; `None` when it has no such registry. With `moderate`, documents above 8 MiB
/// and their files are left out.
pub(crate) async fn run(
    peer: &Peer,
    manifest: &Manifest,
    set: Set,
    moderate: bool,
) -> Result<Option<Values>> {
    let Some(packages) = packages(peer, manifest, set, moderate) else { return Ok(None) };
    let (waiting, seen) = (Rc::new(RefCell::new(packages)), Rc::new(RefCell::new(Seen::default())));
    let meter = Meter::start(&peer.roots());
    let workers = (0..CONNECTIONS).map(|_| async {
        let mut connection = Connection::default();
        loop {
            let Some(package) = waiting.borrow_mut().pop() else { break };
            if let Err(error) = replay(&mut connection, peer, &package, &seen).await {
                seen.borrow_mut().errors.push(format!("{error:#}"));
                // Whatever is left of the answer would be taken for the next one.
                connection = Connection::default();
            }
        }
    });
    // All on this thread; the program has one, so that the server has the other core.
    let mut workers: FuturesUnordered<_> = workers.collect();
    while workers.next().await.is_some() {}
    drop(workers);
    let cost = meter.stop();
    let mut seen = seen.borrow_mut();
    for error in seen.errors.iter().take(3) {
        eprintln!("replay of {}: {error}", peer.name);
    }
    seen.latencies.sort_by(f64::total_cmp);
    let mut values = cost.values();
    let p99 = seen.latencies.get(seen.latencies.len() * 99 / 100).copied();
    for (name, value) in [
        ("requests", seen.requests as f64),
        ("mb", seen.bytes as f64 / 1e6),
        ("p50_ms", median(seen.latencies.clone()).unwrap_or_default()),
        ("p99_ms", p99.unwrap_or_default()),
        ("errors", seen.errors.len() as f64),
    ] {
        values.insert(name.to_owned(), value);
    }
    Ok(Some(values))
}

fn packages(peer: &Peer, manifest: &Manifest, set: Set, moderate: bool) -> Option<Vec<Package>> {
    let limit = if moderate { LARGE_DOCUMENT } else { u64::MAX };
    match set {
        Set::Npm => {
            let real = manifest.npm.iter().filter(|package| !package.generated && package.full <= limit);
            real.map(|package| {
                let files = package.tarballs.iter().map(|file| {
                    let digest = file.integrity.trim_start_matches("sha512-");
                    (file.file.clone(), Expected::Sha512(STANDARD.decode(digest).unwrap_or_default()))
                });
                Some(Package { index: peer.packument(&package.name, true)?, files: files.collect() })
            })
            .collect()
        }
        Set::Pypi => {
            let small = manifest.pypi.iter().filter(|project| project.json <= limit);
            small
                .map(|project| {
                    let files = project.files.iter().map(|file| {
                        (file.file.clone(), Expected::Sha256(hex::decode(&file.sha256).unwrap_or_default()))
                    });
                    Some(Package { index: peer.page(&project.name)?, files: files.collect() })
                })
                .collect()
        }
    }
}

async fn replay(
    connection: &mut Connection,
    peer: &Peer,
    package: &Package,
    seen: &RefCell<Seen>,
) -> Result<()> {
    let begun = Instant::now();
    let document = connection.get(&package.index).await?;
    note(seen, begun, document.len() as u64);
    for (file, expected) in &package.files {
        let request = peer.file(&package.index, &document, file)?;
        let begun = Instant::now();
        let bytes = fetch(connection, &request, expected).await?;
        note(seen, begun, bytes);
    }
    Ok(())
}

fn note(seen: &RefCell<Seen>, begun: Instant, bytes: u64) {
    let mut seen = seen.borrow_mut();
    seen.requests += 1;
    seen.bytes += bytes;
    seen.latencies.push(begun.elapsed().as_secs_f64() * 1e3);
}

async fn fetch(connection: &mut Connection, request: &Request, expected: &Expected) -> Result<u64> {
    let mut answer = connection.send(request).await?;
    ensure!(answer.head.status == 200, "{} was answered with {}", request.url, answer.head.status);
    let mut length = 0;
    let same = match expected {
        Expected::Sha512(digest) => {
            let mut hash = Sha512::new();
            while let Some(piece) = answer.piece().await? {
                length += piece.len() as u64;
                hash.update(&piece);
            }
            hash.finalize()[..] == digest[..]
        }
        Expected::Sha256(digest) => {
            let mut hash = Sha256::new();
            while let Some(piece) = answer.piece().await? {
                length += piece.len() as u64;
                hash.update(&piece);
            }
            hash.finalize()[..] == digest[..]
        }
    };
    ensure!(same, "{} has another digest than it should", request.url);
    Ok(length)
}
