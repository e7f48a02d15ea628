//! `Store`: the database, the blobs and the spool of one installation, opened together under one lock.

use crate::blob::{BlobError, BlobUrl, Blobs, Durability};
use crate::copy::Mark;
use crate::db::{Database, DatabaseUrl, Engine, Listener, Session};
use crate::error::DbError;
use crate::id::new_id;
use crate::lock::{LockError, StoreLock};
use crate::spool::Spool;
use futures_util::future::BoxFuture;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use weir_core::{Clock, Error, SystemClock, SystemSecrets, Timestamp};

/// The setting that names the blob store of a database.
const BLOB_STORE: &str = "blob-store";

/// How long a sign of life of database and blobs may take together.
const HEALTH: Duration = Duration::from_secs(5);

/// How long what the blob store did counts for all who ask: nobody has to log in to ask.
const PROBED: Duration = Duration::from_secs(1);

/// All that Weir remembers. Cloning is cheap; every clone is the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    blobs: Blobs,
    spool: Spool,
    /// When the blob store was last probed, and what is wrong with it. Locked while somebody does.
    probed: Mutex<Option<(Instant, Result<(), String>)>>,
    /// Held for as long as the store lives.
    _locks: Vec<StoreLock>,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it open.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database cannot be opened or brought up to date.
    #[error("cannot open the database")]
    Database(#[from] DbError),
    /// The blobs are not those of this database.
    #[error(
        "the blob store {place} {problem}; blob-url must name the right one, or an empty one for a new database"
    )]
    ForeignBlobs {
        /// Where they are.
        place: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Rows were brought in and not all of them came.
    #[error(
        "the database holds the beginning of an import, of export {export} begun at {begun}: run 'weir import FOLDER' \
         again with the folder of that export, which goes on, or begin with an empty database"
    )]
    Unfinished {
        /// The export.
        export: String,
        /// When the import was begun.
        begun: String,
    },
    /// The folder of the blobs or of the spool cannot be used.
    #[error("cannot open the blob store")]
    Blobs(#[from] BlobError),
}

/// Where the parts of a store are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The data folder of this process, which holds its lock and whatever has no place of its own.
    pub directory: PathBuf,
    /// The database.
    pub database: DatabaseUrl,
    /// The blobs.
    pub blobs: BlobUrl,
    /// After which time a process that serves a blob looks again whether its bytes are right; `None` for a day.
    pub recheck_after: Option<Duration>,
}

impl Places {
    /// Everything in one folder: `weir.db`, `blobs/` and `lock`.
    pub fn folder(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            database: DatabaseUrl::Sqlite(directory.join("weir.db")),
            blobs: BlobUrl::Folder(directory.join("blobs")),
            recheck_after: None,
        }
    }

    /// The folder in which incoming bytes lie: that of the blobs, so that keeping them is a rename.
    fn spool_root(&self) -> PathBuf {
        match &self.blobs {
            BlobUrl::Folder(root) => root.clone(),
            BlobUrl::S3(_) => self.directory.join("blobs"),
        }
    }
}

impl Store {
    /// Opens the parts and brings the tables up to date. `lock` is that of the data folder; the blob folder
    /// is locked too. `now` is recorded as the time at which migrations were applied. Errors: somebody else has it
    /// open; the database needs a later version; it is not reachable; the blobs belong to another database; an
    /// import into it was not finished.
    pub async fn open(places: &Places, lock: StoreLock, now: Timestamp) -> Result<Self, OpenError> {
        let store = Self::open_unfinished(places, lock, now).await?;
        let mark = Mark::of(&mut store.read().await?).await?;
        if let Some(mark) = mark {
            store.close().await;
            return Err(OpenError::Unfinished { export: mark.export, begun: mark.begun });
        }
        Ok(store)
    }

    /// As `open`, for the import itself: one that was begun may be there.
    pub async fn open_unfinished(
        places: &Places,
        lock: StoreLock,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let root = places.spool_root();
        // Also inside the data folder: another process may be pointed at just this part of it.
        let locks = vec![lock, StoreLock::acquire(&root, "weir, for its blobs", now)?];
        let spool = Spool::open(&root, &locks[1])?;
        let mut blobs = Blobs::open_at(&places.blobs)?;
        if let Some(time) = places.recheck_after {
            blobs = blobs.recheck_after(time);
        }
        let database = Database::open(&places.database, now).await?;
        let inner = Inner { database, blobs, spool, probed: Mutex::default(), _locks: locks };
        let store = Self { inner: Arc::new(inner) };
        if store.engine() == Engine::Sqlite {
            // Whoever held one lives no more: this process has the lock.
            store.write(|session| Box::pin(session.drop_leases(true))).await?;
        }
        store.recognise_blobs(&places.blobs).await?;
        Ok(store)
    }

