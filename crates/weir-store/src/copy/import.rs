//! `import`: the rows' files are compared with the manifest, then bytes are brought in, then rows, in transactions
//! that also move a mark. Until the mark is gone nobody else opens the store; a cut import goes on at it.

use super::carry::{Carried, Carrier, Count};
use super::folder::ReadFolder;
use super::line::{Cell, cells_of};
use super::manifest::{Counted, KnownFile, Lost, Manifest};
use super::mark::{Mark, Stage};
use super::row_file::{self, RowReader};
use super::table::Column;
use super::{CopyError, Progress, Step};
use crate::db::{Engine, Session, Value};
use crate::store::Store;
use sqlx::AssertSqlSafe;
use std::collections::HashSet;
use weir_core::Timestamp;

/// Rows of one transaction at most.
const ROWS: usize = 1024;
/// Bytes of their lines, after which a transaction takes no more.
const BYTES: usize = 4 << 20;
/// Rows of one statement at most, a power of two.
const TOGETHER: usize = 64;

/// What an import did.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// Whether it went on with one that was cut.
    pub resumed: bool,
    /// Rows that were inserted now.
    pub rows: u64,
    /// Files and index documents that were copied now.
    pub copied: Counted,
    /// Files and index documents that were there already.
    pub present: Counted,
    /// Files that the export should have had, whole, and had not; only where such are passed over.
    pub damaged: Vec<Lost>,
    /// Index documents that are not in the export, or damaged; they are fetched again when they are asked for.
    pub documents_missing: u64,
}

/// Refuses a store into which this export cannot be brought: one in use, or with another import in it. Changes
/// nothing.
pub async fn check_target(store: &Store, folder: &ReadFolder) -> Result<(), CopyError> {
    resumed(&mut store.read().await?, folder.manifest()).await.map(drop)
}

/// Brings an export into an empty store, or goes on with that. `at` is the time. A missing or damaged file stops it,
/// unless `skip_damaged`.
pub async fn import(
    store: &Store,
    folder: &ReadFolder,
    at: Timestamp,
    skip_damaged: bool,
    progress: Progress<'_>,
) -> Result<Imported, CopyError> {
    let files = folder.manifest().files()?;
    progress(Step::Verifying);
    for known in &files {
        let path = row_file::path(&folder.rows(), known.table.name);
        if let Some(problem) = row_file::problem(&path, known.file)? {
            return Err(CopyError::Export { file: path.display().to_string(), problem });
        }
    }
    let (mut mark, mut done) = begin(store, folder.manifest(), at).await?;
    if mark.stage == Stage::Blobs {
        bring_blobs(store, folder, &files, skip_damaged, &mut done, progress).await?;
    }
    for (index, known) in files.iter().enumerate() {
        let started = match &mark.stage {
            Stage::Blobs => None,
            Stage::Rows { table, offset, rows } => {
                let position = files.iter().position(|file| file.table.name == table.as_str());
                if position.is_some_and(|position| position > index) {
                    continue;
                }
                (position == Some(index)).then_some((*offset, *rows))
            }
        };
        bring_rows(store, folder, known, started.unwrap_or_default(), &mut mark, &mut done, progress).await?;
    }
    finish(store, &files, mark).await?;
    Ok(done)
}

/// The mark of this very export, if its import was begun.
async fn resumed(session: &mut Session, manifest: &Manifest) -> Result<Option<Mark>, CopyError> {
    let Some(mark) = Mark::of(session).await? else {
        let used = session.first("accounts", "select account_id from accounts limit 1", &[]).await?.is_some();
        return if used { Err(CopyError::NotEmpty) } else { Ok(None) };
    };
    if mark.manifest == manifest.digest().hex() {
        return Ok(Some(mark));
    }
    match mark.stage {
        // Nothing but bytes is there, and those are named by what they are.
        Stage::Blobs => Ok(None),
        Stage::Rows { .. } => Err(CopyError::OtherImport { export: mark.export, begun: mark.begun }),
    }
}

async fn begin(store: &Store, manifest: &Manifest, at: Timestamp) -> Result<(Mark, Imported), CopyError> {
    let manifest = manifest.clone();
    store
        .write(move |session| {
            Box::pin(async move {
                if let Some(mark) = resumed(session, &manifest).await? {
                    return Ok((mark, Imported { resumed: true, ..Imported::default() }));
                }
                let mark = Mark {
                    export: manifest.export.clone(),
                    manifest: manifest.digest().hex(),
                    begun: format!("{at:.0}"),
                    stage: Stage::Blobs,
                };
                mark.begin(session).await?;
                Ok((mark, Imported::default()))
            })
        })
        .await
}

