//! The one writer of an SQLite file. What waits at the same moment shares a transaction and its sync to
//! disk: each piece of work in a savepoint of its own, all answered after the commit.

use super::Session;
use crate::error::DbError;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::panic::{AssertUnwindSafe, resume_unwind};
use tokio::sync::{mpsc, oneshot};

/// How many pieces of work share a commit at most.
const GROUP: usize = 64;
/// How many wait before callers are made to wait with them.
const WAITING: usize = 1024;

/// The way to the writer's task.
pub(crate) struct Writer {
    inbox: mpsc::Sender<Message>,
}

enum Message {
    Work(Work),
    Close(oneshot::Sender<()>),
}

type Work = Box<dyn for<'s> FnOnce(&'s mut Session) -> BoxFuture<'s, Ran> + Send>;

/// What a piece of work did; `answer` tells its caller, once the end of the transaction is known.
struct Ran {
    keep: bool,
    answer: Box<dyn FnOnce(Result<(), DbError>) + Send>,
}

impl Writer {
    pub(crate) fn start(session: Session) -> Self {
        let (inbox, waiting) = mpsc::channel(WAITING);
        tokio::spawn(serve(session, waiting));
        Self { inbox }
    }

    pub(crate) async fn write<T, E>(
        &self,
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
                let result = AssertUnwindSafe(async { work(session).await }).catch_unwind().await;
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
        if self.inbox.send(Message::Work(work)).await.is_err() {
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

async fn serve(mut session: Session, mut waiting: mpsc::Receiver<Message>) {
    let mut last = None;
    while last.is_none() {
        let Some(message) = waiting.recv().await else { break };
        match message {
            Message::Close(sender) => last = Some(sender),
            Message::Work(work) => last = group(&mut session, work, &mut waiting).await,
        }
    }
    waiting.close();
    session.close().await;
    if let Some(sender) = last {
        let _ = sender.send(());
    }
}

/// Runs `work`, and what came meanwhile, in one transaction. Gives back the request to close, if it came.
async fn group(
    session: &mut Session,
    work: Work,
    waiting: &mut mpsc::Receiver<Message>,
) -> Option<oneshot::Sender<()>> {
    if let Err(error) = session.script("database", "begin immediate").await {
        tracing::error!(%error, "cannot begin a transaction");
        return None;
    }
    let mut done = Vec::new();
    let mut next = Some(work);
    let mut close = None;
    let mut end = Ok(());
    while let Some(work) = next.take() {
        match savepoint(session, work).await {
            Ok(ran) => done.push(ran),
            Err((ran, error)) => {
                // The engine gave up the whole transaction (disk full); all of it is undone.
                done.extend(ran);
                end = Err(error);
                break;
            }
        }
        if done.len() == GROUP {
            break;
        }
        match waiting.try_recv() {
            Ok(Message::Work(work)) => next = Some(work),
            Ok(Message::Close(sender)) => close = Some(sender),
            Err(_) => {}
        }
    }
    if end.is_ok() {
        end = session.script("database", "commit").await;
    }
    if let Err(error) = &end {
        tracing::error!(%error, "a transaction was undone");
        // It may be gone already; what matters is that none is open when the next begins.
        let _ = session.script("database", "rollback").await;
    }
    for ran in done {
        (ran.answer)(end.clone());
    }
    close
}

/// Runs one piece of work so that its failure undoes nobody else's. `Err` when the transaction itself is
/// lost, with the work that ran into it.
async fn savepoint(session: &mut Session, work: Work) -> Result<Ran, (Option<Ran>, DbError)> {
    if let Err(error) = session.script("database", "savepoint work").await {
        return Err((None, error));
    }
    let ran = work(session).await;
    let end = if ran.keep { "release work" } else { "rollback to work; release work" };
    match session.script("database", end).await {
        Ok(()) => Ok(ran),
        Err(error) => Err((Some(ran), error)),
    }
}
