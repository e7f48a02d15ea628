//! Exports and imports: what arrives is what was there, on either engine, however often they were cut; what is not
//! as it was exported is refused.

use super::{at, id, on_every_engine, sqlite, write};
use crate::blob::{BlobKey, Durability};
use crate::copy::line::line_of;
use crate::copy::table::{Kind, TABLES, Table};
use crate::copy::{
    CopyError, ExportFolder, Exported, Imported, Manifest, ReadFolder, Step, check_target, export, import,
};
use crate::db::{Engine, Value};
use crate::error::DbError;
use crate::lock::StoreLock;
use crate::store::OpenError;
use crate::{Places, Session, Store};
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use weir_core::Digest;

/// Rows that each table is given; the last has nulls where there may be some.
const ROWS: usize = 3;

/// Which columns may be null, of all tables of an SQLite database.
async fn nullable(session: &mut Session, table: &'static str) -> BTreeSet<String> {
    let sql = r#"select name, "notnull" from pragma_table_info($1)"#;
    let rows = session.all(table, sql, &[table.into()]).await.expect("columns");
    let nullable = rows.iter().filter(|row| row.integer("notnull").expect("a number") == 0);
    nullable.map(|row| row.string("name").expect("a name")).collect()
}

fn body(row: usize) -> Vec<u8> {
    // The first is large enough to be read in pieces.
    vec![u8::try_from(row).expect("few"); if row == 0 { 300_000 } else { 10 + row }]
}

/// A value that is told from others. What is named like an identifier is the same in all tables, so that rows refer
/// to each other.
fn fill(table: &Table, name: &str, kind: Kind, row: usize) -> (Option<String>, Option<i64>, Vec<u8>) {
    let text = match name {
        "state" if table.name == "blobs" => "kept".to_owned(),
        "state" if table.name == "assets" => "held".to_owned(),
        _ if name.ends_with("_id") => row.to_string(),
        _ => format!("{name} {row} ü \"\n'\t"),
    };
    let number = match name {
        "size" if matches!(table.name, "blobs" | "documents") => body(row).len() as i64,
        _ => 1_700_000_000_000_000 + row as i64,
    };
    let bytes = if kind == Kind::Bytes && name == "sha256" {
        Digest::of(&body(row)).as_bytes().to_vec()
    } else {
        format!("{name} {row} \u{0}").into_bytes()
    };
    (Some(text), Some(number), bytes)
}

/// Rows in every table, and the bytes that they name.
async fn furnish(store: &Store) {
    let mut nulls = BTreeMap::new();
    for table in TABLES {
        nulls.insert(table.name, nullable(&mut store.read().await.expect("a session"), table.name).await);
    }
    write(store, move |session| {
        Box::pin(async move {
            for table in TABLES {
                for row in 0..ROWS {
                    let filled: Vec<_> = table
                        .columns
                        .iter()
                        .map(|column| fill(table, column.name, column.kind, row))
                        .collect();
                    let values: Vec<Value<'_>> = table
                        .columns
                        .iter()
                        .zip(&filled)
                        .map(|(column, (text, number, bytes))| {
                            // A blob that no asset names would not be copied.
                            let names = table.name == "assets" && column.name == "sha256";
                            let null = row + 1 == ROWS && nulls[table.name].contains(column.name) && !names;
                            match column.kind {
                                Kind::Text => Value::Text(text.as_deref().filter(|_| !null)),
                                Kind::Integer => Value::Int(number.filter(|_| !null)),
                                Kind::Boolean => Value::Bool(row == 1),
                                Kind::Bytes => Value::Bytes(Some(bytes.as_slice()).filter(|_| !null)),
                            }
                        })
                        .collect();
                    session.run(table.name, AssertSqlSafe(table.insert(table.columns, 1)), &values).await?;
                }
            }
            // What belongs to one place only, and a file that is being erased.
            session.put_setting("blob-store", "this one").await?;
            let sql = "insert into leases (name, holder, expires_at) values ('gc', 'somebody', 1)";
            session.run("leases", sql, &[]).await?;
            let sql = "insert into blobs (domain_id, sha256, size, synced, created_at, state)
                       values ('0', $1, 4, $2, 1, 'gone')";
            session.run("blobs", sql, &[(&Digest::of(b"gone")).into(), true.into()]).await?;
            Ok(())
        })
    })
    .await;
    for row in 0..ROWS {
        keep(store, &file(row), &body(row)).await;
        // The last document's row names no body.
        if row + 1 < ROWS {
            keep(store, &document(row), &body(row)).await;
        }
    }
}

