//! Status, dispose, delete and copy.

use crate::world::{World, change, domain, package, refusal, repository, repository_name};
use std::collections::BTreeMap;
use weir_core::{Controls, Error, PageRequest, VersionStatus};
use weir_registry::lifecycle::{BatchCode, BatchTarget, CopyRequest};

fn target(versions: &[&str]) -> BatchTarget {
    BatchTarget { versions: versions.iter().map(|v| (*v).to_owned()).collect(), ..BatchTarget::default() }
}

fn copy(from: &str, to: &str, versions: &[&str]) -> CopyRequest {
    CopyRequest {
        source: package(from, "left-pad"),
        destination: repository_name(to),
        versions: Some(versions.iter().map(|v| (*v).to_owned()).collect()),
        revisions: None,
        allow_overwrite: false,
        include_from_upstream: false,
    }
}

async fn world() -> World {
    let world = World::new().await;
    world.repository("main", &[]).await;
    world.repository("other", &[]).await;
    world.publish("main", "left-pad", "V1", "one").await.expect("published");
    world.publish("main", "left-pad", "V2", "two").await.expect("published");
    world
}

#[tokio::test]
async fn a_status_change_is_all_or_nothing() {
    let world = world().await;
    let (registry, admin, left_pad) = (&world.registry, &world.admin, package("main", "left-pad"));
    let set = |target| registry.update_versions_status(admin, &left_pad, target, VersionStatus::Archived);
    let refused = set(target(&["V1", "V9"])).await.expect("an answer");
    assert!(refused.successful.is_empty());
    assert_eq!(refused.failed["V1"], (BatchCode::Skipped, "version V1 is skipped".to_owned()));
    assert_eq!(refused.failed["V9"].0, BatchCode::NotFound);
    let done = set(target(&["v1", "V1"])).await.expect("an answer");
    assert_eq!(done.successful["V1"].1, "Archived");
    assert_eq!(done.successful.len(), 1, "two spellings are one version");
    let scope = world.scope("main").await;
    let name = left_pad.package.clone();
    let view = registry.view(&scope, &name, weir_registry::view::Freshness::Usual).await.expect("a view");
    assert!(!view.verdict.offers("v1"), "seen by the next request");
    let disposed = VersionStatus::Disposed;
    assert!(registry.update_versions_status(admin, &left_pad, target(&["V1"]), disposed).await.is_err());
}

#[tokio::test]
async fn a_disposed_version_loses_its_bytes_and_its_copy_does_not() {
    let world = world().await;
    let (registry, admin, left_pad) = (&world.registry, &world.admin, package("main", "left-pad"));
    registry.copy_versions(admin, copy("main", "other", &["V1"])).await.expect("copied");
    let done = registry.dispose_versions(admin, &left_pad, target(&["V1"])).await.expect("an answer");
    assert_eq!(done.successful["V1"].1, "Disposed");
    let open = |of: &'static str| async move {
        registry.package_version_asset(admin, &package(of, "left-pad"), "V1", "file.tgz", None).await
    };
    assert!(refusal(open("main").await).contains("Disposed"));
    assert!(open("other").await.is_ok());
    let again = registry.dispose_versions(admin, &left_pad, target(&["V1"])).await.expect("an answer");
    assert_eq!(again.failed["V1"].0, BatchCode::NotAllowed);
    let back = registry.copy_versions(admin, copy("other", "main", &["V1"])).await.expect("an answer");
    assert_eq!(back.failed["V1"], (BatchCode::AlreadyExists, "Version V1 already exists".to_owned()));
    let away = registry.copy_versions(admin, copy("main", "other", &["V1"])).await.expect("an answer");
    assert_eq!(away.failed["V1"].0, BatchCode::NotAllowed);
    let taken = registry.dispose_versions(admin, &package("other", "left-pad"), target(&["V1"])).await;
    taken.expect("an answer");
    let bytes = registry.describe_domain(admin, &domain("local")).await.expect("there").asset_size_bytes;
    assert_eq!(bytes, Some(3), "only V2 is left");
}

#[tokio::test]
async fn a_deleted_version_goes_with_its_tags_and_may_come_again() {
    let world = world().await;
    let (registry, admin, left_pad) = (&world.registry, &world.admin, package("main", "left-pad"));
    let mut strict = target(&["V2", "V1"]);
    strict.expected_status = Some(VersionStatus::Published);
    let archived = target(&["V1"]);
    registry
        .update_versions_status(admin, &left_pad, archived, VersionStatus::Archived)
        .await
        .expect("archived");
    let done = registry.delete_versions(admin, &left_pad, strict).await.expect("an answer");
    assert_eq!(done.successful["V2"].1, "Deleted");
    assert_eq!(done.failed["V1"].0, BatchCode::MismatchedStatus, "each version by itself");
    registry.delete_versions(admin, &left_pad, target(&["V1"])).await.expect("an answer");
    let record = registry.describe_package(admin, &left_pad).await.expect("the record stays");
    assert_eq!(record.controls, Controls::PUBLISHED);
    let list = registry
        .list_package_versions(
            admin,
            &left_pad,
            weir_registry::version::VersionFilter::default(),
            &PageRequest::first(9),
        )
        .await
        .expect("a list");
    assert_eq!(list.default_display_version, None);
    world.publish("main", "left-pad", "V2", "other bytes").await.expect("free again");
}

