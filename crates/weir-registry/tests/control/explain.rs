//! Explanations.

use crate::world::{World, package, refusal};
use weir_core::{Error, VersionStatus};
use weir_registry::lifecycle::BatchTarget;

#[tokio::test]
async fn an_explanation_tells_who_supplied_a_version_and_what_withholds_it() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    world.repository("store", &[]).await;
    world.repository("main", &["store"]).await;
    world.publish("store", "left-pad", "V1", "x").await.expect("published");
    let asked = package("main", "left-pad");
    let told = registry.explain(admin, &asked, Some("v1"), None).await.expect("told");
    assert_eq!(told.question, "npm left-pad@v1 in main");
    assert_eq!((told.outcome.as_str(), told.rule), ("offered", None));
    assert_eq!(told.supplied_by.as_deref(), Some("repository 'store'"));
    assert!(
        told.publish.contains("a publish is refused, since repository 'store' has this version"),
        "{}",
        told.publish
    );
    let target = BatchTarget { versions: vec!["V1".to_owned()], ..BatchTarget::default() };
    let store = package("store", "left-pad");
    registry.update_versions_status(admin, &store, target, VersionStatus::Archived).await.expect("archived");
    let told = registry.explain(admin, &asked, Some("V1"), None).await.expect("told");
    assert_eq!((told.outcome.as_str(), told.rule.as_deref()), ("withheld", Some("its status is Archived")));
    assert!(told.answer.contains("withholds V1"), "{}", told.answer);
    let told = registry.explain(admin, &asked, Some("V2"), None).await.expect("told");
    assert_eq!(told.outcome, "unknown");
    assert!(told.publish.contains("a publish is allowed"), "{}", told.publish);
    let told = registry.explain(admin, &asked, None, None).await.expect("told");
    assert_eq!((told.outcome.as_str(), told.supplied_by), ("package", None));
}

#[tokio::test]
async fn an_explanation_names_only_what_the_caller_may_read() {
    let world = World::new().await;
    world.repository("secret", &[]).await;
    world.repository("main", &["secret"]).await;
    world.publish("secret", "left-pad", "V1", "x").await.expect("published");
    let policy = r#"{"Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "codeartifact:ReadFromRepository", "Resource": "arn:aws:codeartifact:us-east-1:000000000000:repository/local/secret"}]}"#;
    let user = world.user("someone", policy).await;
    let told =
        world.registry.explain(&user, &package("main", "left-pad"), Some("V1"), None).await.expect("told");
    let text = serde_json::to_string(&told).expect("JSON");
    assert!(text.contains("another repository") && !text.contains("secret"), "{text}");
    let refused = world.registry.explain(&user, &package("secret", "left-pad"), None, None).await;
    assert!(matches!(refused, Err(Error::Denied { .. })));
    let told = world
        .registry
        .explain(&world.admin, &package("secret", "left-pad"), Some("V1"), Some("someone"))
        .await;
    let told = told.expect("told");
    assert_eq!(told.outcome, "withheld");
    assert!(told.rule.is_some_and(|rule| rule.contains("ReadFromRepository")));
    let reader = world.user("reader", "read").await;
    let other = world.registry.explain(&reader, &package("main", "left-pad"), None, Some("someone")).await;
    assert!(refusal(other).contains("ManageIdentities"));
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_part_of_the_explanation() {
    let world = World::new().await;
    world.repository("main", &[]).await;
    let connection = weir_core::ConnectionName::parse("c", "public:npmjs").expect("valid");
    let main = crate::world::repository("main");
    world.registry.associate_connection(&world.admin, &main, &connection).await.expect("associated");
    let told = world
        .registry
        .explain(&world.admin, &package("main", "left-pad"), Some("1"), None)
        .await
        .expect("told");
    assert_eq!(told.outcome, "unknown");
    assert!(told.steps.iter().any(|step| step.contains("does not answer")), "{:?}", told.steps);
    assert!(told.publish.contains("it reserves the name"), "{}", told.publish);
}
