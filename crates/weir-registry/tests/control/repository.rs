//! Repositories, their upstreams and external connections.

use crate::world::{World, change, domain, refusal, repository, repository_name};
use weir_core::{Arn, ConnectionName, Error, PageRequest};
use weir_registry::repository::RepositoryChange;

fn connection(name: &str) -> ConnectionName {
    ConnectionName::parse("externalConnection", name).expect("valid")
}

#[tokio::test]
async fn a_repository_keeps_the_order_of_its_upstreams() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    for name in ["a1", "b1", "c1"] {
        world.repository(name, &[]).await;
    }
    let made = world.repository("main", &["c1", "a1"]).await;
    assert_eq!(made.upstreams, [repository_name("c1"), repository_name("a1")]);
    let text = RepositoryChange { description: Some("words".to_owned()), upstreams: None };
    let updated = registry.update_repository(admin, &repository("main"), text).await.expect("updated");
    assert_eq!(updated.description.as_deref(), Some("words"));
    assert_eq!(updated.upstreams.len(), 2, "what was not sent is kept");
    registry.delete_repository(admin, &repository("c1")).await.expect("an upstream may go");
    let seen = registry.describe_repository(admin, &repository("main")).await.expect("there");
    assert_eq!(seen.upstreams, [repository_name("a1")]);
    let page = PageRequest::first(10);
    let names = |infos: Vec<weir_registry::repository::RepositoryInfo>| -> Vec<String> {
        infos.into_iter().map(|info| info.name.to_string()).collect()
    };
    let all = registry.list_repositories(admin, None, &page).await.expect("a page");
    assert_eq!(names(all.items), ["a1", "b1", "main"]);
    let some = registry.list_repositories_in_domain(admin, &domain("local"), None, Some("m"), &page).await;
    assert_eq!(names(some.expect("a page").items), ["main"]);
}

#[tokio::test]
async fn upstreams_that_cannot_be_are_refused() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    world.repository("aa", &[]).await;
    world.repository("bb", &["aa"]).await;
    world.repository("cc", &["bb"]).await;
    let update = |name: &'static str, upstreams: &'static [&'static str]| async move {
        refusal(registry.update_repository(admin, &repository(name), change(upstreams)).await)
    };
    let circle = update("aa", &["cc"]).await;
    assert!(circle.contains("aa -> cc -> bb -> aa"), "{circle}");
    assert!(update("aa", &["aa"]).await.contains("itself"));
    assert!(update("cc", &["aa", "aa"]).await.contains("twice"));
    let absent = "Repository not found. Repository 'nowhere' does not exist in domain 'local'";
    assert_eq!(update("aa", &["nowhere"]).await, absent);
    let names: Vec<String> = (0..11).map(|n| format!("r{n}")).collect();
    let eleven: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = registry.update_repository(admin, &repository("aa"), change(&eleven)).await;
    assert!(matches!(many, Err(Error::QuotaExceeded { .. })));
}

#[tokio::test]
async fn an_upstream_must_consent_when_it_is_new() {
    let world = World::new().await;
    let registry = &world.registry;
    world.repository("secret", &[]).await;
    world.repository("open", &[]).await;
    world.repository("main", &["secret"]).await;
    let policy = r#"{"Statement": [
        {"Effect": "Allow", "Action": "codeartifact:*", "Resource": "*"},
        {"Effect": "Deny", "Action": ["codeartifact:AssociateWithDownstreamRepository", "codeartifact:ReadFromRepository"],
         "Resource": "arn:aws:codeartifact:us-east-1:000000000000:repository/local/secret"}]}"#;
    let user = world.user("builder", policy).await;
    let kept = change(&["open", "secret"]);
    assert!(registry.update_repository(&user, &repository("main"), kept).await.is_ok(), "it is one already");
    let made = registry.create_repository(&user, &repository("mine"), change(&["secret"]), Vec::new()).await;
    assert!(refusal(made).contains("AssociateWithDownstreamRepository"));
    // main -> secret stands; open -> main would be fine, and open is an upstream of main.
    let circle = registry.update_repository(&user, &repository("open"), change(&["main"])).await;
    assert!(refusal(circle).contains("open -> main -> open"));
}

#[tokio::test]
async fn a_circle_names_only_what_the_caller_may_read() {
    let world = World::new().await;
    world.repository("aa", &[]).await;
    world.repository("secret", &["aa"]).await;
    world.repository("cc", &["secret"]).await;
    let policy = r#"{"Statement": [
        {"Effect": "Allow", "Action": "codeartifact:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "codeartifact:ReadFromRepository", "Resource": "arn:aws:codeartifact:us-east-1:000000000000:repository/local/secret"}]}"#;
    let user = world.user("builder", policy).await;
    let circle = world.registry.update_repository(&user, &repository("aa"), change(&["cc"])).await;
    let told = refusal(circle);
    assert!(told.contains("aa -> cc -> another repository -> aa"), "{told}");
}

#[tokio::test]
async fn a_repository_has_one_external_connection() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    world.repository("main", &[]).await;
    let main = repository("main");
    let edited = || async {
        let mut session = registry.store().read().await.expect("a session");
        let domain = session.list_domains(None).await.expect("domains").remove(0);
        session.repositories(&domain.id).await.expect("repositories")[0].edited
    };
    assert!(!edited().await);
    let unknown = registry.associate_connection(admin, &main, &connection("public:nowhere")).await;
    assert!(refusal(unknown).contains("public:npmjs"), "the known ones are named");
    let info =
        registry.associate_connection(admin, &main, &connection("public:npmjs")).await.expect("associated");
    assert_eq!(info.connection, Some((connection("public:npmjs"), "npm".to_owned())));
    assert!(edited().await, "a store that was changed by hand is not touched by later versions");
    let again = registry.associate_connection(admin, &main, &connection("public:npmjs")).await;
    assert!(matches!(again, Err(Error::Conflict { .. })));
    let second = registry.associate_connection(admin, &main, &connection("public:other")).await;
    assert!(matches!(second, Err(Error::QuotaExceeded { .. })));
    let other = registry.disassociate_connection(admin, &main, &connection("public:other")).await;
    assert!(matches!(other, Err(Error::NotFound { .. })));
    let info =
        registry.disassociate_connection(admin, &main, &connection("public:npmjs")).await.expect("gone");
    assert_eq!(info.connection, None);
}

#[tokio::test]
async fn an_endpoint_is_told_for_every_format_of_aws() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    world.repository("main", &[]).await;
    let main = repository("main");
    let endpoint = registry
        .repository_endpoint(admin, &main, "swift", true, "http://127.0.0.1:8090")
        .await
        .expect("told");
    assert_eq!(endpoint, "http://127.0.0.1:8090/swift/d/local-000000000000/main/");
    assert!(registry.repository_endpoint(admin, &main, "docker", false, "").await.is_err());
}

#[tokio::test]
async fn the_tags_of_a_repository_go_with_it() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    let tags = vec![("a".to_owned(), "b".to_owned())];
    registry.create_repository(admin, &repository("main"), change(&[]), tags).await.expect("made");
    let arn = Arn::from_text("arn:aws:codeartifact:us-east-1:000000000000:repository/local/main");
    assert_eq!(registry.list_tags(admin, &arn).await.expect("tags").len(), 1);
    registry.delete_repository(admin, &repository("main")).await.expect("deleted");
    assert!(registry.list_tags(admin, &arn).await.is_err());
    world.repository("main", &[]).await;
    assert!(registry.list_tags(admin, &arn).await.expect("tags").is_empty());
}
