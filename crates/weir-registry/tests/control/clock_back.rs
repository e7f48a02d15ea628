//! A clock that is set back: what was there stays, what comes is added, nothing counts as older than it is.

use crate::world::{World, domain, package, repository};
use weir_core::{PageRequest, VersionStatus};
use weir_registry::token::NewToken;
use weir_registry::version::VersionFilter;

const HOURS: i64 = 3 * 3600;

#[tokio::test]
async fn versions_published_before_and_after_are_all_there() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    world.repository("main", &[]).await;
    world.publish("main", "left-pad", "v1", "one").await.expect("published");
    world.clock.advance(-HOURS);
    world.publish("main", "left-pad", "v2", "two").await.expect("published");
    assert!(!world.publish("main", "left-pad", "v1", "one").await.expect("the same again").changed);
    assert!(world.publish("main", "left-pad", "v1", "other").await.is_err());

    let of = package("main", "left-pad");
    let all = |newest_first| {
        let filter = VersionFilter { newest_first, ..VersionFilter::default() };
        async move {
            let page = PageRequest::first(10);
            let list =
                registry.list_package_versions(admin, &package("main", "left-pad"), filter, &page).await;
            let list = list.expect("a list");
            let mut names: Vec<String> = list.page.items.into_iter().map(|row| row.version).collect();
            names.sort();
            (names, list.default_display_version)
        }
    };
    let expected = (vec!["v1".to_owned(), "v2".to_owned()], Some("v2".to_owned()));
    assert_eq!(all(false).await, expected, "the default is the tagged one, not the one of the latest time");
    assert_eq!(all(true).await, expected);
    for (version, bytes) in [("v1", "one"), ("v2", "two")] {
        let (_, opened) = registry
            .package_version_asset(admin, &of, version, "file.tgz", None)
            .await
            .expect("every version is there");
        assert_eq!(opened.collect(10).await.expect("bytes"), bytes.as_bytes());
    }

    // Changes and copies go on as well.
    world.repository("other", &[]).await;
    world.clock.advance(-HOURS);
    let scope = world.scope("main").await;
    assert_eq!(scope.repository.row.name.as_str(), "main");
    let told = registry.describe_package_version(admin, &of, "v2").await.expect("described");
    assert_eq!(told.summary.status, VersionStatus::Published);
    assert!(registry.describe_repository(admin, &repository("other")).await.is_ok());
}

#[tokio::test]
async fn tokens_made_before_and_after_are_good_until_they_end() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    world.repository("main", &[]).await;
    let before = registry.authorization_token(admin, &domain("local"), Some(900)).await.expect("a token");
    let new = NewToken {
        domain: domain("local"),
        user: None,
        description: "robot".to_owned(),
        scope: None,
        lifetime_s: None,
    };
    let robot = registry.create_token(admin, new).await.expect("a token");
    world.clock.advance(-HOURS);
    let after = registry.authorization_token(admin, &domain("local"), Some(900)).await.expect("a token");
    for token in [&before.token, &robot.token, &after.token] {
        assert!(world.enter("main", token).await.is_ok());
    }
    world.clock.advance(1000);
    assert!(world.enter("main", &after.token).await.is_err(), "it has ended");
    assert!(world.enter("main", &before.token).await.is_ok(), "it ends when the clock says so");
    world.clock.advance(HOURS);
    assert!(world.enter("main", &before.token).await.is_err());
    assert!(world.enter("main", &robot.token).await.is_ok());
}
