//! `export`: rows of one moment first, then the bytes that they name, then the manifest in one step. What is in
//! the folder already is passed over, so a second export copies what is new and a cut one goes on.

use super::carry::{Carried, Carrier, Count};
use super::folder::ExportFolder;
use super::line::line_of;
use super::manifest::{Counted, Lost, Manifest, ROWS, TableFile};
use super::row_file::{self, RowWriter};
use super::table::{TABLES, Table, UNKEPT};
use super::{CopyError, FORMAT, MASTER_KEY_FINGERPRINT, Progress, Step};
use crate::db::{Engine, Session};
use crate::rows::Id;
use crate::store::Store;
use sqlx::AssertSqlSafe;
use std::path::Path;
use weir_core::Timestamp;

/// After how many rows a step is told.
const TOLD: u64 = 1000;

/// What an export did.
#[derive(Debug, Clone)]
pub struct Exported {
    /// What the folder holds now.
    pub manifest: Manifest,
    /// Files and index documents that were not there before.
    pub copied: Counted,
    /// Index documents whose bodies are missing or damaged; they are fetched again when they are asked for.
    pub documents_missing: u64,
}

/// Writes all of a store into a folder. `id` names the export, `at` is its time. Files that are missing or damaged
/// do not stop it: `Manifest::lost` names them.
pub async fn export(
    store: &Store,
    folder: &ExportFolder,
    id: &Id,
    at: Timestamp,
    progress: Progress<'_>,
) -> Result<Exported, CopyError> {
    let earlier = Manifest::read(&folder.root)?;
    let key = store.read().await?.get_setting(MASTER_KEY_FINGERPRINT).await?;
    if let Some(theirs) = earlier.as_ref().and_then(|earlier| earlier.master_key_fingerprint.as_ref())
        && key.as_ref().is_some_and(|ours| ours != theirs)
    {
        return Err(CopyError::OtherInstallation { folder: folder.root.display().to_string() });
    }
    folder.sweep(earlier.as_ref())?;
    let mut manifest = Manifest {
        format: FORMAT,
        export: id.to_string(),
        weir: env!("CARGO_PKG_VERSION").to_owned(),
        exported_at: format!("{at:.0}"),
        engine: match store.engine() {
            Engine::Sqlite => "sqlite".to_owned(),
            Engine::Postgres => "postgresql".to_owned(),
        },
        migrations: Vec::new(),
        master_key_fingerprint: None,
        rows: format!("{ROWS}{id}"),
        tables: Vec::new(),
        files: Counted::default(),
        documents: Counted::default(),
        lost: Vec::new(),
    };
    let rows = folder.root.join(&manifest.rows);
    fs_err::create_dir_all(&rows)?;
    let mut session = store.snapshot().await?;
    let total = write_rows(&mut session, &rows, &mut manifest, progress).await?;
    drop(session);

    let mut exported = Exported { manifest, copied: Counted::default(), documents_missing: 0 };
    copy_blobs(store, folder, &rows, total, &mut exported, progress).await?;
    fs_err::File::open(&rows)?.sync_all()?;
    exported.manifest.write(&folder.root)?;
    folder.sweep(Some(&exported.manifest))?;
    Ok(exported)
}

/// Writes all tables; gives how many blobs they name and the bytes of those.
async fn write_rows(
    session: &mut Session,
    folder: &Path,
    manifest: &mut Manifest,
    progress: Progress<'_>,
) -> Result<Counted, CopyError> {
    let mut total = Counted::default();
    let migrations = "select name from migrations order by name";
    session
        .each::<CopyError>("migrations", migrations, |row| {
            manifest.migrations.push(row.string("name")?);
            Ok(())
        })
        .await?;
    manifest.master_key_fingerprint = session.get_setting(MASTER_KEY_FINGERPRINT).await?;
    for table in TABLES {
        manifest.tables.push(write_table(session, folder, table, &mut total, progress).await?);
    }
    session
        .each::<CopyError>("assets", UNKEPT, |row| {
            manifest.lost.push(Lost {
                domain_id: row.string("domain_id")?,
                sha256: row.digest("sha256")?.hex(),
                size: row.size("size")?,
                problem: "was lost before: it is kept no more".to_owned(),
            });
            Ok(())
        })
        .await?;
    Ok(total)
}

async fn write_table(
    session: &mut Session,
    folder: &Path,
    table: &'static Table,
    total: &mut Counted,
    progress: Progress<'_>,
) -> Result<TableFile, CopyError> {
    let mut file = RowWriter::create(&row_file::path(folder, table.name))?;
    let names_blobs = matches!(table.name, "blobs" | "documents");
    // Safe: made of the names in the table of tables alone.
    let sql = AssertSqlSafe(table.select());
    session
        .each::<CopyError>(table.name, sql, |row| {
            if names_blobs && let Some(size) = row.optional_integer("size")? {
                total.add(u64::try_from(size).unwrap_or(0));
            }
            file.write(&line_of(&row, table.columns)?)?;
            if file.rows() % TOLD == 0 {
                progress(Step::Rows { table: table.name, done: file.rows(), total: None });
            }
            Ok(())
        })
        .await?;
    progress(Step::Rows { table: table.name, done: file.rows(), total: None });
    Ok(file.finish(table)?)
}

async fn copy_blobs(
    store: &Store,
    folder: &ExportFolder,
    rows: &Path,
    total: Counted,
    exported: &mut Exported,
    progress: Progress<'_>,
) -> Result<(), CopyError> {
    let Exported { manifest, copied, documents_missing } = exported;
    let carrier = Carrier::new(store.blobs(), &folder.blobs, &folder.spool);
    let mut count = Count { done: 0, total: total.count, bytes: 0, total_bytes: total.bytes, progress };
    for name in ["blobs", "documents"] {
        let table = Table::named(name).expect("both stand in the table of tables");
        let path = row_file::path(rows, name);
        carrier
            .carry_all(&path, name, table.columns, &mut count, |named, carried| {
                let is_file = name == "blobs";
                let kept = if is_file { &mut manifest.files } else { &mut manifest.documents };
                match carried {
                    Carried::Copied => {
                        kept.add(named.size);
                        copied.add(named.size);
                    }
                    Carried::Present => kept.add(named.size),
                    Carried::Lost(problem) if is_file => manifest.lost.push(Lost {
                        domain_id: named.domain.to_string(),
                        sha256: named.digest.hex(),
                        size: named.size,
                        problem,
                    }),
                    Carried::Lost(_) => *documents_missing += 1,
                }
                Ok(())
            })
            .await?;
    }
    Ok(())
}