    /// Refuses blobs that belong to another database: collecting garbage in them would erase that one's files, and
    /// files of this one would not be found.
    async fn recognise_blobs(&self, place: &BlobUrl) -> Result<(), OpenError> {
        let found = self.blobs().mark().await?;
        let mut session = self.read().await?;
        let known = session.get_setting(BLOB_STORE).await?;
        let is_fresh = !session.has_blobs().await?;
        drop(session);
        let foreign = |problem| Err(OpenError::ForeignBlobs { place: place.to_string(), problem });
        match (known, found) {
            (Some(known), Some(found)) if known == found => Ok(()),
            (Some(_), None) if !is_fresh => {
                foreign("has no mark, so it is not the one this database was begun with")
            }
            (_, Some(_)) => foreign("belongs to another database"),
            (known, None) => {
                let mark = known.unwrap_or_else(|| new_id(&SystemClock, &SystemSecrets).to_string());
                // Of several nodes that start at once the first one's mark holds, and of several databases the
                // first one's.
                let mark = self.write(|session| {
                    Box::pin(async move { session.put_setting_once(BLOB_STORE, &mark).await })
                });
                let mark = mark.await?;
                match self.blobs().set_mark(&mark).await? {
                    found if found == mark => Ok(()),
                    _ => foreign("belongs to another database"),
                }
            }
        }
    }

    /// Opens everything in one folder, making what is missing.
    pub async fn open_folder(directory: &Path, clock: &dyn Clock) -> Result<Self, OpenError> {
        let lock = StoreLock::acquire(directory, "weir serve", clock.now())?;
        Self::open(&Places::folder(directory), lock, clock.now()).await
    }

    /// The names of the migrations that a database lacks; nothing is opened for writing and nothing changed.
    pub async fn pending_migrations(database: &DatabaseUrl) -> Result<Vec<&'static str>, DbError> {
        Database::pending(database).await
    }

    /// Which engine the database is of.
    pub fn engine(&self) -> Engine {
        self.inner.database.engine()
    }

    /// A session that reads. Give it back (drop it) before sending bytes to a client: readers are few.
    /// Each query of it sees the latest commit; two queries may see different ones.
    pub async fn read(&self) -> Result<Session, DbError> {
        self.inner.database.read().await
    }

    /// A session whose queries all see one moment, however long it is held.
    pub(crate) async fn snapshot(&self) -> Result<Session, DbError> {
        self.inner.database.snapshot().await
    }

    /// Runs `work` in a transaction and answers after the commit; an error of `work` undoes what it did.
    /// `work` must await nothing but the session, and give up at the first error of it: PostgreSQL refuses
    /// what comes after, so look before an insert that may find its row there. On SQLite it shares its commit with other work that
    /// waits at the same moment, undone apart. Once handed over it may run even if the caller is dropped.
    pub async fn write<T, E>(
        &self,
        work: impl for<'s> FnOnce(&'s mut Session) -> BoxFuture<'s, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.write_for(Durability::Synced, work).await
    }

    /// As [`Store::write`]. With [`Durability::Later`] the answer comes after a commit that a power cut may undo, on
    /// SQLite, whole and with those after it; the end of this process undoes nothing. For rows that tell of what can be
    /// fetched again.
    pub async fn write_for<T, E>(
        &self,
        durability: Durability,
        work: impl for<'s> FnOnce(&'s mut Session) -> BoxFuture<'s, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.inner.database.write(durability, work).await
    }

    /// Makes safe from a power cut what was committed with [`Durability::Later`], if anything was.
    pub async fn sync_later(&self) -> Result<(), DbError> {
        self.inner.database.sync_later().await
    }

    /// As [`Store::read`], over connections that requests do not use: for what a node does to stay one of several.
    pub async fn read_aside(&self) -> Result<Session, DbError> {
        self.inner.database.read_aside().await
    }

    /// As [`Store::write`], over connections that requests do not use.
    pub async fn write_aside<T, E>(
        &self,
        work: impl for<'s> FnOnce(&'s mut Session) -> BoxFuture<'s, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.inner.database.write_aside(work).await
    }

    /// Wakes the other nodes after a change of which word was left for them.
    pub fn ring(&self) {
        self.inner.database.ring();
    }

    /// Hears when other nodes ring; `None` over SQLite, where there are none.
    pub async fn listen(&self) -> Result<Option<Listener>, DbError> {
        self.inner.database.listen().await
    }

    /// The bytes of files and index documents.
    pub fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// Where incoming bytes lie until they are kept.
    pub fn spool(&self) -> &Spool {
        &self.inner.spool
    }

    /// Whether the database answers and the blob store takes bytes, for `/readyz`; soon, whatever the answer. The
    /// blob store is probed once in a second, however many ask.
    pub async fn health(&self) -> weir_core::Result<()> {
        let asked = async {
            self.read().await?.ping().await?;
            self.probe_blobs().await
        };
        let late = |_| Error::unavailable("the database or the blob store did not answer in time");
        tokio::time::timeout(HEALTH, asked).await.map_err(late)?
    }

    async fn probe_blobs(&self) -> weir_core::Result<()> {
        let mut probed = self.inner.probed.lock().await;
        let fresh = probed.clone().filter(|(at, _)| at.elapsed() < PROBED);
        let found = match fresh {
            Some((_, found)) => found,
            None => {
                // Those who wait get this answer too, also when it is that none came.
                let found = match tokio::time::timeout(HEALTH, self.blobs().health()).await {
                    Ok(found) => found.map_err(|error| error.to_string()),
                    Err(_) => Err("the blob store did not answer in time".to_owned()),
                };
                *probed = Some((Instant::now(), found.clone()));
                found
            }
        };
        found.map_err(Error::unavailable)
    }

    /// Finishes writes that were handed over and closes the database; later calls find it unavailable.
    pub async fn close(&self) {
        self.inner.database.close().await;
    }
}