async fn bring_blobs(
    store: &Store,
    folder: &ReadFolder,
    files: &[KnownFile<'_>],
    skip_damaged: bool,
    done: &mut Imported,
    progress: Progress<'_>,
) -> Result<(), CopyError> {
    let manifest = folder.manifest();
    let lost: HashSet<_> =
        manifest.lost.iter().map(|lost| (lost.domain_id.as_str(), lost.sha256.as_str())).collect();
    let carrier = Carrier::new(&folder.blobs, store.blobs(), store.spool());
    let named = files.iter().find(|known| known.table.name == "blobs").map_or(0, |known| known.file.rows);
    let mut count = Count {
        done: 0,
        total: named + manifest.documents.count,
        bytes: 0,
        total_bytes: manifest.files.bytes + manifest.documents.bytes,
        progress,
    };
    for known in files.iter().filter(|known| matches!(known.table.name, "blobs" | "documents")) {
        let path = row_file::path(&folder.rows(), known.table.name);
        let is_file = known.table.name == "blobs";
        carrier
            .carry_all(&path, known.table.name, &known.columns, &mut count, |named, carried| {
                match carried {
                    Carried::Copied => done.copied.add(named.size),
                    Carried::Present => done.present.add(named.size),
                    Carried::Lost(_) if !is_file => done.documents_missing += 1,
                    Carried::Lost(problem) => {
                        let hex = named.digest.hex();
                        if lost.contains(&(&*named.domain, hex.as_str())) {
                            return Ok(());
                        }
                        if !skip_damaged {
                            let file = folder.root.join("blobs").join(named.key.path());
                            return Err(CopyError::Damaged { file: file.display().to_string(), problem });
                        }
                        done.damaged.push(Lost {
                            domain_id: named.domain.to_string(),
                            sha256: hex,
                            size: named.size,
                            problem,
                        });
                    }
                }
                Ok(())
            })
            .await?;
    }
    Ok(())
}

/// Inserts the rows of a file from where an earlier import stopped.
async fn bring_rows(
    store: &Store,
    folder: &ReadFolder,
    known: &KnownFile<'_>,
    (offset, mut rows): (u64, u64),
    mark: &mut Mark,
    done: &mut Imported,
    progress: Progress<'_>,
) -> Result<(), CopyError> {
    let path = row_file::path(&folder.rows(), known.table.name);
    let mut reader = RowReader::open(&path, offset)?;
    let synced = known.columns.iter().position(|column| column.name == "synced");
    loop {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < ROWS && bytes < BYTES {
            let Some(line) = reader.next()? else { break };
            bytes += line.len();
            let mut cells = cells_of(&line, &known.columns).ok_or_else(|| CopyError::Export {
                file: path.display().to_string(),
                problem: "has a line that is no row of its table".to_owned(),
            })?;
            if let Some(position) = synced.filter(|_| known.table.name == "blobs") {
                cells[position] = Cell::Boolean(true);
            }
            batch.push(cells);
        }
        if batch.is_empty() {
            return Ok(());
        }
        rows += batch.len() as u64;
        done.rows += batch.len() as u64;
        let stage = Stage::Rows { table: known.table.name.to_owned(), offset: reader.offset(), rows };
        let next = Mark { stage, ..mark.clone() };
        let (from, to) = (mark.clone(), next.clone());
        let (table, columns) = (known.table, known.columns.clone());
        store
            .write::<_, CopyError>(move |session| {
                Box::pin(async move {
                    from.advance(session, &to).await?;
                    insert(session, table, &columns, &batch).await
                })
            })
            .await?;
        *mark = next;
        progress(Step::Rows { table: known.table.name, done: rows, total: Some(known.file.rows) });
    }
}

async fn insert(
    session: &mut Session,
    table: &'static super::table::Table,
    columns: &[Column],
    mut rows: &[Vec<Cell>],
) -> Result<(), CopyError> {
    while !rows.is_empty() {
        // Powers of two, so that the engines see few different texts.
        let together = 1 << rows.len().min(TOGETHER).ilog2();
        let (now, later) = rows.split_at(together);
        let values: Vec<Value<'_>> = now.iter().flatten().map(Cell::value).collect();
        // Safe: made of the names in the table of tables alone.
        session.run(table.name, AssertSqlSafe(table.insert(columns, together)), &values).await?;
        rows = later;
    }
    Ok(())
}

/// Counts what arrived and takes the mark away.
async fn finish(store: &Store, files: &[KnownFile<'_>], mark: Mark) -> Result<(), CopyError> {
    // A new database has settings of its own.
    let counted = files.iter().filter(|known| known.table.name != "settings");
    let counted: Vec<_> = counted.map(|known| (known.table, known.file.rows)).collect();
    store
        .write(move |session| {
            Box::pin(async move {
                session.unlimited().await?;
                if session.engine() == Engine::Postgres {
                    // Many rows came at once; without statistics the first queries would read whole tables.
                    session.script("database", "analyze").await?;
                }
                for (table, expected) in counted {
                    let row = session.first(table.name, AssertSqlSafe(table.count()), &[]).await?;
                    let found = row.map_or(Ok(0), |row| row.size("count"))?;
                    if found != expected {
                        return Err(CopyError::Count { table: table.name, found, expected });
                    }
                }
                mark.end(session).await
            })
        })
        .await
}