fn file(row: usize) -> BlobKey {
    BlobKey::Asset { domain: row.to_string().into(), digest: Digest::of(&body(row)) }
}

fn document(row: usize) -> BlobKey {
    BlobKey::Document { domain: row.to_string().into(), digest: Digest::of(&body(row)) }
}

async fn keep(store: &Store, key: &BlobKey, bytes: &[u8]) {
    let spooled = store.spool().take(bytes.to_vec().into()).await.expect("spooled");
    store.blobs().keep(key, spooled, Durability::Later).await.expect("kept");
}

/// A held asset of these bytes, of a content of domain "0".
async fn name(store: &Store, bytes: &'static [u8]) {
    write(store, move |session| {
        Box::pin(async move {
            let sql = "insert into assets (content_id, name, state, size, sha256, derived)
                       values ('0', $1, 'held', $2, $3, $4)";
            let digest = Digest::of(bytes);
            let name = digest.hex();
            let values = [name.as_str().into(), bytes.len().into(), (&digest).into(), false.into()];
            session.run("assets", sql, &values).await
        })
    })
    .await;
}

/// All rows that are copied, with `blobs.synced` set.
async fn rows(store: &Store) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for table in TABLES {
        let mut lines = BTreeSet::new();
        let select = match table.name {
            "blobs" => table.select().replace("synced", "1 = 1 as synced"),
            _ => table.select(),
        };
        let mut session = store.read().await.expect("a session");
        session
            .each::<DbError>(table.name, AssertSqlSafe(select), |row| {
                lines.insert(String::from_utf8(line_of(&row, table.columns)?).expect("JSON"));
                Ok(())
            })
            .await
            .expect("rows");
        all.insert(table.name, lines);
    }
    all
}

async fn export_to(store: &Store, folder: &Path) -> Exported {
    let opened = ExportFolder::open(folder, at(1)).expect("a folder");
    export(store, &opened, &id(), at(1), &|_| ()).await.expect("an export")
}

async fn import_from(store: &Store, folder: &Path) -> Result<Imported, CopyError> {
    import(store, &ReadFolder::open(folder, at(2))?, at(2), false, &|_| ()).await
}

/// An export of a furnished store.
async fn exported() -> (TempDir, PathBuf) {
    let (_directory, source) = sqlite().await;
    furnish(&source).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("export");
    export_to(&source, &path).await;
    (folder, path)
}

fn edit_manifest(folder: &Path, edit: impl FnOnce(&mut Manifest)) {
    let path = folder.join("manifest.json");
    let mut manifest =
        serde_json::from_slice(&fs_err::read(&path).expect("it is there")).expect("a manifest");
    edit(&mut manifest);
    fs_err::write(&path, serde_json::to_vec(&manifest).expect("JSON")).expect("written");
}

#[tokio::test]
async fn every_table_and_column_is_copied_or_left_on_purpose() {
    on_every_engine(async |store| {
        let mut session = store.read().await.expect("a session");
        let sql = match session.engine() {
            Engine::Sqlite => {
                "select tables.name as table_name, columns.name as column_name, columns.type as data_type
                 from sqlite_master as tables join pragma_table_info(tables.name) as columns
                 where tables.type = 'table' and tables.name not like 'sqlite_%'"
            }
            Engine::Postgres => {
                "select table_name::text, column_name::text, data_type::text from information_schema.columns
                 where table_schema = current_schema()"
            }
        };
        let mut real: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for row in session.all("tables", sql, &[]).await.expect("columns") {
            let text = |name| row.string(name).expect("a name");
            real.entry(text("table_name"))
                .or_default()
                .insert(text("column_name"), text("data_type").to_lowercase());
        }
        // What is in progress, what nodes tell each other, and what was migrated, belong to one place and moment.
        for left in ["leases", "changes", "migrations"] {
            real.remove(left);
        }
        let told = TABLES.iter().map(|table| {
            let columns = table.columns.iter().map(|column| {
                let kind = match column.kind {
                    Kind::Text => "text",
                    Kind::Integer => "bigint",
                    Kind::Boolean => "boolean",
                    Kind::Bytes => "bytea",
                };
                (column.name.to_owned(), kind.to_owned())
            });
            (table.name.to_owned(), columns.collect())
        });
        let told: BTreeMap<String, BTreeMap<String, String>> = told.collect();
        assert_eq!(real, told, "src/copy/table.rs and the migrations differ");
    })
    .await;
}

