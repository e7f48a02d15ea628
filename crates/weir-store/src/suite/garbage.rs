//! The end of blobs that nothing names, beside those who name them, and what a verification finds. Each test drives
//! the steps of a collection by hand.

use super::blobs::{key, on_every_blob_store};
use super::package_rows::{content, held, package, version};
use super::{at, furnished, on_every_engine, write};
use crate::blob::{BlobKind, Durability};
use crate::rows::{BlobState, DocumentRow, Id};
use crate::{Engine, Session, Store};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use tokio::sync::oneshot;
use weir_core::{ConnectionName, Digest, Timestamp};

/// Writes a version in `repository` whose only file has these bytes, as a publish does.
async fn publish(
    session: &mut Session,
    domain: &Id,
    repository: &Id,
    name: &str,
    data: &'static [u8],
) -> BlobState {
    let state = session.put_blob(domain, &Digest::of(data), data.len() as u64, true, at(20)).await;
    let state = state.expect("a blob");
    if state == BlobState::Kept {
        let (record, consists) = (package(repository, "", name), content(domain, "{}"));
        session.insert_package(&record).await.expect("a package");
        session.insert_content(&consists, &[held(&consists.id, "a.tgz", data)]).await.expect("a content");
        session.insert_version(&version(&record.id, &consists.id, "1", 20)).await.expect("a version");
    }
    state
}

async fn published(store: &Store, place: &(Id, Id), name: &'static str, data: &'static [u8]) -> BlobState {
    let (domain, repository) = place.clone();
    write(store, move |session| {
        Box::pin(async move { Ok(publish(session, &domain, &repository, name, data).await) })
    })
    .await
}

async fn state(store: &Store, domain: &Id, data: &[u8]) -> Option<(BlobState, Option<Timestamp>)> {
    let mut session = store.read().await.expect("a session");
    let row = session.blob(domain, &Digest::of(data)).await.expect("an answer");
    row.map(|row| (row.state, row.unnamed_since))
}

/// A blob without a name, unnamed since 30.
async fn left_behind(store: &Store, domain: &Id, data: &'static [u8]) {
    let domain = domain.clone();
    write(store, move |session| {
        Box::pin(async move {
            let digest = Digest::of(data);
            session.put_blob(&domain, &digest, data.len() as u64, true, at(20)).await?;
            session.mark_unnamed(&domain, &[digest], at(30)).await
        })
    })
    .await;
}

async fn doom(store: &Store, domain: &Id, data: &[&[u8]], until: i64, now: i64) -> Vec<Digest> {
    let domain = domain.clone();
    let digests: Vec<Digest> = data.iter().map(|data| Digest::of(data)).collect();
    write(store, move |session| {
        Box::pin(async move {
            let doomed = session.doom_blobs(&domain, &digests, at(until), at(now)).await?;
            Ok(doomed.iter().map(|row| row.digest).collect())
        })
    })
    .await
}

async fn bury(store: &Store, domain: &Id, data: &[u8], doomed: i64, now: i64) {
    let (domain, digest) = (domain.clone(), Digest::of(data));
    write(store, move |session| {
        Box::pin(async move { session.bury_blobs(&domain, &[digest], at(doomed), at(now)).await })
    })
    .await;
}