#[tokio::test]
async fn a_copy_moves_status_revision_origin_and_tags() {
    let world = world().await;
    let (registry, admin) = (&world.registry, &world.admin);
    let unlisted = VersionStatus::Unlisted;
    let from = package("main", "left-pad");
    registry.update_versions_status(admin, &from, target(&["V1"]), unlisted).await.expect("unlisted");
    let done = registry.copy_versions(admin, copy("main", "other", &["v1", "V2"])).await.expect("an answer");
    assert_eq!(done.successful["V1"].1, "Unlisted");
    let there = package("other", "left-pad");
    let original = registry.describe_package_version(admin, &from, "V2").await.expect("there");
    let copied = registry.describe_package_version(admin, &there, "V2").await.expect("there");
    assert_eq!(original.summary.revision, copied.summary.revision);
    assert_eq!(original.summary.origin, copied.summary.origin);
    assert_eq!(
        registry.describe_package(admin, &there).await.expect("a record").controls,
        Controls::PUBLISHED
    );
    let all = weir_registry::version::VersionFilter::default();
    let list =
        registry.list_package_versions(admin, &there, all, &PageRequest::first(9)).await.expect("a list");
    assert_eq!(list.default_display_version.as_deref(), Some("V2"), "latest came along");
    let again = registry.copy_versions(admin, copy("main", "other", &["V1", "V2"])).await.expect("an answer");
    assert!(again.successful.is_empty() && again.failed.is_empty(), "the same again is in neither map");
}

#[tokio::test]
async fn a_copy_overwrites_only_when_told() {
    let world = world().await;
    let (registry, admin) = (&world.registry, &world.admin);
    world.publish("other", "left-pad", "V1", "something else").await.expect("published");
    let refused =
        registry.copy_versions(admin, copy("main", "other", &["V1", "V2"])).await.expect("an answer");
    assert_eq!(refused.failed["V1"].0, BatchCode::AlreadyExists);
    assert_eq!(refused.failed["V2"], (BatchCode::Skipped, "Version V2 was skipped".to_owned()));
    let told = CopyRequest { allow_overwrite: true, ..copy("main", "other", &["V1", "V2"]) };
    let done = registry.copy_versions(admin, told).await.expect("an answer");
    assert_eq!(done.successful.len(), 2);
    let wrong = BTreeMap::from([("V1".to_owned(), "R".to_owned())]);
    let by_revision =
        CopyRequest { versions: None, revisions: Some(wrong.clone()), ..copy("main", "other", &[]) };
    let refused = registry.copy_versions(admin, by_revision).await.expect("an answer");
    assert_eq!(refused.failed["V1"].0, BatchCode::MismatchedRevision);
    let both = CopyRequest { revisions: Some(wrong), ..copy("main", "other", &["V1"]) };
    assert!(matches!(registry.copy_versions(admin, both).await, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn a_copy_searches_upstreams_only_when_told() {
    let world = world().await;
    let (registry, admin) = (&world.registry, &world.admin);
    registry.update_repository(admin, &repository("other"), change(&["main"])).await.expect("updated");
    world.repository("third", &[]).await;
    let alone = registry.copy_versions(admin, copy("other", "third", &["V1"])).await;
    assert!(matches!(alone, Err(Error::NotFound { .. })), "the source has no record");
    let along = |versions| CopyRequest { include_from_upstream: true, ..copy("other", "third", versions) };
    let missing = registry.copy_versions(admin, along(&["V1", "V9"])).await.expect("an answer");
    assert_eq!(missing.failed["V9"], (BatchCode::NotFound, "Could not find version V9".to_owned()));
    let archived = VersionStatus::Archived;
    let main = package("main", "left-pad");
    registry.update_versions_status(admin, &main, target(&["V2"]), archived).await.expect("archived");
    let withheld = registry.copy_versions(admin, along(&["V2"])).await.expect("an answer");
    assert_eq!(withheld.failed["V2"].0, BatchCode::NotFound, "what is withheld is not there");
    let done = registry.copy_versions(admin, along(&["V1"])).await.expect("an answer");
    assert_eq!(done.successful["V1"].1, "Published");
}

#[tokio::test]
async fn nobody_copies_what_they_may_not_read() {
    let world = world().await;
    let policy = r#"{"Statement": [
        {"Effect": "Allow", "Action": "codeartifact:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "codeartifact:ReadFromRepository", "Resource": "arn:aws:codeartifact:us-east-1:000000000000:repository/local/main"}]}"#;
    let thief = world.user("thief", policy).await;
    let refused = world.registry.copy_versions(&thief, copy("main", "other", &["V1"])).await;
    assert!(refusal(refused).contains("ReadFromRepository"));
    let publisher = world.user("publisher", "publish").await;
    let refused = world.registry.copy_versions(&publisher, copy("main", "other", &["V1"])).await;
    assert!(refusal(refused).contains("CopyPackageVersions"));
}

#[tokio::test]
async fn every_change_leaves_an_audit_row() {
    let world = world().await;
    let (registry, admin, left_pad) = (&world.registry, &world.admin, package("main", "left-pad"));
    registry.delete_versions(admin, &left_pad, target(&["V1"])).await.expect("deleted");
    let mut session = registry.store().read().await.expect("a session");
    let last = session.list_audit(1).await.expect("rows").remove(0);
    assert_eq!(last.action, "codeartifact:DeletePackageVersions");
    assert_eq!(last.principal, "arn:aws:iam::000000000000:user/administrator");
    assert_eq!(last.resource, "arn:aws:codeartifact:us-east-1:000000000000:package/local/main/npm//left-pad");
}