#[tokio::test]
async fn keys_of_the_tables_are_those_of_the_database() {
    let (_directory, store) = sqlite().await;
    let mut session = store.read().await.expect("a session");
    for table in TABLES {
        let sql = "select name from pragma_table_info($1) where pk > 0 order by pk";
        let rows = session.all(table.name, sql, &[table.name.into()]).await.expect("a key");
        let key: Vec<_> = rows.iter().map(|row| row.string("name").expect("a name")).collect();
        assert_eq!(key.join(", "), table.key, "{}", table.name);
    }
}

#[tokio::test]
async fn what_is_brought_from_engine_to_engine_and_back_is_what_was_there() {
    let (_directory, source) = sqlite().await;
    furnish(&source).await;
    let before = rows(&source).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    let first = export_to(&source, &there).await;
    assert!(first.manifest.lost.is_empty() && first.documents_missing == 0, "{:?}", first.manifest);
    assert_eq!((first.manifest.files.count, first.manifest.documents.count), (3, 2));
    assert_eq!(first.copied.count, 5);
    on_every_engine(async |target| {
        let done = import_from(target, &there).await.expect("an import");
        assert!(!done.resumed && done.copied.count == 5 && done.documents_missing == 0, "{done:?}");
        let after = rows(target).await;
        for table in TABLES {
            assert!(after[table.name].is_superset(&before[table.name]), "{}", table.name);
            assert_eq!(after[table.name].len(), before[table.name].len(), "{}", table.name);
        }
        let mut session = target.read().await.expect("a session");
        assert!(session.unsynced_blobs().await.expect("blobs").is_empty());
        let own = session.get_setting("blob-store").await.expect("a setting");
        assert_ne!(own.as_deref(), Some("this one"), "it keeps its own blobs");
        assert_eq!(session.get_setting("import").await.expect("a setting"), None);
        drop(session);
        for key in [file(0), file(2), document(1)] {
            assert!(target.blobs().exists(&key).await.expect("an answer"), "{key:?}");
        }

        let again = export_to(target, &back).await;
        let (_directory, last) = sqlite().await;
        import_from(&last, &back).await.expect("an import");
        assert_eq!(rows(&last).await, before);
        assert_eq!(again.manifest.files, first.manifest.files);
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_sees_one_moment() {
    on_every_engine(async |store| {
        let mut snapshot = store.snapshot().await.expect("a snapshot");
        assert_eq!(snapshot.get_setting("color").await.expect("a setting"), None);
        write(store, |session| Box::pin(session.put_setting("color", "red"))).await;
        assert_eq!(snapshot.get_setting("color").await.expect("a setting"), None);
        drop(snapshot);
        let mut session = store.read().await.expect("a session");
        assert_eq!(session.get_setting("color").await.expect("a setting").as_deref(), Some("red"));
    })
    .await;
}

#[tokio::test]
async fn an_import_that_is_cut_at_any_step_goes_on() {
    let (_folder, folder) = exported().await;
    on_every_engine(async |target| {
        let mut cut = 0;
        let done = loop {
            let steps = AtomicUsize::new(0);
            let stop = tokio::sync::Notify::new();
            let progress = |_: Step| {
                if steps.fetch_add(1, Ordering::Relaxed) == cut {
                    stop.notify_one();
                }
            };
            let opened = ReadFolder::open(&folder, at(2)).expect("an export");
            tokio::select! {
                biased;
                () = stop.notified() => cut += 1,
                done = import(target, &opened, at(2), false, &progress) => break done.expect("an import"),
            }
        };
        assert!(done.resumed && cut > 5, "{cut} cuts, {done:?}");
        for (table, lines) in rows(target).await {
            assert_eq!(lines.len(), ROWS, "{table}");
        }
        assert!(matches!(import_from(target, &folder).await, Err(CopyError::NotEmpty)));
    })
    .await;
}

#[tokio::test]
async fn a_store_with_half_of_an_import_is_opened_by_nobody_else() {
    let (_folder, folder) = exported().await;
    let (directory, target) = sqlite().await;
    let opened = ReadFolder::open(&folder, at(2)).expect("an export");
    let stop = tokio::sync::Notify::new();
    let progress = |step: Step| {
        if matches!(step, Step::Rows { table: "packages", .. }) {
            stop.notify_one();
        }
    };
    tokio::select! {
        biased;
        () = stop.notified() => {}
        done = import(&target, &opened, at(2), false, &progress) => panic!("not cut: {done:?}"),
    }
    drop(opened);
    target.close().await;
    drop(target);
    let lock = || StoreLock::acquire(directory.path(), "a test", at(3)).expect("free");
    let places = Places::folder(directory.path());
    let Err(error) = Store::open(&places, lock(), at(3)).await else { panic!("opened") };
    assert!(matches!(&error, OpenError::Unfinished { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("weir import") && text.contains("1970-01-01T00:00:02Z"), "{text}");

    // Another export has no business there, and the same one goes on.
    let target = Store::open_unfinished(&places, lock(), at(3)).await.expect("opened");
    let (_other, other) = exported().await;
    let refused = check_target(&target, &ReadFolder::open(&other, at(3)).expect("an export")).await;
    assert!(matches!(refused, Err(CopyError::OtherImport { .. })), "{refused:?}");
    let done = import_from(&target, &folder).await.expect("an import");
    assert!(done.resumed && done.copied.count == 0, "{done:?}");
    target.close().await;
    drop(target);
    Store::open(&places, lock(), at(3)).await.expect("opened");
}

#[tokio::test]
async fn what_is_in_use_is_not_imported_into() {
    let (_folder, folder) = exported().await;
    on_every_engine(async |target| {
        super::furnished(target).await;
        let before = rows(target).await;
        assert!(matches!(import_from(target, &folder).await, Err(CopyError::NotEmpty)));
        assert_eq!(rows(target).await, before);
    })
    .await;
}

#[tokio::test]
async fn rows_that_are_not_as_exported_are_refused_before_anything_is_written() {
    let (_folder, folder) = exported().await;
    let (_directory, target) = sqlite().await;
    let manifest = ReadFolder::open(&folder, at(2)).expect("an export").manifest().clone();
    let path = folder.join(&manifest.rows).join("packages.jsonl");
    let good = fs_err::read_to_string(&path).expect("it is there");
    for bad in [good.replace("ü", "ö"), good[..good.len() - 1].to_owned(), String::new()] {
        fs_err::write(&path, bad).expect("written");
        let error = import_from(&target, &folder).await.expect_err("damaged").to_string();
        assert!(error.contains("damaged") && error.contains("packages.jsonl"), "{error}");
    }
    fs_err::remove_file(&path).expect("removed");
    let error = import_from(&target, &folder).await.expect_err("missing").to_string();
    assert!(error.contains("is missing"), "{error}");
    assert_eq!(target.read().await.expect("a session").get_setting("import").await.expect("a setting"), None);
    fs_err::write(&path, good).expect("written");
    import_from(&target, &folder).await.expect("an import");
    let nowhere = import_from(&target, &folder.join("nowhere")).await.expect_err("none").to_string();
    assert!(nowhere.contains("holds no export") && nowhere.contains("weir export"), "{nowhere}");
}

#[tokio::test]
async fn an_older_export_is_taken_and_a_newer_one_is_refused_with_its_version() {
    let (_folder, folder) = exported().await;
    let (_directory, target) = sqlite().await;
    let newer = async |edit: fn(&mut Manifest), what: &str| {
        let path = folder.join("manifest.json");
        let good = fs_err::read(&path).expect("it is there");
        edit_manifest(&folder, edit);
        let error = import_from(&target, &folder).await.expect_err("newer").to_string();
        assert!(error.contains("weir 9.9.9 or later") && error.contains(what), "{error}");
        fs_err::write(&path, good).expect("written");
    };
    edit_manifest(&folder, |manifest| manifest.weir = "9.9.9".to_owned());
    newer(|manifest| manifest.format = 2, "format 2").await;
    newer(|manifest| manifest.tables[5].name = "moods".to_owned(), "table 'moods'").await;
    newer(|manifest| manifest.tables[5].columns[1] = "mood".to_owned(), "column 'mood'").await;

    // As a version would have written it that knew neither the last two tables nor a column.
    let rows = folder.join(&ReadFolder::open(&folder, at(2)).expect("an export").manifest().rows);
    edit_manifest(&folder, |manifest| {
        manifest.tables.retain(|file| !matches!(file.name.as_str(), "audit" | "deleted_versions"));
        let file = manifest.tables.iter_mut().find(|file| file.name == "assets").expect("it is there");
        let position = file.columns.iter().position(|name| name == "derived").expect("it is there");
        file.columns.remove(position);
        let path = rows.join("assets.jsonl");
        let mut text = String::new();
        for line in fs_err::read_to_string(&path).expect("it is there").lines() {
            let mut values: Vec<serde_json::Value> = serde_json::from_str(line).expect("a row");
            values.remove(position);
            text.push_str(&format!("{}\n", serde_json::Value::from(values)));
        }
        fs_err::write(&path, &text).expect("written");
        (file.bytes, file.sha256) = (text.len() as u64, Digest::of(text.as_bytes()).hex());
    });
    import_from(&target, &folder).await.expect("an import");
    let mut session = target.read().await.expect("a session");
    let assets = session.all("assets", "select content_id, derived from assets", &[]).await.expect("rows");
    assert_eq!(assets.len(), ROWS);
    assert!(assets.iter().all(|row| !row.boolean("derived").expect("a truth")));
}

#[tokio::test]
async fn a_bad_file_is_named_by_the_export_and_refused_by_the_import() {
    let (source_folder, source) = sqlite().await;
    furnish(&source).await;
    let path = |root: &Path, key: &BlobKey| root.join("blobs").join(key.path());
    let spoil = |path: &Path| {
        let mut bytes = fs_err::read(path).expect("it is there");
        *bytes.last_mut().expect("bytes") ^= 1;
        fs_err::write(path, bytes).expect("written");
    };
    let rotten = path(source_folder.path(), &file(0));
    spoil(&rotten);
    source.blobs().delete(&file(1)).await.expect("deleted");
    source.blobs().delete(&document(0)).await.expect("deleted");
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("export");
    let done = export_to(&source, &folder).await;
    let problems: Vec<_> = done.manifest.lost.iter().map(|lost| lost.problem.as_str()).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("SHA-256") && problems[1] == "is missing", "{problems:?}");
    assert_eq!(done.documents_missing, 1);
    assert!(!path(&folder, &file(0)).exists());

    // What the source has again comes with the next export; what the export lost itself is refused.
    spoil(&rotten);
    let done = export_to(&source, &folder).await;
    assert_eq!((done.manifest.lost.len(), done.copied.count), (1, 1));
    let (_directory, target) = sqlite().await;
    spoil(&path(&folder, &file(2)));
    let error = import_from(&target, &folder).await.expect_err("damaged").to_string();
    assert!(error.contains(&file(2).path()) && error.contains("--skip-damaged"), "{error}");
    fs_err::remove_file(path(&folder, &file(2))).expect("removed");
    assert!(import_from(&target, &folder).await.expect_err("missing").to_string().contains("is missing"));
    assert_eq!(export_to(&source, &folder).await.copied.count, 1);
    // No row was written, so the next export may go on.
    let done = import_from(&target, &folder).await.expect("an import");
    assert_eq!((done.damaged.len(), done.documents_missing), (0, 1), "{done:?}");

    spoil(&path(&folder, &file(2)));
    let (_directory, target) = sqlite().await;
    let opened = ReadFolder::open(&folder, at(2)).expect("an export");
    let done = import(&target, &opened, at(2), true, &|_| ()).await.expect("an import");
    assert_eq!(done.damaged.len(), 1, "{done:?}");
}

#[tokio::test]
async fn what_was_lost_before_is_told_and_what_nothing_names_is_left_out() {
    let (_folder, folder) = exported().await;
    on_every_engine(async |source| {
        import_from(source, &folder).await.expect("an import");
        // As a verification leaves them, as an older import does, and as a collection is about to erase it.
        name(source, b"gone").await;
        name(source, b"absent").await;
        write(source, |session| {
            Box::pin(async move {
                session.put_blob("0", &Digest::of(b"gone"), 4, true, at(1)).await?;
                session.condemn_blob("0", &Digest::of(b"gone"), at(2)).await?;
                session.bury_blobs("0", &[Digest::of(b"gone")], at(2), at(3)).await?;
                session.put_blob("0", &Digest::of(b"unnamed"), 7, true, at(1)).await
            })
        })
        .await;
        let target = tempfile::tempdir().expect("a folder");
        let target = target.path().join("export");
        let done = export_to(source, &target).await;
        let told: BTreeSet<_> = done.manifest.lost.iter().map(|lost| lost.sha256.as_str()).collect();
        let expected = [Digest::of(b"gone").hex(), Digest::of(b"absent").hex()];
        assert_eq!(told, expected.iter().map(String::as_str).collect(), "{:?}", done.manifest.lost);
        assert_eq!(done.manifest.files.count, 3);
        let (_directory, last) = sqlite().await;
        let done = import_from(&last, &target).await.expect("an import");
        assert!(done.damaged.is_empty(), "{done:?}");
        assert_eq!(rows(&last).await, rows(source).await);
    })
    .await;
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::create_dir(folder.path().join("lost+found")).expect("made");
    drop(ExportFolder::open(folder.path(), at(1)).expect("as good as empty"));
    drop(ExportFolder::open(folder.path(), at(1)).expect("the beginning of an export"));
    fs_err::create_dir(folder.path().join("rows-of-trees")).expect("made");
    let error = ExportFolder::open(folder.path(), at(1)).err().expect("refused").to_string();
    assert!(error.contains("rows-of-trees") && error.contains("new folder"), "{error}");
}

#[tokio::test]
async fn a_second_export_copies_what_is_new_and_a_cut_one_leaves_the_last() {
    let (_directory, source) = sqlite().await;
    furnish(&source).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("export");
    let first = export_to(&source, &folder).await;
    keep(&source, &BlobKey::Asset { domain: "0".into(), digest: Digest::of(b"new") }, b"new").await;
    write(&source, |session| {
        Box::pin(async move { session.put_blob("0", &Digest::of(b"new"), 3, true, at(3)).await })
    })
    .await;
    name(&source, b"new").await;

    let stop = tokio::sync::Notify::new();
    let opened = ExportFolder::open(&folder, at(3)).expect("a folder");
    let progress = |step: Step| {
        // All blobs may be looked at without a pause in between; the tables that follow are not.
        if matches!(step, Step::Rows { table: "documents", .. }) {
            stop.notify_one();
        }
    };
    let name = id();
    tokio::select! {
        biased;
        () = stop.notified() => {}
        done = export(&source, &opened, &name, at(3), &progress) => panic!("not cut: {done:?}"),
    }
    let second = ExportFolder::open(&folder, at(3)).err().expect("locked").to_string();
    assert!(second.contains("weir export"), "{second}");
    drop(opened);
    let there = ReadFolder::open(&folder, at(3)).expect("an export").manifest().export.clone();
    assert_eq!(there, first.manifest.export);
    let (_directory, target) = sqlite().await;
    import_from(&target, &folder).await.expect("the last export is whole");

    let second = export_to(&source, &folder).await;
    assert!(second.copied.count <= 1, "{:?}", second.copied);
    assert_eq!(second.manifest.files.count, first.manifest.files.count + 1);
    let folders = fs_err::read_dir(&folder).expect("a folder").filter_map(|entry| {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        name.starts_with("rows-").then_some(name)
    });
    assert_eq!(folders.collect::<Vec<_>>(), [second.manifest.rows]);
}