#[tokio::test]
async fn only_what_nothing_names_since_long_enough_is_doomed() {
    on_every_engine(async |store| {
        let place = furnished(store).await;
        let domain = &place.0;
        assert_eq!(published(store, &place, "named", b"named").await, BlobState::Kept);
        left_behind(store, domain, b"left").await;
        let mut session = store.read().await.expect("a session");
        let mut page = session.blobs_after(domain, None, 1).await.expect("a page");
        let last = page[0].0.digest;
        page.extend(session.blobs_after(domain, Some(&last), 9).await.expect("a page"));
        let mut found: Vec<_> = page.iter().map(|(row, named)| (row.digest, *named)).collect();
        let mut expected = vec![(Digest::of(b"named"), true), (Digest::of(b"left"), false)];
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(session.blobs_unnamed_until(at(29), 9).await.expect("ok"), []);
        let left = (domain.clone(), Digest::of(b"left"));
        assert_eq!(session.blobs_unnamed_until(at(30), 9).await.expect("ok"), [left]);
        drop(session);

        assert_eq!(doom(store, domain, &[b"left"], 29, 40).await, [], "too early");
        // A mark that came too late, or stayed from before, dooms nothing that is named.
        let named = domain.clone();
        write(store, move |session| {
            Box::pin(async move { session.mark_unnamed(&named, &[Digest::of(b"named")], at(25)).await })
        })
        .await;
        assert_eq!(doom(store, domain, &[b"left", b"named"], 30, 41).await, [Digest::of(b"left")]);
        assert_eq!(state(store, domain, b"named").await, Some((BlobState::Kept, None)));
        assert_eq!(state(store, domain, b"left").await, Some((BlobState::Doomed, Some(at(41)))));

        let mut session = store.read().await.expect("a session");
        assert_eq!(session.doomed_blobs(at(40), at(41), 9).await.expect("ok").len(), 0);
        // By its time, or by a clock that was set back since.
        for (until, latest) in [(at(41), at(99)), (at(1), at(40))] {
            let doomed = session.doomed_blobs(until, latest, 9).await.expect("ok");
            assert_eq!(doomed.iter().map(|(_, row)| row.digest).collect::<Vec<_>>(), [Digest::of(b"left")]);
        }
        drop(session);
        bury(store, domain, b"left", 40, 50).await;
        assert_eq!(state(store, domain, b"left").await, Some((BlobState::Doomed, Some(at(41)))), "another's");
        bury(store, domain, b"left", 41, 50).await;
        assert_eq!(state(store, domain, b"left").await, Some((BlobState::Gone, Some(at(50)))));
        let forget = |until: i64| {
            write(store, move |session| {
                Box::pin(async move { session.forget_gone_blobs(at(until), 9).await })
            })
        };
        assert_eq!(forget(49).await, 0);
        assert_eq!(forget(50).await, 1);
        assert_eq!(state(store, domain, b"left").await, None);
    })
    .await;
}

#[tokio::test]
async fn what_is_doomed_or_gone_is_not_named_until_it_is_revived() {
    on_every_engine(async |store| {
        let place = furnished(store).await;
        let domain = &place.0;
        left_behind(store, domain, b"bytes").await;
        let digest = Digest::of(b"bytes");
        assert_eq!(doom(store, domain, &[b"bytes"], 30, 41).await, [digest]);
        assert_eq!(published(store, &place, "one", b"bytes").await, BlobState::Doomed);
        bury(store, domain, b"bytes", 41, 42).await;
        assert_eq!(published(store, &place, "one", b"bytes").await, BlobState::Gone);
        let mut session = store.read().await.expect("a session");
        let unkept = session.unkept_blobs(domain, &[digest, Digest::of(b"other")]).await.expect("ok");
        assert_eq!(
            unkept.iter().map(|row| (row.digest, row.state)).collect::<Vec<_>>(),
            [(digest, BlobState::Gone)]
        );
        drop(session);
        let revive = |seen: i64| {
            let domain = domain.clone();
            write(store, move |session| {
                Box::pin(async move { session.revive_blob(&domain, &digest, at(seen), at(60)).await })
            })
        };
        assert!(!revive(41).await, "it was doomed and gone once more since it was seen");
        assert!(revive(42).await);
        assert_eq!(published(store, &place, "one", b"bytes").await, BlobState::Kept);
        assert_eq!(state(store, domain, b"bytes").await, Some((BlobState::Kept, None)));
        let again = domain.clone();
        let retaken = write(store, move |session| {
            Box::pin(async move { session.doom_again(&again, &digest, at(42), at(70)).await })
        });
        assert!(!retaken.await, "only what is doomed is taken over");
        let spared = domain.clone();
        write(store, move |session| Box::pin(async move { session.mark_named(&spared, &[digest]).await }))
            .await;
    })
    .await;
}

#[tokio::test]
async fn who_names_a_blob_while_it_is_to_be_doomed_keeps_it() {
    on_every_engine(async |store| {
        if store.engine() == Engine::Sqlite {
            // One transaction at a time: there is no such moment.
            return;
        }
        let place = furnished(store).await;
        left_behind(store, &place.0, b"bytes").await;
        let (named, is_named) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel::<()>();
        let naming = tokio::spawn({
            let (store, place) = (store.clone(), place.clone());
            async move {
                write(&store, move |session| {
                    Box::pin(async move {
                        let state = publish(session, &place.0, &place.1, "one", b"bytes").await;
                        let _ = named.send(());
                        let _ = ended.await;
                        Ok(state)
                    })
                })
                .await
            }
        });
        is_named.await.expect("it is named");
        let dooming = tokio::spawn({
            let (store, domain) = (store.clone(), place.0.clone());
            async move { doom(&store, &domain, &[b"bytes"], 30, 41).await }
        });
        // It waits for the lock of the row.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(!dooming.is_finished());
        end.send(()).expect("it waits");
        assert_eq!(naming.await.expect("it ends"), BlobState::Kept);
        assert_eq!(dooming.await.expect("it ends"), []);
        assert_eq!(state(store, &place.0, b"bytes").await, Some((BlobState::Kept, None)));
    })
    .await;
}

