//! A connection whose client must take what is written to it: one that takes nothing for a while is cut, as HTTP
//! libraries do for bytes that are awaited but not for bytes that are sent.

use super::room::Guest;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream with a limit on the time without progress of its writes.
pub(crate) struct Patient<S> {
    stream: S,
    patience: Duration,
    guest: Arc<Guest>,
    /// Runs while the client takes nothing.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S, patience: Duration, guest: Arc<Guest>) -> Self {
        Self { stream, patience, guest, timer: None }
    }

    fn judge<T>(&mut self, context: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            if self.timer.take().is_some() {
                self.guest.is_behind.store(false, Ordering::Relaxed);
            }
            return done;
        }
        let patience = self.patience;
        if self.timer.is_none() {
            self.guest.is_behind.store(true, Ordering::Relaxed);
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(timer.as_mut().poll(context));
        let text = format!("the client took nothing for {patience:?} (client-timeout)");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.judge(context, done)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        this.judge(context, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn who_takes_nothing_is_cut_and_who_is_slow_is_not() {
        let (near, mut far) = tokio::io::duplex(10);
        let guest = Arc::new(Guest::default());
        let mut stream = Patient::new(near, Duration::from_millis(200), guest.clone());
        let reader = tokio::spawn(async move {
            let mut byte = [0; 10];
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(80)).await;
                far.read_exact(&mut byte).await.unwrap();
            }
            far
        });
        stream.write_all(&[1; 60]).await.unwrap();
        let _far = reader.await.unwrap();
        assert!(!guest.is_behind.load(Ordering::Relaxed));
        let error = stream.write_all(&[1; 60]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(guest.is_behind.load(Ordering::Relaxed));
    }
}
