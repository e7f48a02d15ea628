//! The one writer of an SQLite file. What waits at the same moment shares a transaction and its sync to
//! disk: each piece of work in a savepoint of its own, all answered after the commit. A transaction of work
//! that may be lost in a power cut is not synced; the next that is synced takes it along. It has a thread of its own,
//! so a piece of work is handed over once, and each of its statements is a function call there.

use super::sqlite::{self, Access};
use super::{Inner, Session};
use crate::Durability;
use crate::error::DbError;
use crate::migrate::migrate;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use weir_core::Timestamp;

/// How many pieces of work share a commit at most.
const GROUP: usize = 64;
/// How many wait before callers are made to wait with them.
const WAITING: usize = 1024;

/// The way to the writer's thread.
pub(crate) struct Writer {
    inbox: mpsc::Sender<Message>,
    /// Whether a commit may be lost in a power cut still.
    unsynced: Arc<AtomicBool>,
}

enum Message {
    Work(Durability, Work),
    Close(oneshot::Sender<()>),
}

type Work = Box<dyn for<'s> FnOnce(&'s mut Session) -> BoxFuture<'s, Ran> + Send>;

/// What a piece of work did; `answer` tells its caller, once the end of the transaction is known.
struct Ran {
    keep: bool,
    answer: Box<dyn FnOnce(Result<(), DbError>) + Send>,
}

impl Writer {
    /// Opens the file, making it if it is missing, brings its tables up to date, and waits for work.
    pub(crate) async fn open(path: PathBuf, now: Timestamp) -> Result<Self, DbError> {
        let (inbox, waiting) = mpsc::channel(WAITING);
        let (sender, opened) = oneshot::channel();
        let unsynced = Arc::new(AtomicBool::new(false));
        let (seen, runtime) = (unsynced.clone(), Handle::current());
        let work = move || {
            runtime.block_on(async {
                match open(&path, now).await {
                    Ok(session) => {
                        let _ = sender.send(Ok(()));
                        serve(session, waiting, seen).await;
                    }
                    Err(error) => drop(sender.send(Err(error))),
                }
            });
        };
        let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(work);
        thread.map_err(|error| DbError::unavailable(format_args!("it has no thread: {error}")))?;
        opened.await.unwrap_or_else(|_| Err(DbError::unavailable("it could not be opened")))?;
        Ok(Self { inbox, unsynced })
    }

    /// Syncs the commits that may be lost, if there are any.
    pub(crate) async fn sync_later(&self) -> Result<(), DbError> {
        if !self.unsynced.load(Ordering::Acquire) {
            return Ok(());
        }
        self.write(Durability::Synced, |_| async { Ok(()) }.boxed()).await
    }

    pub(crate) async fn write<T, E>(
        &self,
        durability: Durability,
        work: impl for<'s> FnOnce(&'s mut Session) -> BoxFuture<'s, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let work: Work = Box::new(move |session| {
            async move {
                // A panic is the caller's, not the writer's: it is carried over and goes on there.
                // Also one that comes before there is a future.
                let done = AssertUnwindSafe(async { work(session).await });
                let result: Result<Result<T, E>, _> = done.catch_unwind().await;
                let keep = matches!(result, Ok(Ok(_)));
                let answer = move |end: Result<(), DbError>| {
                    let told = match (result, end) {
                        (Ok(Ok(_)), Err(error)) => Ok(Err(E::from(error))),
                        (result, _) => result,
                    };
                    // A caller who left does not want to know.
                    let _ = sender.send(told);
                };
                Ran { keep, answer: Box::new(answer) }
            }
            .boxed()
        });
        if self.inbox.send(Message::Work(durability, work)).await.is_err() {
            return Err(DbError::unavailable("it is closed").into());
        }
        match receiver.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            // Dropped unrun: no transaction could be begun, and the log says why.
            Err(_) => Err(DbError::unavailable("it takes no writes").into()),
        }
    }

    pub(crate) async fn close(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.inbox.send(Message::Close(sender)).await.is_ok() {
            let _ = receiver.await;
        }
    }
}

async fn open(path: &Path, now: Timestamp) -> Result<Session, DbError> {
    let connection = sqlite::open(path, Access::Write).map_err(|e| DbError::of_sqlite("database", e))?;
    let mut session = Session { inner: Inner::Writer(connection) };
    session.script("database", "begin immediate").await?;
    migrate(&mut session, now).await?;
    session.script("database", "commit").await?;
    Ok(session)
}

