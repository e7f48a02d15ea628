//! Package records, and what is told of versions.

use crate::world::{World, domain, package, refusal, repository};
use futures_util::TryStreamExt as _;
use weir_core::{Control, Controls, Error, PageRequest, VersionStatus};
use weir_registry::package::PackageFilter;
use weir_registry::version::VersionFilter;

#[tokio::test]
async fn controls_can_be_put_before_there_is_a_package() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    world.repository("main", &[]).await;
    let left_pad = package("main", "left-pad");
    let told = refusal(registry.describe_package(admin, &left_pad).await);
    assert!(told.ends_with("Package = PackageCoordinate{packageType=npm, packageName=left-pad},"), "{told}");
    let blocked = Controls { publish: Control::Block, upstream: Control::Allow };
    registry.put_origin_configuration(admin, &left_pad, blocked).await.expect("put");
    assert_eq!(registry.describe_package(admin, &left_pad).await.expect("a record").controls, blocked);
    assert!(refusal(world.publish("main", "left-pad", "1.0.0", "x").await).contains("publish=BLOCK"));
    registry.put_origin_configuration(admin, &left_pad, Controls::ALLOW).await.expect("put");
    world.publish("main", "left-pad", "1.0.0", "x").await.expect("published");
    let filter = PackageFilter { name_prefix: Some("left".to_owned()), ..PackageFilter::default() };
    let page = PageRequest::first(10);
    let found = registry.list_packages(admin, &repository("main"), filter, &page).await.expect("a page");
    assert_eq!(found.items.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["left-pad"]);
    let filter = PackageFilter { namespace_prefix: Some("n".to_owned()), ..PackageFilter::default() };
    assert!(registry.list_packages(admin, &repository("main"), filter, &page).await.is_err());
    registry.delete_package(admin, &left_pad).await.expect("deleted");
    assert!(matches!(registry.describe_package(admin, &left_pad).await, Err(Error::NotFound { .. })));
    assert_eq!(
        registry.describe_domain(admin, &domain("local")).await.expect("there").asset_size_bytes,
        Some(0)
    );
}

#[tokio::test]
async fn a_version_is_told_of_in_any_spelling_and_as_published() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    world.repository("main", &[]).await;
    world.publish("main", "left-pad", "V1", "one").await.expect("published");
    world.publish("main", "left-pad", "V2", "two").await.expect("published");
    let left_pad = package("main", "left-pad");
    let info = registry.describe_package_version(admin, &left_pad, "v1").await.expect("there");
    assert_eq!((info.summary.version.as_str(), info.display_name.as_str()), ("V1", "left-pad"));
    assert_eq!(info.description.summary.as_deref(), Some("all about left-pad"));
    let newest = VersionFilter { newest_first: true, ..VersionFilter::default() };
    let list = registry
        .list_package_versions(admin, &left_pad, newest, &PageRequest::first(1))
        .await
        .expect("a list");
    assert_eq!(list.default_display_version.as_deref(), Some("V2"));
    assert_eq!(list.page.items[0].version, "V2");
    assert!(list.page.next_token.is_some());
    let page = PageRequest::first(10);
    let (_, assets) =
        registry.list_package_version_assets(admin, &left_pad, "V1", &page).await.expect("assets");
    assert_eq!((assets.items[0].name.as_str(), assets.items[0].size), ("file.tgz", Some(3)));
    let opened =
        registry.package_version_asset(admin, &left_pad, "v1", "file.tgz", None).await.expect("open");
    let bytes: Vec<bytes::Bytes> = opened.1.stream(None).try_collect().await.expect("bytes");
    assert_eq!(bytes.concat(), b"one");
    let other = registry.package_version_asset(admin, &left_pad, "v1", "file.tgz", Some("R")).await;
    assert!(matches!(other, Err(Error::Conflict { .. })));
    assert!(matches!(
        registry.package_version_asset(admin, &left_pad, "v1", "none", None).await,
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        registry.package_version_readme(admin, &left_pad, "v1").await,
        Err(Error::NotFound { .. })
    ));
    assert!(refusal(registry.describe_package_version(admin, &left_pad, "v3").await).contains("v3"));
    let archived = VersionFilter { status: Some(VersionStatus::Archived), ..VersionFilter::default() };
    let none = registry.list_package_versions(admin, &left_pad, archived, &page).await.expect("a list");
    assert!(none.page.items.is_empty());
}

#[tokio::test]
async fn the_control_api_shows_what_the_repository_itself_holds() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    world.repository("store", &[]).await;
    world.repository("main", &["store"]).await;
    world.publish("store", "left-pad", "1.0.0", "x").await.expect("published");
    assert!(registry.describe_package(admin, &package("main", "left-pad")).await.is_err());
    let scope = world.scope("main").await;
    let found = registry.search(&scope, "left", 10, 0).await.expect("found along the chain");
    assert_eq!((found.total, &*found.packages[0].name), (1, "left-pad"));
    assert_eq!(registry.search(&scope, "about left", 10, 0).await.expect("in the summary").total, 1);
    assert_eq!(registry.search(&scope, "left right", 10, 0).await.expect("all words").total, 0);
    assert_eq!(registry.known_publicly(&scope, &found.packages).await.expect("told"), [false]);
}

#[tokio::test]
async fn names_of_the_control_api_are_read_by_their_format() {
    let world = World::new().await;
    assert!(world.registry.parse_package("npm", Some("scope"), "name").is_ok());
    assert!(refusal(world.registry.parse_package("docker", None, "name")).contains("must be one of"));
    assert!(refusal(world.registry.parse_package("maven", Some("g"), "a")).contains("not built into"));
}