#[tokio::test]
async fn bytes_without_row_are_doomed_unless_they_are_named() {
    on_every_engine(async |store| {
        let place = furnished(store).await;
        let domain = &place.0;
        assert_eq!(published(store, &place, "named", b"named").await, BlobState::Kept);
        let lost = domain.clone();
        write(store, move |session| {
            Box::pin(async move { session.delete_blob(&lost, &Digest::of(b"named")).await })
        })
        .await;
        left_behind(store, domain, b"left").await;
        let digests = [b"named".as_slice(), b"left", b"stray"].map(Digest::of);
        let mut session = store.read().await.expect("a session");
        let known = session.known_blobs(domain, &digests).await.expect("ok");
        assert_eq!(known.into_iter().collect::<Vec<_>>(), [Digest::of(b"left")]);
        drop(session);
        let of = domain.clone();
        let doomed = write(store, move |session| {
            Box::pin(
                async move { session.doom_unlisted(&of, &digests.map(|digest| (digest, 5)), at(41)).await },
            )
        });
        let doomed = doomed.await;
        assert_eq!(doomed.iter().map(|row| row.digest).collect::<Vec<_>>(), [Digest::of(b"stray")]);
        assert_eq!(state(store, domain, b"named").await, Some((BlobState::Kept, None)));
        assert_eq!(state(store, domain, b"left").await, Some((BlobState::Kept, Some(at(30)))));
    })
    .await;
}

#[tokio::test]
async fn what_was_not_read_for_long_is_read_and_what_is_lost_is_told_by_name() {
    on_every_engine(async |store| {
        let place = furnished(store).await;
        let domain = &place.0;
        published(store, &place, "one", b"1").await;
        published(store, &place, "two", b"2").await;
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let of = domain.clone();
        write(store, move |session| {
            Box::pin(async move { session.mark_verified(&of, &[one], at(50)).await })
        })
        .await;
        let mut session = store.read().await.expect("a session");
        let mut both = vec![one, two];
        both.sort();
        // Passed over is only what was verified in the time: not before, and not by a clock that was set back since.
        let times = [(49, 50, vec![two]), (50, 60, both.clone()), (10, 49, both.clone())];
        for (start, end, expected) in times {
            let time = Some(at(start)..at(end));
            let (rows, last) = session.unverified_blobs(domain, time, None, 9).await.expect("ok");
            let rows: Vec<_> = rows.iter().map(|row| row.digest).collect();
            assert_eq!((rows, last), (expected, Some(both[1])));
        }
        let (page, last) = session.unverified_blobs(domain, None, None, 1).await.expect("ok");
        assert_eq!((page[0].digest, page.len(), last), (both[0], 1, Some(both[0])));
        let (page, last) = session.unverified_blobs(domain, None, Some(&both[0]), 9).await.expect("ok");
        assert_eq!((page[0].digest, page.len(), last), (both[1], 1, Some(both[1])));
        let (page, last) = session.unverified_blobs(domain, None, Some(&both[1]), 9).await.expect("ok");
        assert!(page.is_empty() && last.is_none());
        assert_eq!(session.unkept_assets(one.as_bytes()[0]).await.expect("ok"), []);
        drop(session);
        let of = domain.clone();
        write(store, move |session| {
            Box::pin(async move {
                assert!(session.condemn_blob(&of, &one, at(60)).await?);
                assert!(!session.condemn_blob(&of, &one, at(61)).await?);
                session.spare_blob(&of, &one, at(61)).await?;
                assert_eq!(session.unkept_assets(one.as_bytes()[0]).await?, [(of.clone(), one, 1)]);
                session.spare_blob(&of, &one, at(60)).await?;
                assert!(session.unkept_assets(one.as_bytes()[0]).await?.is_empty());
                Ok(())
            })
        })
        .await;
        let mut session = store.read().await.expect("a session");
        let files = session.files_named(domain, &one, 9).await.expect("ok");
        let file = files.first().expect("a file");
        assert_eq!(
            (file.repository.as_str(), file.format.as_str(), file.package.as_str()),
            ("main", "npm", "one")
        );
        assert_eq!((&*file.key, file.version.as_str(), file.file.as_str()), ("1", "v1", "a.tgz"));
        assert!(!file.derived && !file.external && files.len() == 1);
    })
    .await;
}

