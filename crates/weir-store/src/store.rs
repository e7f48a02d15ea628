//! `Store`: the database, the blobs and the spool of one installation, opened together under one lock.

use crate::blob::{BlobError, Blobs};
use crate::db::{Database, DatabaseUrl, Session};
use crate::error::DbError;
use crate::lock::{LockError, StoreLock};
use crate::spool::Spool;
use futures_util::future::BoxFuture;
use std::path::Path;
use std::sync::Arc;
use weir_core::{Clock, Timestamp};

/// All that Weir remembers. Cloning is cheap; every clone is the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    blobs: Blobs,
    spool: Spool,
    /// Held for as long as the store lives.
    _lock: StoreLock,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it open.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database cannot be opened or brought up to date.
    #[error("cannot open the database: {0}")]
    Database(#[from] DbError),
    /// The folder of the blobs or of the spool cannot be used.
    #[error("cannot open the blob store: {0}")]
    Blobs(#[from] BlobError),
}

impl Store {
    /// Opens the database (bringing its tables up to date) over blobs and spool that are open already.
    /// `now` is recorded as the time at which migrations were applied.
    pub async fn open(
        database: &DatabaseUrl,
        blobs: Blobs,
        spool: Spool,
        lock: StoreLock,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let database = Database::open(database, now).await?;
        Ok(Self { inner: Arc::new(Inner { database, blobs, spool, _lock: lock }) })
    }

    /// Opens everything in one folder, making what is missing: `weir.db`, `blobs/` and `lock`.
    pub async fn open_folder(directory: &Path, clock: &dyn Clock) -> Result<Self, OpenError> {
        let now = clock.now();
        let lock = StoreLock::acquire(directory, "weir serve", now)?;
        let root = directory.join("blobs");
        let spool = Spool::open(&root, &lock)?;
        let blobs = Blobs::folder(&root)?;
        Self::open(&DatabaseUrl::Sqlite(directory.join("weir.db")), blobs, spool, lock, now).await
    }

    /// A session that reads. Give it back (drop it) before sending bytes to a client: readers are few.
    /// Each query of it sees the latest commit; two queries may see different ones.
    pub async fn read(&self) -> Result<Session, DbError> {
        self.inner.database.read().await
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
        self.inner.database.write(work).await
    }

    /// The bytes of files and index documents.
    pub fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// Where incoming bytes lie until they are kept.
    pub fn spool(&self) -> &Spool {
        &self.inner.spool
    }

    /// Whether the database answers and the blob store takes bytes, for `/readyz`.
    pub async fn health(&self) -> weir_core::Result<()> {
        self.read().await?.ping().await?;
        Ok(self.blobs().health().await?)
    }

    /// Finishes writes that were handed over and closes the database; later calls find it unavailable.
    pub async fn close(&self) {
        self.inner.database.close().await;
    }
}
