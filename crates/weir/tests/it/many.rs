//! A domain of very many versions: starting, a page of packages, an index and a look for garbage take as long as with
//! few, or nearly. 10,000 versions, or 1,000,000 with `WEIR_TEST_LONG`; what was measured is printed.

use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weir_core::{
    Controls, Flags, Origin, OriginControls, PublishTime, RepositoryName, SystemClock, SystemSecrets,
    TimeSource, Timestamp, VersionStatus,
};
use weir_store::rows::{AssetRow, AssetState, ContentRow, Id, PackageRow, VersionRow};
use weir_store::{BlobKey, DbError, Durability, Store, new_id};
use weir_testkit::package::integrity;
use weir_testkit::{Weir, long};

/// Versions of each package.
const VERSIONS: usize = 10;
/// Versions of each transaction.
const BATCH: usize = 5000;
/// Measurements of which the median counts.
const TIMES: usize = 15;

/// Fills `main` of a data folder with npm packages of ten versions each, as publishing them would, and their files.
async fn fill(data: &Path, versions: usize) {
    let store = Store::open_folder(data, &SystemClock).await.expect("nobody has it open");
    let mut session = store.read().await.expect("a session");
    let domain = session.list_domains(None).await.expect("domains").remove(0).id;
    let repositories = session.repositories(&domain).await.expect("repositories");
    let name = RepositoryName::parse("repository", "main").expect("a name");
    let main = repositories.into_iter().find(|row| row.name == name).expect("main").id;
    drop(session);
    let begun = Instant::now();
    for from in (0..versions).step_by(BATCH) {
        let files: Vec<Bytes> = (from..versions.min(from + BATCH)).map(file).collect();
        let mut digests = Vec::with_capacity(files.len());
        for bytes in &files {
            let spooled = store.spool().take(bytes.clone()).await.expect("room");
            digests.push(spooled.digests.clone());
            let key = BlobKey::Asset { domain: domain.clone(), digest: spooled.digests.sha256 };
            store.blobs().keep(&key, spooled, Durability::Later).await.expect("room");
        }
        let (domain, main) = (domain.clone(), main.clone());
        let written = store.write(move |session| {
            Box::pin(async move {
                let mut package: Option<Id> = None;
                for (at, (bytes, digests)) in files.iter().zip(digests).enumerate() {
                    let number = from + at;
                    if number.is_multiple_of(VERSIONS) || package.is_none() {
                        let row = package_row(&main, number / VERSIONS);
                        package = Some(session.insert_package(&row).await?.id);
                    }
                    let (content, assets) = content_rows(&domain, number, bytes, digests.clone());
                    session.put_blob(&domain, &digests.sha256, bytes.len() as u64, true, now()).await?;
                    session.insert_content(&content, &assets).await?;
                    let package = package.as_ref().expect("set above");
                    session.insert_version(&version_row(package, &content.id, number)).await?;
                }
                Ok::<_, DbError>(())
            })
        });
        written.await.expect("rows");
        if long() && from.is_multiple_of(BATCH * 20) {
            eprintln!("many: {from} of {versions} versions after {:.0} s", begun.elapsed().as_secs_f64());
        }
    }
    store.close().await;
}

fn file(number: usize) -> Bytes {
    format!("the file of version {number}").into()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("in range")
}

fn id() -> Id {
    new_id(&SystemClock, &SystemSecrets)
}

fn name(package: usize) -> String {
    format!("many-{package:06}")
}

fn package_row(repository: &Id, number: usize) -> PackageRow {
    PackageRow {
        id: id(),
        repository: repository.clone(),
        format: "npm".to_owned(),
        namespace: String::new(),
        name: name(number),
        controls: OriginControls { learned: Some(Controls::PUBLISHED), ..OriginControls::default() },
        first_internal_at: Some(now()),
        first_external_at: None,
        metadata: None,
        sequence: VERSIONS as i64,
        created_at: now(),
    }
}

fn content_rows(
    domain: &Id,
    number: usize,
    bytes: &Bytes,
    digests: weir_core::Digests,
) -> (ContentRow, Vec<AssetRow>) {
    let (name, version) = (name(number / VERSIONS), version(number));
    let manifest = serde_json::json!({
        "name": name, "version": version, "description": format!("The package {name}."), "license": "MIT",
        "dependencies": { "left-pad": "^1.3.0", "widget": ">=2" },
        "dist": { "integrity": integrity(bytes), "shasum": "0".repeat(40), "tarball": "" },
    });
    let content = ContentRow {
        id: id(),
        domain: domain.clone(),
        metadata: manifest.to_string(),
        description: "{}".to_owned(),
        parser: 1,
        created_at: now(),
    };
    let asset = AssetRow {
        content: content.id.clone(),
        name: "package.tgz".to_owned(),
        state: AssetState::Held { size: bytes.len() as u64, digests },
        derived: false,
    };
    (content, vec![asset])
}

fn version(number: usize) -> String {
    format!("1.{}.0", number % VERSIONS)
}

fn version_row(package: &Id, content: &Id, number: usize) -> VersionRow {
    let text: Arc<str> = version(number).into();
    VersionRow {
        id: id(),
        package: package.clone(),
        content: content.clone(),
        key: text.clone(),
        text,
        status: VersionStatus::Published,
        revision: "revision".to_owned(),
        origin: Origin::Internal { repository: RepositoryName::parse("repository", "main").expect("a name") },
        flags: Flags::default(),
        publish_time: PublishTime { at: now(), source: TimeSource::Published },
        published_at: now(),
        updated_at: now(),
    }
}

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
    fill(&data, versions).await;
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