#[tokio::test]
async fn documents_that_nobody_confirms_are_forgotten() {
    on_every_engine(async |store| {
        let (domain, _) = furnished(store).await;
        let connection = ConnectionName::parse("connection", "public:npmjs").expect("a name");
        let row = |data: &[u8], checked: i64| DocumentRow {
            body: Some((Digest::of(data), 1)),
            etag: None,
            last_modified: None,
            url: None,
            fetched_at: at(1),
            checked_at: at(checked),
        };
        let (old, new) = (row(b"old", 10), row(b"new", 20));
        let of = domain.clone();
        let forgotten = write(store, move |session| {
            Box::pin(async move {
                session.put_document(&of, &connection, "a", &old).await?;
                session.put_document(&of, &connection, "b", &new).await?;
                let both = [Digest::of(b"old"), Digest::of(b"new")];
                assert_eq!(session.known_documents(&of, &both, at(9)).await?.len(), 2);
                let known = session.known_documents(&of, &both, at(10)).await?;
                assert_eq!(known.into_iter().collect::<Vec<_>>(), [Digest::of(b"new")]);
                session.put_document(&of, &connection, "c", &old).await?;
                assert_eq!(session.forget_old_documents(&of, at(10), 1).await?, 1);
                session.forget_old_documents(&of, at(10), 9).await
            })
        });
        assert_eq!(forgotten.await, 1);
    })
    .await;
}

#[tokio::test]
async fn contents_that_no_version_has_are_deleted_when_they_are_old() {
    on_every_engine(async |store| {
        let place = furnished(store).await;
        published(store, &place, "one", b"1").await;
        let left = content(&place.0, "{}");
        let made = left.created_at.as_second();
        let found = write(store, move |session| {
            Box::pin(async move {
                session.insert_content(&left, &[held(&left.id, "a.tgz", b"2")]).await?;
                let too_early = session.contents_after("", at(made - 1), 9).await?;
                assert!(too_early.len() == 2 && too_early.iter().all(|(_, unused)| !unused));
                let mut page = session.contents_after("", at(made), 1).await?;
                let first = page[0].0.clone();
                page.extend(session.contents_after(&first, at(made), 9).await?);
                let unused: Vec<_> = page.iter().filter(|(_, unused)| *unused).collect();
                assert_eq!((page.len(), unused), (2, vec![&(left.id.clone(), true)]));
                let all: Vec<Id> = page.into_iter().map(|(id, _)| id).collect();
                assert_eq!(session.delete_unused_contents(&all).await?, 1);
                let lost = session.asset(&left.id, "a.tgz").await?;
                Ok((lost, session.contents_after("", at(made), 9).await?.len()))
            })
        });
        let (lost, count) = found.await;
        assert!(lost.is_none() && count == 1);
    })
    .await;
}

#[tokio::test]
async fn kept_objects_are_listed_by_domain_and_kind() {
    on_every_blob_store(async |spool, blobs| {
        assert!(blobs.domains().await.expect("an answer").is_empty());
        let domain: Id = "d1".into();
        assert!(listed(blobs, &domain, BlobKind::Asset).await.is_empty());
        for data in [b"a".as_slice(), b"bb", b"ccc"] {
            let spooled = spool.take(Bytes::from_static(data)).await.expect("spooled");
            blobs.keep(&key(data), spooled, Durability::Later).await.expect("kept");
        }
        let spooled = spool.take(Bytes::from_static(b"index")).await.expect("spooled");
        let other = BlobKind::Document.key(&"d2".into(), Digest::of(b"index"));
        blobs.keep(&other, spooled, Durability::Later).await.expect("kept");
        assert_eq!(blobs.domains().await.expect("an answer"), ["d1".into(), "d2".into()]);
        let mut expected = vec![(Digest::of(b"a"), 1), (Digest::of(b"bb"), 2), (Digest::of(b"ccc"), 3)];
        expected.sort();
        assert_eq!(listed(blobs, &domain, BlobKind::Asset).await, expected);
        assert!(listed(blobs, &domain, BlobKind::Document).await.is_empty());
        assert_eq!(listed(blobs, &"d2".into(), BlobKind::Document).await, [(Digest::of(b"index"), 5)]);
    })
    .await;
}

async fn listed(blobs: &crate::Blobs, domain: &Id, kind: BlobKind) -> Vec<(Digest, u64)> {
    let pages: Vec<_> = blobs.list(domain, kind).try_collect().await.expect("a listing");
    let mut found = Vec::new();
    for listed in pages.into_iter().flatten() {
        let facts = blobs.facts(domain, kind, &listed).await.expect("an answer").expect("it is there");
        assert!(facts.modified > at(1_600_000_000), "{facts:?}");
        found.push((listed.digest, facts.size));
    }
    found.sort();
    found
}
