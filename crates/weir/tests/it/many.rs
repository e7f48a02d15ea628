//! A domain of very many versions: starting, a page of packages, an index and a look for garbage take as long as with
//! few, or nearly. 10,000 versions, or 1,000,000 with `WEIR_TEST_LONG`; what was measured is printed.

mod fill;

use fill::{VERSIONS, file, fill, name};
use std::time::{Duration, Instant};
use weir_testkit::{Weir, long};

/// Measurements of which the median counts.
const TIMES: usize = 15;

/// What was measured of one domain.
struct Measured {
    start: Duration,
    page: Duration,
    index: Duration,
    garbage: Duration,
    describe: Duration,
}

async fn measure(versions: usize) -> Measured {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let builder = Weir::builder(env!("CARGO_BIN_EXE_weir")).data(&data);
    assert_eq!(builder.clone().start().await.stop().await, Some(0));
    let begun = Instant::now();
    let told = |done: usize| {
        if long() && done.is_multiple_of(100_000) {
            eprintln!("many: {done} of {versions} versions after {:.0} s", begun.elapsed().as_secs_f64());
        }
    };
    fill(&data, versions, true, told).await;
    let mut starts = Vec::new();
    let mut weir = None;
    for _ in 0..3 {
        drop(weir.take());
        let begun = Instant::now();
        weir = Some(builder.clone().start().await);
        starts.push(begun.elapsed());
    }
    let weir = weir.expect("it was started");
    let token = weir.token("local").await;

    let page = median(async |_| {
        let path = "/v1/packages?domain=local&repository=main&format=npm&max-results=100";
        let answer = weir.api("POST", path, "").await.assert_status(200).json();
        assert_eq!(answer["packages"].as_array().map(Vec::len), Some(100));
    })
    .await;
    let packages = versions / VERSIONS;
    let index = median(async |at| {
        let name = name(at * (packages / TIMES));
        let path = format!("/npm/d/local-000000000000/main/{name}");
        let answer = weir.get(&path, &token).await.assert_status(200).json();
        assert_eq!(answer["versions"].as_object().map(serde_json::Map::len), Some(VERSIONS));
    })
    .await;
    let begun = Instant::now();
    let told = weir.api("GET", "/v1/domain?domain=local", "").await.assert_status(200).json();
    let describe = begun.elapsed();
    let bytes: u64 = (0..versions).map(|number| file(number).len() as u64).sum();
    assert_eq!(told["domain"]["assetSizeBytes"].as_u64(), Some(bytes));
    let begun = Instant::now();
    let dry = weir.cli(&["gc", "--dry-run", "--json"]).await;
    let garbage = begun.elapsed();
    let report = dry.assert_ok().json();
    assert_eq!(report["report"]["total"]["erasable"]["blobs"], 0, "{report}");
    starts.sort();
    Measured { start: starts[1], page, index, garbage, describe }
}

async fn median(measured: impl AsyncFn(usize)) -> Duration {
    let mut times = Vec::with_capacity(TIMES);
    for at in 0..TIMES {
        let begun = Instant::now();
        measured(at).await;
        times.push(begun.elapsed());
    }
    times.sort();
    times[TIMES / 2]
}

#[tokio::test]
async fn a_domain_of_many_versions_answers_nearly_as_fast_as_one_of_few() {
    let many = if long() { 1_000_000 } else { 10_000 };
    let (small, large) = (measure(1000).await, measure(many).await);
    for (what, small, large) in [
        ("start", small.start, large.start),
        ("ListPackages page", small.page, large.page),
        ("packument", small.index, large.index),
        ("DescribeDomain", small.describe, large.describe),
        ("gc --dry-run", small.garbage, large.garbage),
    ] {
        eprintln!("many: {what}: {small:.1?} with 1000 versions, {large:.1?} with {many}");
    }
    // Wide limits: the machine is shared, and what grows with the domain is caught by them all the same.
    assert!(large.start < Duration::from_secs(5), "{:?}", large.start);
    assert!(large.page < small.page * 5 + Duration::from_millis(20), "{:?}, {:?}", large.page, small.page);
    assert!(
        large.index < small.index * 5 + Duration::from_millis(20),
        "{:?}, {:?}",
        large.index,
        small.index
    );
    assert!(large.garbage < Duration::from_secs(120), "{:?}", large.garbage);
}
