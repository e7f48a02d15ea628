//! Rows of accounts, principals, domains, repositories and connections, on both engines.

use super::{account, at, domain_row, furnished, id, on_every_engine, repository_row, write};
use crate::Store;
use crate::rows::{
    AccessKeyRow, AuditRow, ConnectionRow, Id, PrincipalRow, RepositoryFilter, RepositoryRow, TokenRow,
};
use weir_core::{AccountId, ConnectionName, Digest, DomainName, PageRequest, PrincipalKind, TokenScope};

fn connection(name: &str) -> ConnectionName {
    ConnectionName::parse("connection", name).expect("a name")
}

fn principal(kind: PrincipalKind, name: &str) -> PrincipalRow {
    PrincipalRow {
        id: id(),
        account: account(),
        kind,
        name: name.into(),
        policy: "{}".into(),
        created_at: at(3),
    }
}

#[tokio::test]
async fn settings_and_accounts_are_kept() {
    on_every_engine(async |store| {
        write(store, |session| {
            Box::pin(async move {
                session.put_setting("colour", "blue").await?;
                session.put_setting("colour", "green ✓").await?;
                session.insert_account(&account(), at(0)).await?;
                session.insert_account(&account(), at(1)).await
            })
        })
        .await;
        let mut session = store.read().await.expect("a session");
        assert_eq!(session.get_setting("colour").await.expect("ok").as_deref(), Some("green ✓"));
        assert_eq!(session.get_setting("shape").await.expect("ok"), None);
        let other = AccountId::parse("account", "111111111111").expect("an account");
        assert!(session.account_exists(&account()).await.expect("ok"));
        assert!(!session.account_exists(&other).await.expect("ok"));
        assert_eq!(session.list_accounts().await.expect("ok"), [account()]);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_principal_takes_its_keys_and_tokens_along() {
    on_every_engine(async |store| {
        let (domain, _) = furnished(store).await;
        let (ann, role) = (principal(PrincipalKind::User, "ann"), principal(PrincipalKind::Role, "ann"));
        let ann_id = ann.id.clone();
        let key = |name: &str| AccessKeyRow {
            id: name.into(),
            principal: ann_id.clone(),
            sealed_secret: vec![0, 159, 146],
            created_at: at(4),
        };
        let keys = [key("AKIA1"), key("AKIA2")];
        let token = |text: &str, expires_at| TokenRow {
            id: id(),
            hash: Digest::of(text.as_bytes()),
            principal: ann_id.clone(),
            domain: domain.clone(),
            description: text.into(),
            scope: None,
            created_at: at(4),
            expires_at,
        };
        let mut scoped = token("scoped", None);
        scoped.scope = Some(TokenScope { repositories: vec!["main".into()], ..TokenScope::default() });
        let tokens = [scoped, token("short", Some(at(5))), token("long", Some(at(500))), token("more", None)];
        let more = tokens[3].id.clone();
        write(store, move |session| {
            Box::pin(async move {
                session.insert_principal(&ann).await?;
                session.insert_principal(&role).await?;
                for key in &keys {
                    session.insert_access_key(key).await?;
                }
                for token in &tokens {
                    session.insert_token(token).await?;
                }
                Ok(())
            })
        })
        .await;
        let again = principal(PrincipalKind::User, "ann");
        let unique = store
            .write(move |session| Box::pin(async move { session.insert_principal(&again).await }))
            .await
            .expect_err("there is one of that name");
        assert!(unique.is_unique(), "{unique}");

        let mut session = store.read().await.expect("a session");
        let found = session.principal(&ann_id).await.expect("ok").expect("ann");
        assert_eq!((found.kind, found.name.as_str(), found.created_at), (PrincipalKind::User, "ann", at(3)));
        let named = session.principal_by_name(&account(), PrincipalKind::Role, "ann").await.expect("ok");
        assert_eq!(named.expect("the role").kind, PrincipalKind::Role);
        assert_eq!(session.list_principals(&account()).await.expect("ok").len(), 2);
        let key = session.access_key("AKIA1").await.expect("ok").expect("a key");
        assert_eq!(key.sealed_secret, [0, 159, 146]);
        assert_eq!(session.list_access_keys(Some(&ann_id)).await.expect("ok").len(), 2);
        assert_eq!(session.list_access_keys(Some("nobody")).await.expect("ok").len(), 0);
        let found = session.token_by_hash(&Digest::of(b"scoped")).await.expect("ok").expect("a token");
        assert_eq!(found.scope.expect("a scope").repositories, ["main"]);
        assert_eq!(session.list_tokens(Some(&ann_id)).await.expect("ok").len(), 4);
        drop(session);

        let (deleted, expired, key_deleted, again) = write(store, move |session| {
            Box::pin(async move {
                let deleted = session.delete_token(&more).await?.expect("a token");
                assert!(session.delete_token(&more).await?.is_none());
                let expired = session.delete_expired_tokens(at(5)).await?;
                assert!(session.delete_token_by_hash(&Digest::of(b"long")).await?);
                assert!(!session.delete_token_by_hash(&Digest::of(b"long")).await?);
                let key = session.delete_access_key("AKIA1").await?;
                Ok((deleted, expired, key, session.delete_access_key("AKIA1").await?))
            })
        })
        .await;
        assert_eq!((deleted.description.as_str(), expired, key_deleted, again), ("more", 1, true, false));
        let ann_id = ann_id.clone();
        write(store, move |session| {
            Box::pin(async move {
                assert!(session.delete_principal(&ann_id).await?);
                assert!(!session.delete_principal(&ann_id).await?);
                Ok(())
            })
        })
        .await;
        let mut session = store.read().await.expect("a session");
        assert_eq!(session.list_access_keys(None).await.expect("ok").len(), 0);
        assert_eq!(session.list_tokens(None).await.expect("ok").len(), 0);
    })
    .await;
}

#[tokio::test]
async fn domains_are_found_by_account_and_name() {
    on_every_engine(async |store| {
        let (first, _) = furnished(store).await;
        let other = domain_row("another");
        let name = other.name.clone();
        let twin = domain_row("another");
        write(store, move |session| Box::pin(async move { session.insert_domain(&other).await })).await;
        let unique = store
            .write(move |session| Box::pin(async move { session.insert_domain(&twin).await }))
            .await
            .expect_err("there is one of that name");
        assert!(unique.is_unique(), "{unique}");
        let mut session = store.read().await.expect("a session");
        let found = session.domain(&account(), &name).await.expect("ok").expect("a domain");
        assert_eq!(session.domain_by_id(&found.id).await.expect("ok").expect("it").encryption_key, "key");
        let unknown = DomainName::parse("domain", "unknown").expect("a name");
        assert!(session.domain(&account(), &unknown).await.expect("ok").is_none());
        let names = |rows: Vec<crate::rows::DomainRow>| -> Vec<String> {
            rows.iter().map(|row| row.name.to_string()).collect()
        };
        assert_eq!(names(session.list_domains(None).await.expect("ok")), ["another", "local"]);
        assert_eq!(names(session.list_domains(Some(&account())).await.expect("ok")), ["another", "local"]);
        drop(session);
        write(store, move |session| Box::pin(async move { session.delete_domain(&first).await })).await;
        let mut session = store.read().await.expect("a session");
        assert_eq!(names(session.list_domains(None).await.expect("ok")), ["another"]);
    })
    .await;
}

async fn graph(store: &Store, domain: &Id) -> Vec<RepositoryRow> {
    store.read().await.expect("a session").repositories(domain).await.expect("repositories")
}

#[tokio::test]
async fn repositories_come_with_upstreams_in_order_and_connections() {
    on_every_engine(async |store| {
        let (domain, main) = furnished(store).await;
        let (mut a, b) = (repository_row(&domain, "a-store"), repository_row(&domain, "B-store"));
        a.connection = Some(connection("public:npmjs"));
        let (a_id, b_id) = (a.id.clone(), b.id.clone());
        let upstreams = [b_id.clone(), a_id.clone()];
        let changed = main.clone();
        write(store, move |session| {
            Box::pin(async move {
                session.insert_repository(&a).await?;
                session.insert_repository(&b).await?;
                session.update_repository(&changed, Some(Some("text".into())), Some(&upstreams)).await?;
                session.mark_edited(&changed).await
            })
        })
        .await;
        // Byte order: upper case first.
        let rows = graph(store, &domain).await;
        assert_eq!(rows.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["B-store", "a-store", "main"]);
        assert_eq!(rows[2].upstreams, [b_id.clone(), a_id.clone()]);
        assert_eq!((rows[2].description.as_deref(), rows[2].edited), (Some("text"), true));
        assert_eq!(rows[1].connection.as_ref().expect("a connection").as_str(), "public:npmjs");
        assert!(!rows[1].edited);

        let filter = RepositoryFilter {
            domains: vec![domain.clone(), "none".into(), "nothing".into()],
            administrator: Some(account()),
            ..RepositoryFilter::default()
        };
        let mut session = store.read().await.expect("a session");
        let first = session.list_repositories(&filter, &PageRequest::first(2)).await.expect("a page");
        assert_eq!(first.items.len(), 2);
        assert_eq!(first.items[1].connection, Some(connection("public:npmjs")));
        let next = PageRequest::parse(Some(2), first.next_token.as_deref(), 2).expect("a page");
        let second = session.list_repositories(&filter, &next).await.expect("a page");
        assert_eq!(second.items.len(), 1);
        assert_eq!(second.items[0].upstreams.len(), 2);
        assert!(second.next_token.is_none());
        let foreign = PageRequest { size: 2, after: vec!["one".into()] };
        assert!(session.list_repositories(&filter, &foreign).await.is_err());
        let prefixed = RepositoryFilter { name_prefix: Some("a".into()), ..filter };
        let found = session.list_repositories(&prefixed, &PageRequest::first(9)).await.expect("a page");
        assert_eq!(found.items.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["a-store"]);
        let none = RepositoryFilter::default();
        let found = session.list_repositories(&none, &PageRequest::first(9)).await.expect("a page");
        assert!(found.items.is_empty());
        drop(session);

        let changed = main.clone();
        write(store, move |session| {
            Box::pin(async move {
                session.update_repository(&changed, Some(None), None).await?;
                session.set_repository_connection(&changed, Some(&connection("public:pypi"))).await?;
                session.set_repository_connection(&changed, Some(&connection("public:npmjs"))).await?;
                session.set_repository_connection(&a_id, None).await?;
                session.delete_repository(&b_id).await
            })
        })
        .await;
        let rows = graph(store, &domain).await;
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].connection, None);
        assert_eq!((rows[1].description.as_deref(), rows[1].upstreams.len()), (None, 1));
        assert_eq!(rows[1].connection, Some(connection("public:npmjs")));
    })
    .await;
}

#[tokio::test]
async fn connections_are_stored_over_what_was_known() {
    on_every_engine(async |store| {
        let row = |url: &str, sealed: Option<Vec<u8>>| ConnectionRow {
            name: connection("public:npmjs"),
            url: url.into(),
            source: "weir connections set".into(),
            found_at: at(5),
            sealed_settings: sealed,
        };
        let (first, second) =
            (row("http://a.example.test/", None), row("http://b.example.test/", Some(vec![1])));
        write(store, move |session| {
            Box::pin(async move {
                session.put_connection(&first).await?;
                session.put_connection(&second).await
            })
        })
        .await;
        let name = connection("public:npmjs");
        let mut session = store.read().await.expect("a session");
        let found = session.connection(&name).await.expect("ok").expect("a connection");
        assert_eq!((found.url.as_str(), found.sealed_settings), ("http://b.example.test/", Some(vec![1])));
        assert_eq!(session.list_connections().await.expect("ok").len(), 1);
        let known = session.connection(&name).await.expect("ok").expect("a connection");
        let (older, found) = (row("http://a.example.test/", None), row("http://c.example.test/", None));
        drop(session);
        write(store, move |session| {
            Box::pin(async move {
                assert!(!session.put_connection_over(&found, None).await?, "one is known");
                assert!(!session.put_connection_over(&found, Some(&older)).await?, "another is known");
                assert_eq!(session.connection(&name).await?.as_ref(), Some(&known));
                assert!(session.put_connection_over(&found, Some(&known)).await?);
                assert_eq!(session.connection(&name).await?.as_ref(), Some(&found));
                assert!(session.delete_connection(&name).await?);
                assert!(session.put_connection_over(&found, Some(&known)).await?, "none is known");
                assert!(session.delete_connection(&name).await?);
                assert!(session.put_connection_over(&found, None).await?, "none is known");
                assert!(session.delete_connection(&name).await?);
                assert!(!session.delete_connection(&name).await?);
                Ok(())
            })
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn the_audit_trail_is_read_newest_first_and_events_are_kept() {
    on_every_engine(async |store| {
        write(store, |session| {
            Box::pin(async move {
                for action in ["first", "second", "third"] {
                    let row = AuditRow {
                        at: at(6),
                        principal: "p".into(),
                        action: action.into(),
                        resource: "r".into(),
                        detail: "{}".into(),
                    };
                    session.insert_audit(&row).await?;
                    session.insert_event("d1", at(6), "{}").await?;
                }
                Ok(())
            })
        })
        .await;
        let mut session = store.read().await.expect("a session");
        let rows = session.list_audit(2).await.expect("ok");
        assert_eq!(rows.iter().map(|row| row.action.as_str()).collect::<Vec<_>>(), ["third", "second"]);
        let events = session.all("events", "select event_id from events", &[]).await.expect("ok");
        assert_eq!(events.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn resources_have_tags() {
    on_every_engine(async |store| {
        let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let (first, second) = ([tag("b", "1"), tag("a", "2")], [tag("b", "3"), tag("c", "4")]);
        write(store, move |session| {
            Box::pin(async move {
                session.put_resource_tags("arn:1", &first).await?;
                session.put_resource_tags("arn:1", &second).await?;
                session.put_resource_tags("arn:2", &second).await?;
                session.delete_resource_tags("arn:1", &["c".into(), "d".into()]).await?;
                session.delete_resource_tags("arn:1", &[]).await?;
                session.delete_all_resource_tags("arn:2").await
            })
        })
        .await;
        let mut session = store.read().await.expect("a session");
        assert_eq!(session.resource_tags("arn:1").await.expect("ok"), [tag("a", "2"), tag("b", "3")]);
        assert!(session.resource_tags("arn:2").await.expect("ok").is_empty());
    })
    .await;
}
