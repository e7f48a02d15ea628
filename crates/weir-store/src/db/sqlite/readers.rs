//! The connections that read an SQLite file. What is short runs on the thread that asks; what turns out not to be is
//! broken off and run again on the blocking pool, where a caller who leaves breaks it off for good.

use super::{Access, BUSY, Owned, SqliteRow, Value, all, each, open};
use crate::db::postgres::PATIENCE;
use crate::error::DbError;
use rusqlite::{Connection, Error, ErrorCode};
use sqlx::SqlStr;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How many read at a time.
const READERS: u32 = 4;
/// After how many steps of SQLite's machine a statement is looked at.
const STEPS: i32 = 1000;
/// How often one that runs on the caller's thread may be looked at before it is broken off: some tenths of a millisecond.
const LOOKS: i64 = 4;
/// How many bytes its rows may hold.
const ROOM: usize = 256 * 1024;
/// How many bytes of rows cross from thread to thread together, where they are many.
const BATCH: usize = 64 * 1024;
/// How long readers may go on once the database is being closed.
const GRACE: Duration = Duration::from_secs(1);

/// All of them; cloning is cheap.
#[derive(Clone)]
pub(crate) struct Readers {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Reader>>,
    closing: AtomicBool,
    /// Breaks off whatever still runs.
    stop: Arc<AtomicBool>,
}

/// A connection, and what bounds its statements.
struct Reader {
    connection: Connection,
    bounds: Arc<Bounds>,
    /// Whether it waits for locks.
    waits: bool,
}

struct Bounds {
    /// How often a statement may still be looked at.
    looks: AtomicI64,
    /// Nobody waits for it any more.
    left: AtomicBool,
    stop: Arc<AtomicBool>,
}

impl Bounds {
    /// Whether a statement ends here.
    fn are_reached(&self) -> bool {
        self.looks.fetch_sub(1, Ordering::Relaxed) <= 0
            || self.left.load(Ordering::Relaxed)
            || self.stop.load(Ordering::Relaxed)
    }
}

/// Breaks a statement off when it is dropped before its end.
struct Watched {
    bounds: Arc<Bounds>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.bounds.left.store(true, Ordering::Relaxed);
    }
}

fn closed() -> DbError {
    DbError::unavailable("it is closed")
}

impl Readers {
    /// Opens the first; the others when they are needed.
    pub(crate) async fn open(path: PathBuf) -> Result<Self, DbError> {
        let shared = Shared {
            path,
            places: Arc::new(Semaphore::new(READERS as usize)),
            idle: Mutex::default(),
            closing: AtomicBool::new(false),
            stop: Arc::default(),
        };
        let readers = Self { shared: Arc::new(shared) };
        drop(readers.lease().await?);
        Ok(readers)
    }

    /// One of them, until it is dropped. Errors: none is free in time; closed.
    pub(crate) async fn lease(&self) -> Result<Lease, DbError> {
        let places = self.shared.places.clone();
        let place = match places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(TryAcquireError::Closed) => return Err(closed()),
            Err(TryAcquireError::NoPermits) => match timeout(PATIENCE, places.acquire_owned()).await {
                Ok(place) => place.map_err(|_| closed())?,
                Err(_) => return Err(DbError::unavailable("no connection to it was free in time")),
            },
        };
        if self.shared.closing.load(Ordering::Acquire) {
            return Err(closed());
        }
        let idle = self.shared.idle().pop();
        let reader = match idle {
            Some(reader) => reader,
            None => {
                let shared = self.shared.clone();
                let opened = aside(move || Reader::open(&shared)).await?;
                opened.map_err(|e| DbError::of_sqlite("database", e))?
            }
        };
        let held = Held { reader: Some(reader), shared: self.shared.clone(), _place: place };
        Ok(Lease { held: Some(held), aside: false })
    }

    /// Lets nobody read any more. Who still reads may go on for a moment.
    pub(crate) async fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        let everyone = || self.shared.places.acquire_many(READERS);
        if timeout(GRACE, everyone()).await.is_err() {
            self.shared.stop.store(true, Ordering::Release);
            if timeout(PATIENCE, everyone()).await.is_err() {
                tracing::warn!("connections to the database were not given back in time");
            }
        }
        self.shared.places.close();
        self.shared.idle().clear();
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    fn open(shared: &Shared) -> Result<Self, Error> {
        let mut connection = open(&shared.path, Access::Read)?;
        let bounds = Arc::new(Bounds {
            looks: AtomicI64::new(i64::MAX),
            left: AtomicBool::new(false),
            stop: shared.stop.clone(),
        });
        let looked_at = bounds.clone();
        connection.progress_handler(STEPS, Some(move || looked_at.are_reached()))?;
        Ok(Self { connection, bounds, waits: true })
    }

    /// Whether the next statements may wait for locks, and how often they are looked at before they are broken off.
    fn allow(&mut self, waits: bool, looks: i64) -> Result<(), Error> {
        if self.waits != waits {
            self.connection.busy_timeout(if waits { BUSY } else { Duration::ZERO })?;
            self.waits = waits;
        }
        self.bounds.looks.store(looks, Ordering::Relaxed);
        Ok(())
    }

    /// Runs a query within bounds; `None` when they do not suffice.
    fn short(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Option<Vec<SqliteRow>>, Error> {
        self.allow(false, LOOKS)?;
        match all(&self.connection, sql, values, ROOM) {
            Err(error) if must_run_aside(&error) => Ok(None),
            done => done,
        }
    }

    /// Undoes what is open. Whether it is fit for the next.
    fn is_clean(&mut self) -> bool {
        self.bounds.left.store(false, Ordering::Relaxed);
        self.bounds.looks.store(i64::MAX, Ordering::Relaxed);
        self.connection.is_autocommit() || self.connection.execute_batch("rollback").is_ok()
    }
}

