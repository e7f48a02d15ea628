//! Very many versions in a data folder, written as rows and files without a server: what would take hours of
//! publishing takes minutes. The benchmark uses it too.

use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use weir_core::{
    Controls, Flags, Hasher, Origin, OriginControls, PublishTime, RepositoryName, SystemClock, SystemSecrets,
    TimeSource, Timestamp, VersionStatus,
};
use weir_store::rows::{AssetRow, AssetState, ContentRow, Id, PackageRow, VersionRow};
use weir_store::{BlobKey, DbError, Durability, Store, new_id};
use weir_testkit::package::integrity;

/// Versions of each package.
pub(crate) const VERSIONS: usize = 10;
/// Versions of each transaction.
const BATCH: usize = 5000;

/// Fills `main` of a data folder with npm packages of ten versions each, as publishing them would, and their files
/// if these are to be there. `told` hears now and then how many there are.
pub(crate) async fn fill(data: &Path, versions: usize, with_files: bool, told: impl Fn(usize)) {
    let store = Store::open_folder(data, &SystemClock).await.expect("nobody has it open");
    let mut session = store.read().await.expect("a session");
    let domain = session.list_domains(None).await.expect("domains").remove(0).id;
    let repositories = session.repositories(&domain).await.expect("repositories");
    let name = RepositoryName::parse("repository", "main").expect("a name");
    let main = repositories.into_iter().find(|row| row.name == name).expect("main").id;
    drop(session);
    for from in (0..versions).step_by(BATCH) {
        let files: Vec<Bytes> = (from..versions.min(from + BATCH)).map(file).collect();
        let mut digests = Vec::with_capacity(files.len());
        for bytes in &files {
            if !with_files {
                let mut hashes = Hasher::new();
                hashes.update(bytes);
                digests.push(hashes.finish());
                continue;
            }
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
        told(from + BATCH);
    }
    store.close().await;
}

/// The file of a version.
pub(crate) fn file(number: usize) -> Bytes {
    format!("the file of version {number}").into()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("in range")
}

fn id() -> Id {
    new_id(&SystemClock, &SystemSecrets)
}

/// The name of a package.
pub(crate) fn name(package: usize) -> String {
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
