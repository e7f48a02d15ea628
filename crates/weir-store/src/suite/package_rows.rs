//! Rows of packages, versions, contents, blobs, documents and pins, on both engines.

use super::{at, furnished, id, on_every_engine, repository_row, write};
use crate::Store;
use crate::error::DbError;
use crate::rows::{
    AssetRow, AssetState, ContentRow, DocumentRow, Id, PackageFilter, PackageRow, VersionFilter, VersionRow,
};
use weir_core::digest::{Digests, Expected};
use weir_core::{
    ConnectionName, Control, Controls, Digest, Flags, Hasher, Origin, OriginControls, OriginKind,
    PageRequest, PublishTime, RepositoryName, TimeSource, VersionStatus,
};

pub(super) fn package(repository: &Id, namespace: &str, name: &str) -> PackageRow {
    PackageRow {
        id: id(),
        repository: repository.clone(),
        format: "npm".into(),
        namespace: namespace.into(),
        name: name.into(),
        controls: OriginControls::default(),
        first_internal_at: None,
        first_external_at: None,
        metadata: None,
        sequence: 0,
        created_at: at(10),
    }
}

pub(super) fn content(domain: &Id, description: &str) -> ContentRow {
    ContentRow {
        id: id(),
        domain: domain.clone(),
        metadata: r#"{"name":"x"}"#.into(),
        description: description.into(),
        parser: 1,
        created_at: at(11),
    }
}

pub(super) fn version(package: &Id, content: &Id, key: &str, published: i64) -> VersionRow {
    VersionRow {
        id: id(),
        package: package.clone(),
        content: content.clone(),
        key: key.into(),
        text: format!("v{key}").into(),
        status: VersionStatus::Published,
        revision: "r1".into(),
        origin: Origin::Internal { repository: RepositoryName::parse("repository", "main").expect("a name") },
        flags: Flags::default(),
        publish_time: PublishTime { at: at(9), source: TimeSource::FirstSeen },
        published_at: at(published),
        updated_at: at(published),
    }
}

fn digests(data: &[u8]) -> Digests {
    let mut hasher = Hasher::new();
    hasher.update(data);
    hasher.finish()
}

pub(super) fn held(content: &Id, name: &str, data: &[u8]) -> AssetRow {
    let state = AssetState::Held { size: data.len() as u64, digests: digests(data) };
    AssetRow { content: content.clone(), name: name.into(), state, derived: false }
}

fn npmjs() -> ConnectionName {
    ConnectionName::parse("connection", "public:npmjs").expect("a name")
}

async fn insert_packages(store: &Store, rows: Vec<PackageRow>) {
    write(store, move |session| {
        Box::pin(async move {
            for row in &rows {
                session.insert_package(row).await?;
            }
            Ok(())
        })
    })
    .await;
}

#[tokio::test]
async fn a_package_learns_from_its_first_version_all_at_once() {
    on_every_engine(async |store| {
        let (_, repository) = furnished(store).await;
        let row = package(&repository, "", "left");
        let id = row.id.clone();
        insert_packages(store, vec![row]).await;
        let noted = id.clone();
        write(store, move |session| {
            Box::pin(async move {
                let (internal, external) = (OriginKind::Internal, OriginKind::External);
                assert_eq!(session.note_version(&noted, Controls::INGESTED, external, at(1)).await?, 1);
                assert_eq!(session.note_version(&noted, Controls::PUBLISHED, internal, at(2)).await?, 2);
                assert_eq!(session.note_version(&noted, Controls::PUBLISHED, internal, at(3)).await?, 3);
                Ok(())
            })
        })
        .await;
        let mut session = store.read().await.expect("a session");
        let found = session.package_by_id(&id).await.expect("ok").expect("a package");
        assert_eq!(found.controls.learned, Some(Controls::INGESTED));
        assert_eq!((found.first_internal_at, found.first_external_at), (Some(at(2)), Some(at(1))));
        assert_eq!(found.sequence, 3);
    })
    .await;
}