/// Whether a statement was broken off, or would have had to wait.
fn must_run_aside(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::OperationInterrupted | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// A reader with its place, given back when it is dropped, wherever that is.
struct Held {
    reader: Option<Reader>,
    shared: Arc<Shared>,
    /// The last, so that whoever gets it finds the connection.
    _place: OwnedSemaphorePermit,
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut reader) = self.reader.take() else { return };
        let is_fit = !std::thread::panicking() && reader.is_clean();
        if is_fit && !self.shared.closing.load(Ordering::Acquire) {
            self.shared.idle().push(reader);
        }
    }
}

/// A connection that reads, for one session.
pub(crate) struct Lease {
    /// Away while a statement runs aside; gone when nobody waited for its end.
    held: Option<Held>,
    /// Whether all statements run on the blocking pool.
    aside: bool,
}

impl Lease {
    /// Makes all statements from now on run on the blocking pool.
    pub(crate) fn run_aside(&mut self) {
        self.aside = true;
    }

    /// All rows of a query.
    pub(crate) async fn all(
        &mut self,
        table: &'static str,
        sql: SqlStr,
        values: &[Value<'_>],
    ) -> Result<Vec<SqliteRow>, DbError> {
        // A short one is ready at once: whoever asks for many must give way to others now and then.
        tokio::task::coop::consume_budget().await;
        if !self.aside {
            let reader = self.held.as_mut().and_then(|held| held.reader.as_mut()).ok_or_else(broken_off)?;
            let found = reader.short(sql.as_str(), values).map_err(|e| DbError::of_sqlite(table, e))?;
            if let Some(rows) = found {
                return Ok(rows);
            }
            tracing::trace!(table, "a query goes on aside");
        }
        let values: Vec<Owned> = values.iter().copied().map(Owned::from).collect();
        let found = self
            .long(table, move |connection| {
                let values: Vec<Value<'_>> = values.iter().map(Owned::value).collect();
                all(connection, sql.as_str(), &values, usize::MAX)
            })
            .await?;
        Ok(found.unwrap_or_default())
    }

    /// Visits the rows of a query as they come.
    pub(crate) async fn each<E: From<DbError>>(
        &mut self,
        table: &'static str,
        sql: SqlStr,
        mut visit: impl FnMut(SqliteRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let (sender, mut batches) = mpsc::channel::<Vec<SqliteRow>>(1);
        let reading = self.long(table, move |connection| {
            let (mut batch, mut size) = (Vec::new(), 0);
            let saw_all = each(connection, sql.as_str(), &[], |row| {
                size += row.size();
                batch.push(row);
                if size < BATCH {
                    return true;
                }
                size = 0;
                // Nobody takes it when a visit failed.
                sender.blocking_send(std::mem::take(&mut batch)).is_ok()
            })?;
            if saw_all {
                let _ = sender.blocking_send(batch);
            }
            Ok(())
        });
        let visiting = async {
            while let Some(batch) = batches.recv().await {
                for row in batch {
                    if let Err(error) = visit(row) {
                        batches.close();
                        while batches.recv().await.is_some() {}
                        return Err(error);
                    }
                }
            }
            Ok(())
        };
        let (read, visited) = tokio::join!(reading, visiting);
        visited?;
        Ok(read?)
    }

    /// Several statements without values.
    pub(crate) async fn script(&mut self, table: &'static str, sql: &'static str) -> Result<(), DbError> {
        self.long(table, move |connection| connection.execute_batch(sql)).await
    }

    /// Runs statements on the blocking pool. Who leaves before their end breaks them off, and the connection goes back.
    async fn long<T: Send + 'static>(
        &mut self,
        table: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, DbError> {
        let mut held = self.held.take().ok_or_else(broken_off)?;
        let reader = held.reader.as_ref().ok_or_else(broken_off)?;
        let bounds = reader.bounds.clone();
        let mut working = pin!(aside(move || {
            let done = match &mut held.reader {
                Some(reader) => reader.allow(true, i64::MAX).and_then(|()| work(&reader.connection)),
                None => Err(Error::InvalidQuery),
            };
            (held, done)
        }));
        // Dropped before `working` and what that holds: who has the connection next is not broken off.
        let watched = Watched { bounds };
        let (held, done) = working.as_mut().await?;
        drop(watched);
        let stopped = held.shared.stop.load(Ordering::Acquire);
        if let Some(reader) = &held.reader {
            reader.bounds.left.store(false, Ordering::Relaxed);
        }
        self.held = Some(held);
        done.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) if stopped => closed(),
            _ => DbError::of_sqlite(table, error),
        })
    }
}

fn broken_off() -> DbError {
    DbError::unavailable("a statement of this session was broken off")
}

/// Runs `work` on the blocking pool; its panic is the caller's.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, DbError> {
    match spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // The runtime ends.
        Err(_) => Err(closed()),
    }
}