async fn serve(mut session: Session, mut waiting: mpsc::Receiver<Message>, unsynced: Arc<AtomicBool>) {
    let mut transactions = Transactions { session: &mut session, set: None, unsynced };
    let mut next = None;
    let last = loop {
        let message = match next.take() {
            Some(message) => Some(message),
            None => waiting.recv().await,
        };
        match message {
            None => break None,
            Some(Message::Close(sender)) => break Some(sender),
            Some(Message::Work(durability, work)) => {
                next = transactions.group(durability, work, &mut waiting).await;
            }
        }
    };
    waiting.close();
    session.close();
    if let Some(sender) = last {
        let _ = sender.send(());
    }
}

struct Transactions<'a> {
    session: &'a mut Session,
    /// What the connection is set to, where that is known.
    set: Option<Durability>,
    unsynced: Arc<AtomicBool>,
}

impl Transactions<'_> {
    /// Begins a transaction with a savepoint in it.
    async fn begin(&mut self, durability: Durability) -> Result<(), DbError> {
        // Set while it is prepared, so it is prepared each time.
        let set = match (self.set.replace(durability) == Some(durability), durability) {
            (true, _) => "",
            (false, Durability::Synced) => "pragma synchronous = full; pragma temp_store = default",
            // What a savepoint takes to be undone is some pages, and kept in memory; of other work there may be much.
            (false, Durability::Later) => "pragma synchronous = normal; pragma temp_store = memory",
        };
        self.session.script("database", set).await?;
        self.run(&["begin immediate"])?;
        // A commit that writes nothing is not synced, so it writes a number that nobody reads: the work may rely
        // on rows that may be lost, whether it changes any or not.
        if durability == Durability::Synced && self.unsynced.load(Ordering::Acquire) {
            self.run(&["pragma user_version = 0"])?;
        }
        self.run(&["savepoint work"])
    }

    fn run(&mut self, statements: &[&str]) -> Result<(), DbError> {
        match &self.session.inner {
            Inner::Writer(connection) => {
                sqlite::run_each(connection, statements).map_err(|e| DbError::of_sqlite("database", e))
            }
            Inner::Reader(_) | Inner::Postgres(_) => Err(DbError::read_only("database")),
        }
    }

    /// Runs `work`, and what came meanwhile, in one transaction. Gives back what came and could not share it.
    async fn group(
        &mut self,
        durability: Durability,
        work: Work,
        waiting: &mut mpsc::Receiver<Message>,
    ) -> Option<Message> {
        if let Err(error) = self.begin(durability).await {
            tracing::error!(%error, "cannot begin a transaction");
            self.set = None;
            // Only its beginning may have failed.
            let _ = self.run(&["rollback"]);
            return None;
        }
        let mut done = Vec::new();
        let mut current = Some(work);
        let mut next = None;
        let mut end = Ok(());
        while let Some(work) = current.take() {
            let ran = work(self.session).await;
            let keep = ran.keep;
            done.push(ran);
            if done.len() < GROUP {
                next = waiting.try_recv().ok();
            }
            let shares = match &next {
                // In a transaction that is not synced it would be lost in a power cut after its caller was answered.
                Some(Message::Work(Durability::Synced, _)) => durability == Durability::Synced,
                Some(Message::Work(Durability::Later, _)) => true,
                Some(Message::Close(_)) | None => false,
            };
            // Its failure undoes nobody else's work.
            let statements: &[_] = match (keep, shares) {
                (true, true) => &["release work", "savepoint work"],
                (true, false) => &["commit"],
                (false, true) => &["rollback to work", "release work", "savepoint work"],
                (false, false) => &["rollback to work", "commit"],
            };
            if let Err(error) = self.run(statements) {
                // The engine gave up the whole transaction (disk full); all of it is undone.
                end = Err(error);
                break;
            }
            if !shares {
                break;
            }
            if let Some(Message::Work(_, work)) = next.take() {
                current = Some(work);
            }
        }
        if let Err(error) = &end {
            tracing::error!(%error, "a transaction was undone");
            // It may be gone already; what matters is that none is open when the next begins.
            let _ = self.run(&["rollback"]);
        } else if durability == Durability::Synced {
            self.unsynced.store(false, Ordering::Release);
        } else if done.iter().any(|ran| ran.keep) {
            self.unsynced.store(true, Ordering::Release);
        }
        tracing::trace!(pieces = done.len(), ?durability, "a transaction ended");
        for ran in done {
            (ran.answer)(end.clone());
        }
        next
    }
}
