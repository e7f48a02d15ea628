//! Domains and the tags of domains.

use crate::world::{World, change, domain, domain_name, refusal, repository};
use weir_core::{Arn, Error, PageRequest};

#[tokio::test]
async fn a_domain_is_made_described_and_deleted() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    let tags = vec![("team".to_owned(), "web".to_owned())];
    let made = registry.create_domain(admin, &domain_name("other"), None, tags).await.expect("made");
    assert_eq!(made.arn.as_str(), "arn:aws:codeartifact:us-east-1:000000000000:domain/other");
    assert!(made.encryption_key.starts_with("arn:aws:kms:us-east-1:000000000000:key/"));
    let info = registry.describe_domain(admin, &domain("other")).await.expect("there");
    assert_eq!((info.status, info.repository_count, info.asset_size_bytes), ("Active", 0, Some(0)));
    assert_eq!(info.s3_bucket_arn, "arn:aws:s3:::assets-000000000000-us-east-1");
    assert_eq!(info.encryption_key, made.encryption_key);
    let tags = registry.list_tags(admin, &made.arn).await.expect("tags");
    assert_eq!(tags, [("team".to_owned(), "web".to_owned())]);
    let again = registry.create_domain(admin, &domain_name("other"), None, Vec::new()).await;
    assert!(matches!(again, Err(Error::Conflict { .. })));
    let gone = registry.delete_domain(admin, &domain("other")).await.expect("deleted").expect("was there");
    assert_eq!(gone.status, "Deleted");
    assert!(registry.delete_domain(admin, &domain("other")).await.expect("200").is_none());
    assert_eq!(
        refusal(registry.describe_domain(admin, &domain("other")).await),
        "Domain not found. Domain 'other' owned by account '000000000000' does not exist"
    );
}

#[tokio::test]
async fn a_domain_with_repositories_or_one_too_many_is_refused() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    registry.create_repository(admin, &repository("main"), change(&[]), Vec::new()).await.expect("made");
    assert_eq!(
        refusal(registry.delete_domain(admin, &domain("local")).await),
        "Domain must contain 0 repositories before deletion"
    );
    for number in 1..10 {
        let name = domain_name(&format!("d{number}"));
        registry.create_domain(admin, &name, None, Vec::new()).await.expect("made");
    }
    let eleventh = registry.create_domain(admin, &domain_name("d10"), None, Vec::new()).await;
    assert!(matches!(eleventh, Err(Error::QuotaExceeded { .. })));
    let first = registry.list_domains(admin, &PageRequest::first(6)).await.expect("a page");
    assert_eq!(first.items.first().map(|info| info.name.as_str()), Some("d1"));
    let next = PageRequest::parse(Some(6), first.next_token.as_deref(), 6).expect("a cursor");
    let second = registry.list_domains(admin, &next).await.expect("a page");
    assert_eq!(second.items.last().map(|info| info.repository_count), Some(1));
    assert_eq!((first.items.len(), second.items.len(), second.next_token), (6, 4, None));
}

#[tokio::test]
async fn a_stranger_cannot_see_that_a_domain_exists() {
    let world = World::new().await;
    let (registry, stranger) = (&world.registry, world.stranger().await);
    let there = refusal(registry.describe_domain(&stranger, &domain("local")).await);
    let absent = refusal(registry.describe_domain(&stranger, &domain("nowhere")).await);
    assert_eq!(there.replace("local", "nowhere"), absent);
    assert!(registry.delete_domain(&stranger, &domain("local")).await.expect("as absent").is_none());
    assert!(registry.describe_domain(&world.admin, &domain("local")).await.is_ok());
    let arn =
        |name: &str| Arn::from_text(format!("arn:aws:codeartifact:us-east-1:000000000000:domain/{name}"));
    let there = refusal(registry.list_tags(&stranger, &arn("local")).await);
    let absent = refusal(registry.list_tags(&stranger, &arn("nowhere")).await);
    assert_eq!(there.replace("local", "nowhere"), absent);
}

#[tokio::test]
async fn a_reader_of_the_account_is_told_which_right_is_missing() {
    let world = World::new().await;
    let reader = world.user("reader", "read").await;
    assert!(world.registry.describe_domain(&reader, &domain("local")).await.is_ok());
    let refused = refusal(world.registry.delete_domain(&reader, &domain("local")).await);
    assert_eq!(
        refused,
        "User: arn:aws:iam::000000000000:user/reader is not authorized to perform: \
         codeartifact:DeleteDomain on resource: arn:aws:codeartifact:us-east-1:000000000000:domain/local"
    );
}

#[tokio::test]
async fn a_resource_has_at_most_fifty_tags() {
    let world = World::new().await;
    let (registry, admin) = (&world.registry, &world.admin);
    let arn = Arn::from_text("arn:aws:codeartifact:us-east-1:000000000000:domain/local");
    let tags = |range: std::ops::Range<usize>| range.map(|n| (format!("k{n}"), "v".to_owned())).collect();
    registry.tag_resource(admin, &arn, tags(0..50)).await.expect("fifty");
    registry.tag_resource(admin, &arn, tags(10..20)).await.expect("the same again");
    let more = registry.tag_resource(admin, &arn, tags(50..51)).await;
    assert!(matches!(more, Err(Error::QuotaExceeded { .. })));
    registry.untag_resource(admin, &arn, vec!["k0".to_owned(), "none".to_owned()]).await.expect("untagged");
    registry.tag_resource(admin, &arn, tags(50..51)).await.expect("room again");
    assert_eq!(registry.list_tags(admin, &arn).await.expect("tags").len(), 50);
    let elsewhere = Arn::from_text("arn:aws:codeartifact:eu-west-1:000000000000:domain/local");
    assert!(matches!(registry.list_tags(admin, &elsewhere).await, Err(Error::NotFound { .. })));
}