#[tokio::test]
async fn a_package_record_keeps_learned_and_put_controls_apart() {
    on_every_engine(async |store| {
        let (_, repository) = furnished(store).await;
        let (row, twin) = (package(&repository, "scope", "left"), package(&repository, "scope", "left"));
        let package = row.id.clone();
        let changed = package.clone();
        write(store, move |session| {
            Box::pin(async move {
                assert_eq!(session.insert_package(&row).await?.id, row.id);
                assert_eq!(session.insert_package(&twin).await?.id, row.id);
                session.set_learned_controls(&changed, Controls::PUBLISHED).await?;
                session.set_put_controls(&changed, Controls::ALLOW).await?;
                session.note_first(&changed, OriginKind::Internal, at(12)).await?;
                session.note_first(&changed, OriginKind::Internal, at(13)).await?;
                session.note_first(&changed, OriginKind::External, at(14)).await?;
                session.set_package_metadata(&changed, r#"{"readme":""}"#).await?;
                assert_eq!(session.next_sequence(&changed).await?, 1);
                assert_eq!(session.next_sequence(&changed).await?, 2);
                assert!(session.next_sequence("none").await.is_err());
                Ok(())
            })
        })
        .await;
        // What it learned first stays.
        let changed = package.clone();
        write(store, move |session| {
            Box::pin(async move {
                let learned = Controls::INGESTED;
                assert_eq!(session.note_version(&changed, learned, OriginKind::External, at(15)).await?, 3);
                assert!(session.note_version("none", learned, OriginKind::External, at(15)).await.is_err());
                Ok(())
            })
        })
        .await;
        let mut session = store.read().await.expect("a session");
        let found = session.package_by_id(&package).await.expect("ok").expect("a package");
        assert_eq!(found.controls.learned, Some(Controls::PUBLISHED));
        assert_eq!(found.controls.put, Some(Controls::ALLOW));
        assert_eq!((found.first_internal_at, found.first_external_at), (Some(at(12)), Some(at(14))));
        assert_eq!((found.metadata.as_deref(), found.sequence), (Some(r#"{"readme":""}"#), 3));
        let named = session.package(&repository, "npm", "scope", "left").await.expect("ok");
        assert_eq!(named.expect("a package").id, package);
        assert!(session.package(&repository, "npm", "", "left").await.expect("ok").is_none());
        let repositories = ["none".into(), repository.clone(), "nothing".into()];
        let named = session.packages_named(&repositories, "npm", "scope", "left").await.expect("ok");
        assert_eq!(named.len(), 1);
        assert!(session.packages_named(&[], "npm", "scope", "left").await.expect("ok").is_empty());
    })
    .await;
}

#[tokio::test]
async fn packages_are_listed_in_byte_order_page_by_page() {
    on_every_engine(async |store| {
        let (_, repository) = furnished(store).await;
        let mut rows: Vec<PackageRow> =
            [("", "b"), ("", "B"), ("", "é"), ("a", "a"), ("A_", "a%"), ("", "_x")]
                .into_iter()
                .map(|(namespace, name)| package(&repository, namespace, name))
                .collect();
        rows[0].controls.learned = Some(Controls::PUBLISHED);
        rows[1].controls.learned = Some(Controls::PUBLISHED);
        rows[1].controls.put = Some(Controls::INGESTED);
        insert_packages(store, rows).await;
        let mut session = store.read().await.expect("a session");
        let (mut seen, mut page) = (Vec::new(), PageRequest::first(4));
        loop {
            let found =
                session.list_packages(&repository, &PackageFilter::default(), &page).await.expect("ok");
            seen.extend(found.items.iter().map(|row| format!("{}/{}", row.namespace, row.name)));
            let Some(token) = found.next_token else { break };
            page = PageRequest::parse(Some(4), Some(&token), 4).expect("a page");
        }
        assert_eq!(seen, ["/B", "/_x", "/b", "/é", "A_/a%", "a/a"]);
        for (filter, expected) in [
            (PackageFilter { publish: Some(Control::Block), ..Default::default() }, vec!["B"]),
            (PackageFilter { upstream: Some(Control::Block), ..Default::default() }, vec!["b"]),
            (PackageFilter { name_prefix: Some("b".into()), ..Default::default() }, vec!["b"]),
            (PackageFilter { name_prefix: Some("_".into()), ..Default::default() }, vec!["_x"]),
            (PackageFilter { name_prefix: Some("é".into()), ..Default::default() }, vec!["é"]),
            (PackageFilter { namespace_prefix: Some("A".into()), ..Default::default() }, vec!["a%"]),
            (PackageFilter { format: Some("pypi".into()), ..Default::default() }, vec![]),
        ] {
            let found =
                session.list_packages(&repository, &filter, &PageRequest::first(9)).await.expect("ok");
            let names: Vec<_> = found.items.iter().map(|row| row.name.as_str()).collect();
            assert_eq!(names, expected, "{filter:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_search_finds_names_and_descriptions_and_takes_wildcards_literally() {
    on_every_engine(async |store| {
        let (domain, main) = furnished(store).await;
        let other = repository_row(&domain, "other");
        let (both, one) = ([main.clone(), other.id.clone()], [main.clone()]);
        let rows = vec![
            package(&main, "scope", "left-pad"),
            package(&other.id, "scope", "left-pad"),
            package(&main, "", "a_b"),
            package(&main, "", "aXb"),
            package(&other.id, "", "Hidden"),
        ];
        let described = content(&domain, r#"{"summary":"Pads to the RIGHT","keywords":["100%"]}"#);
        let row = version(&rows[3].id, &described.id, "1", 20);
        write(store, move |session| Box::pin(async move { session.insert_repository(&other).await })).await;
        insert_packages(store, rows).await;
        write(store, move |session| {
            Box::pin(async move {
                session.insert_content(&described, &[]).await?;
                session.insert_version(&row).await
            })
        })
        .await;
        let mut session = store.read().await.expect("a session");
        let mut search = async |repositories: &[Id], words: &str, limit: usize, offset: usize| {
            let found = session.search_packages(repositories, "npm", words, limit, offset).await.expect("ok");
            (found.0.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(" "), found.1)
        };
        let found = |names: &str, total| (names.to_owned(), total);
        assert_eq!(search(&both, "", 9, 0).await, found("Hidden aXb a_b left-pad", 4));
        assert_eq!(search(&both, "", 2, 1).await, found("aXb a_b", 4));
        assert_eq!(search(&one, "hidden", 9, 0).await, found("", 0));
        assert_eq!(search(&both, "HIDDEN", 9, 0).await, found("Hidden", 1));
        assert_eq!(search(&both, "left", 9, 0).await, found("left-pad", 1));
        assert_eq!(search(&both, "cop pad", 9, 0).await, found("left-pad", 1));
        assert_eq!(search(&both, "a_b", 9, 0).await, found("a_b", 1));
        assert_eq!(search(&both, "right", 9, 0).await, found("aXb", 1));
        assert_eq!(search(&both, "100% pads", 9, 0).await, found("aXb", 1));
        assert_eq!(search(&both, "%", 9, 0).await, found("aXb", 1));
        assert_eq!(search(&both, "\\ '", 9, 0).await, found("", 0));
        assert_eq!(search(&both, "keywords", 9, 0).await, found("", 0));
        assert_eq!(search(&[], "", 9, 0).await, found("", 0));
    })
    .await;
}

#[tokio::test]
async fn versions_are_changed_listed_and_deleted() {
    on_every_engine(async |store| {
        let (domain, repository) = furnished(store).await;
        let package = package(&repository, "", "left");
        let (first, second) = (content(&domain, "{}"), content(&domain, "{}"));
        let mut rows = [
            version(&package.id, &first.id, "1.0.0", 30),
            version(&package.id, &first.id, "1.10.0", 32),
            version(&package.id, &first.id, "1.2.0", 31),
        ];
        rows[1].origin = Origin::External { connection: npmjs() };
        rows[1].publish_time.source = TimeSource::Registry;
        let twin = version(&package.id, &first.id, "1.0.0", 33);
        let (package_id, ids) = (package.id.clone(), rows.clone().map(|row| row.id));
        let (contents, changed) = ([first.id.clone(), second.id.clone()], ids.clone());
        write(store, move |session| {
            Box::pin(async move {
                session.insert_package(&package).await?;
                session.insert_content(&first, &[]).await?;
                session.insert_content(&second, &[]).await?;
                for row in &rows {
                    session.insert_version(row).await?;
                }
                session.set_version_status(&changed[0], VersionStatus::Archived, at(40)).await?;
                let flags = Flags { deprecated: Some("old".into()), ..Flags::default() };
                session.set_version_flags(&changed[1], &flags, at(41)).await?;
                session.set_version_content(&changed[2], &second.id, "r2", at(42)).await
            })
        })
        .await;
        let unique = store
            .write(move |session| Box::pin(async move { session.insert_version(&twin).await }))
            .await
            .expect_err("there is one of that key");
        assert!(matches!(&unique, DbError::Unique { table: "package_versions", .. }), "{unique}");

        let mut session = store.read().await.expect("a session");
        let rows = session.versions_of(std::slice::from_ref(&package_id)).await.expect("ok");
        assert_eq!(rows.iter().map(|row| &*row.key).collect::<Vec<_>>(), ["1.0.0", "1.10.0", "1.2.0"]);
        assert_eq!((rows[0].status, rows[0].updated_at), (VersionStatus::Archived, at(40)));
        assert_eq!((&*rows[0].text, rows[0].published_at), ("v1.0.0", at(30)));
        assert_eq!(
            (&rows[1].origin, rows[1].flags.deprecated.as_deref()),
            (&Origin::External { connection: npmjs() }, Some("old"))
        );
        assert_eq!(rows[1].publish_time, PublishTime { at: at(9), source: TimeSource::Registry });
        assert_eq!((&rows[2].content, rows[2].revision.as_str()), (&contents[1], "r2"));
        let found = session.package_version(&package_id, "1.2.0").await.expect("ok").expect("a version");
        assert_eq!(found.id, ids[2]);
        assert!(session.package_version(&package_id, "3").await.expect("ok").is_none());

        let newest = VersionFilter { newest_first: true, ..VersionFilter::default() };
        for (filter, expected) in [
            (VersionFilter::default(), vec!["1.0.0", "1.10.0", "1.2.0"]),
            (newest, vec!["1.10.0", "1.2.0", "1.0.0"]),
            (VersionFilter { status: Some(VersionStatus::Archived), ..newest }, vec!["1.0.0"]),
            (VersionFilter { origin_kind: Some(OriginKind::External), ..newest }, vec!["1.10.0"]),
        ] {
            let (mut keys, mut page) = (Vec::new(), PageRequest::first(2));
            loop {
                let found = session.list_versions(&package_id, &filter, &page).await.expect("ok");
                keys.extend(found.items.iter().map(|row| row.key.to_string()));
                let Some(token) = found.next_token else { break };
                page = PageRequest::parse(Some(2), Some(&token), 2).expect("a page");
            }
            assert_eq!(keys, expected, "{filter:?}");
        }
        let foreign = PageRequest { size: 2, after: vec!["x".into(), "y".into()] };
        assert!(matches!(session.list_versions(&package_id, &newest, &foreign).await, Err(DbError::Cursor)));
        drop(session);

        let deleted = write(store, move |session| {
            Box::pin(async move {
                session.delete_version(&ids[2]).await?;
                let deleted = session.delete_content_if_unused(&contents[1]).await?;
                let kept = session.delete_content_if_unused(&contents[0]).await?;
                session.delete_package(&package_id).await?;
                Ok((deleted, kept, session.content(&contents[0]).await?.is_some()))
            })
        })
        .await;
        assert_eq!(deleted, (true, false, false), "a package takes its contents along");
    })
    .await;
}

#[tokio::test]
async fn contents_have_assets_in_three_states() {
    on_every_engine(async |store| {
        let (domain, repository) = furnished(store).await;
        let package = package(&repository, "", "left");
        let (first, second) = (content(&domain, "{}"), content(&domain, "{}"));
        let (first_id, second_id) = (first.id.clone(), second.id.clone());
        let row = version(&package.id, &first_id, "1", 20);
        let expected = Expected { sha1: Some([3; 20]), size: Some(9), ..Expected::default() };
        let promised =
            AssetState::Promised { expected: expected.clone(), url: "http://example.test/f".into() };
        let evicted = AssetState::Evicted { size: 3, digests: digests(b"old") };
        let asset = |content: &Id, name: &str, state| AssetRow {
            content: content.clone(),
            name: name.into(),
            state,
            derived: false,
        };
        let assets = [
            held(&first_id, "b", b"same"),
            AssetRow { derived: true, ..held(&first_id, "b.metadata", b"made of b") },
            held(&first_id, "a", b"same"),
            asset(&first_id, "c", promised.clone()),
            asset(&first_id, "d", evicted),
        ];
        // Nobody names this one, so its bytes do not count.
        let unused = [asset(&second_id, "a", promised)];
        let now_held = held(&second_id, "a", b"unused");
        write(store, move |session| {
            Box::pin(async move {
                session.insert_package(&package).await?;
                session.insert_content(&first, &assets).await?;
                session.insert_content(&second, &unused).await?;
                session.insert_version(&row).await?;
                session.put_asset(&now_held).await?;
                session.set_content_metadata(&second.id, "{\"a\":1}", "{\"b\":2}").await
            })
        })
        .await;
        let mut session = store.read().await.expect("a session");
        let rows = session.assets_of(&[first_id.clone(), second_id.clone()]).await.expect("ok");
        assert_eq!(
            rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(),
            ["a", "b", "b.metadata", "c", "d", "a"]
        );
        assert!(rows[2].derived && !rows[1].derived);
        let files = session.files_of(std::slice::from_ref(&first_id)).await.expect("ok");
        assert_eq!(files.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert!(matches!(&rows[0].state, AssetState::Held { size: 4, digests: d } if *d == digests(b"same")));
        let AssetState::Promised { expected: found, url } = &rows[3].state else { panic!("promised") };
        assert_eq!((found, url.as_str()), (&expected, "http://example.test/f"));
        assert!(matches!(&rows[4].state, AssetState::Evicted { size: 3, .. }));
        assert!(matches!(&rows[5].state, AssetState::Held { size: 6, .. }));
        assert!(session.asset(&first_id, "c").await.expect("ok").is_some());
        assert!(session.asset(&first_id, "e").await.expect("ok").is_none());
        let page = session.list_assets(&first_id, &PageRequest::first(3)).await.expect("a page");
        let next = PageRequest::parse(Some(3), page.next_token.as_deref(), 3).expect("a page");
        let page = session.list_assets(&first_id, &next).await.expect("a page");
        assert_eq!(page.items.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["d"]);
        let changed = session.content(&second_id).await.expect("ok").expect("a content");
        assert_eq!((changed.metadata.as_str(), changed.description.as_str()), ("{\"a\":1}", "{\"b\":2}"));
        assert_eq!(session.contents_metadata(&[first_id, second_id]).await.expect("ok").len(), 2);
        assert_eq!(session.domain_asset_bytes(&domain).await.expect("ok"), 4);
        assert_eq!(session.domain_asset_bytes("none").await.expect("ok"), 0);
        drop(session);
        let gone = domain.clone();
        write(store, move |session| Box::pin(async move { session.delete_domain(&gone).await })).await;
        let mut session = store.read().await.expect("a session");
        assert!(session.domain_by_id(&domain).await.expect("ok").is_none());
    })
    .await;
}

#[tokio::test]
async fn a_long_list_is_asked_in_pieces() {
    on_every_engine(async |store| {
        let (_, repository) = furnished(store).await;
        let rows: Vec<PackageRow> =
            (0..1100).map(|n| package(&repository, "", &format!("p{n:04}"))).collect();
        let ids: Vec<Id> = rows.iter().map(|row| row.id.clone()).collect();
        insert_packages(store, rows).await;
        let tagged = ids.clone();
        write(store, move |session| {
            Box::pin(async move {
                for package in &tagged {
                    session.put_tag(package, "latest", "0").await?;
                    session.put_tag(package, "latest", "1").await?;
                }
                session.put_tag(&tagged[0], "beta", "2").await?;
                assert!(session.delete_tag(&tagged[1], "latest").await?);
                assert!(!session.delete_tag(&tagged[1], "latest").await?);
                Ok(())
            })
        })
        .await;
        let mut session = store.read().await.expect("a session");
        let tags = session.tags_of(&ids).await.expect("ok");
        assert_eq!(tags.len(), 1100);
        assert_eq!(tags[0], (ids[0].clone(), "beta".into(), "2".into()));
        assert_eq!(tags[1], (ids[0].clone(), "latest".into(), "1".into()));
    })
    .await;
}

#[tokio::test]
async fn a_synced_blob_stays_synced() {
    on_every_engine(async |store| {
        let (domain, _) = furnished(store).await;
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let place = domain.clone();
        write(store, move |session| {
            Box::pin(async move {
                session.put_blob(&place, &a, 1, true, at(50)).await?;
                session.put_blob(&place, &a, 1, false, at(51)).await?;
                session.put_blob(&place, &b, 2, false, at(52)).await?;
                Ok(())
            })
        })
        .await;
        let mut session = store.read().await.expect("a session");
        assert!(session.blob(&domain, &a).await.expect("ok").expect("a blob").synced);
        assert_eq!(session.unsynced_blobs().await.expect("ok"), [(domain.clone(), b, 2)]);
        drop(session);
        let place = domain.clone();
        write(store, move |session| {
            Box::pin(async move {
                session.mark_synced(&place, &[a, b]).await?;
                assert!(session.unsynced_blobs().await?.is_empty());
                session.delete_blob(&place, &a).await?;
                assert!(session.blob(&place, &a).await?.is_none());
                Ok(())
            })
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn documents_and_their_absence_are_remembered() {
    on_every_engine(async |store| {
        let (domain, _) = furnished(store).await;
        let found = DocumentRow {
            body: Some((Digest::of(b"index"), 5)),
            etag: Some("W/\"x\"".into()),
            last_modified: None,
            url: Some("https://example.test/left".into()),
            fetched_at: at(60),
            checked_at: at(61),
        };
        let absent = DocumentRow { body: None, etag: None, ..found.clone() };
        write(store, move |session| {
            Box::pin(async move {
                session.put_document(&domain, &npmjs(), "left", &absent).await?;
                session.put_document(&domain, &npmjs(), "left", &found).await?;
                session.put_document(&domain, &npmjs(), "gone", &absent).await?;
                let left = session.document(&domain, &npmjs(), "left").await?.expect("a document");
                assert_eq!((left.body, left.etag, left.url), (found.body, found.etag, found.url));
                assert_eq!((left.fetched_at, left.checked_at), (at(60), at(61)));
                let gone = session.document(&domain, &npmjs(), "gone").await?.expect("a document");
                assert!(gone.body.is_none());
                session.delete_document(&domain, &npmjs(), "gone").await?;
                assert!(session.document(&domain, &npmjs(), "gone").await?.is_none());
                Ok(())
            })
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn the_first_pin_wins() {
    on_every_engine(async |store| {
        let (domain, _) = furnished(store).await;
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        write(store, move |session| {
            Box::pin(async move {
                assert_eq!(session.put_pin(&domain, &npmjs(), "x_1/f", &a, at(70)).await?, a);
                assert_eq!(session.put_pin(&domain, &npmjs(), "x_1/f", &b, at(71)).await?, a);
                session.put_pin(&domain, &npmjs(), "xy1/f", &b, at(72)).await?;
                assert_eq!(session.pin(&domain, &npmjs(), "x_1/f").await?, Some(a));
                assert_eq!(session.list_pins(&domain).await?.len(), 2);
                assert_eq!(session.delete_pins(&domain, &npmjs(), "x_").await?, 1);
                let left = session.list_pins(&domain).await?;
                assert_eq!(
                    (left[0].coordinate.as_str(), left[0].digest, left[0].seen_at),
                    ("xy1/f", b, at(72))
                );
                assert_eq!(session.pin(&domain, &npmjs(), "x_1/f").await?, None);
                Ok(())
            })
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn the_first_sight_of_a_version_stays() {
    on_every_engine(async |store| {
        let (domain, _) = furnished(store).await;
        let moments = |pairs: &[(&str, i64)]| pairs.iter().map(|(v, s)| ((*v).to_owned(), at(*s))).collect();
        let (early, late) = (moments(&[("1", 70)]), moments(&[("1", 80), ("2", 80)]));
        write(store, move |session| {
            Box::pin(async move {
                assert!(session.first_seen(&domain, &npmjs(), "npm//x").await?.is_empty());
                session.note_first_seen(&domain, &npmjs(), "npm//x", &early).await?;
                session.note_first_seen(&domain, &npmjs(), "npm//x", &late).await?;
                let found = session.first_seen(&domain, &npmjs(), "npm//x").await?;
                assert_eq!((found["1"], found["2"]), (at(70), at(80)));
                assert!(session.first_seen(&domain, &npmjs(), "npm//y").await?.is_empty());
                Ok(())
            })
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn the_files_of_a_deleted_version_are_remembered() {
    on_every_engine(async |store| {
        let (domain, repository) = furnished(store).await;
        let record = package(&repository, "", "left-pad");
        insert_packages(store, vec![record.clone()]).await;
        let first = content(&domain, "{}");
        let row = version(&record.id, &first.id, "1.0.0", 1);
        let assets = [held(&first.id, "b.tgz", b"b"), held(&first.id, "a.tgz", b"a")];
        let mut expected = [digests(b"a").sha256, digests(b"b").sha256];
        expected.sort();
        let package_id = record.id.clone();
        let found = write(store, move |session| {
            Box::pin(async move {
                session.insert_content(&first, &assets).await?;
                session.insert_version(&row).await?;
                let before = session.deleted_version(&package_id, "1.0.0").await?;
                session.note_deleted_version(&row, at(5)).await?;
                session.delete_version(&row.id).await?;
                Ok((before, session.deleted_version(&package_id, "1.0.0").await?))
            })
        })
        .await;
        assert_eq!(found, (None, Some(expected.to_vec())));
    })
    .await;
}
