//! Users, roles and access keys.

use crate::world::{ACCOUNT, World, domain, refusal};
use weir_core::{AccountId, Error, PrincipalKind};

#[tokio::test]
async fn a_user_has_keys_until_it_is_deleted() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    let user = registry.create_user(admin, PrincipalKind::User, "robot", "publish").await.expect("made");
    assert!(user.id.starts_with("AIDA") && user.id.len() == 21);
    assert_eq!(user.arn.as_str(), "arn:aws:iam::000000000000:user/robot");
    let again = registry.create_user(admin, PrincipalKind::Role, "robot", "read").await;
    assert!(matches!(again, Err(Error::Conflict { .. })), "one name means one of them");
    let key = registry.create_key(admin, Some("robot")).await.expect("a key");
    assert!(key.access_key_id.starts_with("AKIA") && key.access_key_id.len() == 20);
    assert_eq!(key.secret_access_key.len(), 40);
    let (secret, principal) =
        registry.signing_key(&key.access_key_id).await.expect("answers").expect("known");
    assert_eq!((secret, principal.name.as_str()), (key.secret_access_key, "robot"));
    let listed = registry.list_keys(admin, Some("robot")).await.expect("a list");
    assert_eq!(listed.iter().map(|key| key.user.as_str()).collect::<Vec<_>>(), ["robot"]);
    assert_eq!(registry.list_keys(admin, None).await.expect("a list").len(), 2);
    registry.delete_user(admin, "robot").await.expect("deleted");
    assert!(registry.signing_key(&key.access_key_id).await.expect("answers").is_none(), "its keys die too");
    assert!(matches!(registry.delete_user(admin, "robot").await, Err(Error::NotFound { .. })));
    assert_eq!(registry.list_users(admin).await.expect("a list").len(), 1);
}

#[tokio::test]
async fn a_deleted_key_is_refused_by_the_next_request() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    let key = registry.create_key(admin, None).await.expect("a key").access_key_id;
    assert!(registry.signing_key(&key).await.expect("answers").is_some());
    let reader = world.user("reader", "read").await;
    let there = refusal(registry.delete_key(&reader, &key).await);
    assert_eq!(there.replace(&key, "AKIA"), refusal(registry.delete_key(&reader, "AKIA").await));
    registry.delete_key(admin, &key).await.expect("deleted");
    assert!(registry.signing_key(&key).await.expect("answers").is_none());
    assert!(registry.signing_key("AKIAUNKNOWN").await.expect("answers").is_none());
}

#[tokio::test]
async fn only_managers_of_identities_manage_them() {
    let world = World::new().await;
    let registry = &world.registry;
    let publisher = world.user("publisher", "publish").await;
    let (kind, name) = (PrincipalKind::User, "mallory");
    assert!(matches!(registry.create_user(&publisher, kind, name, "admin").await, Err(Error::Denied { .. })));
    assert!(matches!(registry.create_key(&publisher, None).await, Err(Error::Denied { .. })));
    assert!(matches!(registry.list_users(&publisher).await, Err(Error::Denied { .. })));
    assert!(matches!(registry.list_keys(&publisher, Some("administrator")).await, Err(Error::Denied { .. })));
    assert_eq!(registry.list_keys(&publisher, None).await.expect("one's own").len(), 1);
    assert!(matches!(registry.delete_user(&publisher, "administrator").await, Err(Error::Denied { .. })));
    let stranger = world.stranger().await;
    assert!(matches!(registry.delete_user(&stranger, "publisher").await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    world.user("reader", "read").await;
    let role = registry.create_user(admin, PrincipalKind::Role, "role", "admin").await;
    role.expect("nobody can be a role, so it does not count");
    assert!(matches!(registry.delete_user(admin, "administrator").await, Err(Error::Conflict { .. })));
    world.user("second", "admin").await;
    registry.delete_user(admin, "administrator").await.expect("there is another one");
}

#[tokio::test]
async fn a_key_can_be_made_offline() {
    let world = World::new().await;
    let account = AccountId::parse("account", ACCOUNT).expect("valid");
    let key = world.registry.create_key_offline(&account, "administrator").await.expect("a key");
    assert!(world.registry.signing_key(&key.access_key_id).await.expect("answers").is_some());
    assert!(world.registry.create_key_offline(&account, "nobody").await.is_err());
    let again = world.registry.bootstrap_administrator(&account).await.expect("another key");
    let (_, principal) =
        world.registry.signing_key(&again.access_key_id).await.expect("answers").expect("known");
    let caller = weir_core::Caller::Principal(principal);
    assert!(world.registry.describe_domain(&caller, &domain("local")).await.is_ok());
}
