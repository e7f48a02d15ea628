//! Tokens: made, scoped, listed, revoked.

use crate::world::{World, domain, refusal};
use weir_core::{Error, TokenScope};
use weir_registry::token::NewToken;

fn new(user: Option<&str>, scope: Option<TokenScope>, lifetime_s: Option<i64>) -> NewToken {
    let user = user.map(str::to_owned);
    NewToken { domain: domain("local"), user, description: "robot".to_owned(), scope, lifetime_s }
}

#[tokio::test]
async fn a_token_opens_its_domain_until_it_is_revoked_or_ends() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    world.repository("main", &[]).await;
    let token = registry.authorization_token(admin, &domain("local"), Some(900)).await.expect("a token");
    assert!(world.enter("main", &token.token).await.is_ok());
    world.clock.advance(1000);
    assert!(refusal(world.enter("main", &token.token).await).contains("expired"));
    let robot = registry.create_token(admin, new(None, None, None)).await.expect("a token");
    assert_eq!(robot.expires_at, None);
    assert!(world.enter("main", &robot.token).await.is_ok());
    let listed = registry.list_tokens(admin).await.expect("a list");
    assert_eq!(listed.len(), 1, "what ended is not shown: {listed:?}");
    assert_eq!((listed[0].id.as_str(), listed[0].principal.as_str()), (&*robot.id, "administrator"));
    registry.delete_token(admin, &robot.id).await.expect("revoked");
    assert!(refusal(world.enter("main", &robot.token).await).contains("unknown or was revoked"));
}

#[tokio::test]
async fn a_token_of_another_is_neither_shown_nor_revoked() {
    let world = World::new().await;
    let registry = &world.registry;
    let (reader, stranger) = (world.user("reader", "read").await, world.stranger().await);
    let token = registry.create_token(&world.admin, new(None, None, None)).await.expect("a token");
    for other in [&reader, &stranger] {
        assert!(registry.list_tokens(other).await.expect("a list").is_empty());
        let there = refusal(registry.delete_token(other, &token.id).await);
        let absent = refusal(registry.delete_token(other, "none").await);
        assert_eq!(there.replace(&token.id, "none"), absent);
    }
    assert!(matches!(
        registry.create_token(&reader, new(Some("administrator"), None, None)).await,
        Err(Error::Denied { .. })
    ));
    let own = registry.create_token(&reader, new(Some("reader"), None, Some(60))).await.expect("one's own");
    registry.delete_token(&world.admin, &own.id).await.expect("an administrator may");
    assert_eq!(registry.list_tokens(&world.admin).await.expect("a list").len(), 1);
}

#[tokio::test]
async fn a_scope_binds_the_token_and_those_made_with_it() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    world.repository("main", &[]).await;
    world.repository("other", &[]).await;
    let scope =
        TokenScope { repositories: vec!["main".to_owned()], read_only: true, ..TokenScope::default() };
    let token = registry.create_token(admin, new(None, Some(scope), None)).await.expect("a token");
    let entered = world.enter("main", &token.token).await.expect("its own repository");
    assert!(matches!(world.enter("other", &token.token).await, Err(Error::Denied { .. })));
    let twelve =
        registry.authorization_token(&entered.caller, &domain("local"), None).await.expect("a token");
    assert!(matches!(world.enter("other", &twelve.token).await, Err(Error::Denied { .. })));
    assert!(matches!(
        registry.create_token(&entered.caller, new(None, None, None)).await,
        Err(Error::Denied { .. })
    ));
    assert!(matches!(registry.create_key(&entered.caller, None).await, Err(Error::Denied { .. })));
    let nowhere = TokenScope { repositories: vec!["nowhere".to_owned()], ..TokenScope::default() };
    assert!(registry.create_token(admin, new(None, Some(nowhere), None)).await.is_err());
    let format = TokenScope { formats: vec!["docker".to_owned()], ..TokenScope::default() };
    assert!(registry.create_token(admin, new(None, Some(format), None)).await.is_err());
    assert!(registry.create_token(admin, new(None, None, Some(0))).await.is_err());
}

#[tokio::test]
async fn a_stranger_gets_no_token_and_no_hint() {
    let world = World::new().await;
    let stranger = world.stranger().await;
    let there = refusal(world.registry.authorization_token(&stranger, &domain("local"), None).await);
    let absent = refusal(world.registry.authorization_token(&stranger, &domain("nowhere"), None).await);
    assert_eq!(there.replace("local", "nowhere"), absent);
    let there = refusal(world.registry.create_token(&stranger, new(None, None, None)).await);
    assert_eq!(there.replace("local", "nowhere"), absent);
}
