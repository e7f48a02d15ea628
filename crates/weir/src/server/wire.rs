//! A connection in plain text on which the kernel sends files (sendfile). The HTTP library knows bytes only, so a file
//! passes through it as slices of one placeholder, and whoever writes these to the socket sends the file's bytes in
//! their place. Placeholders never leave this process: without a file to send, the connection is cut.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use weir_registry::FileRange;

/// What stands for the bytes of files. Told by its address, so its size and content do not matter.
static PLACEHOLDER: [u8; 64 << 10] = [0; 64 << 10];

/// Data of an answer: bytes, or so many bytes of the file that is next on the lane of the connection.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Bytes in memory.
    Bytes(Bytes),
    /// How many bytes of a file are still to be written.
    File(usize),
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.remaining(),
            Self::File(left) => *left,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.chunk(),
            Self::File(left) => &PLACEHOLDER[..PLACEHOLDER.len().min(*left)],
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let Self::File(left) = self else {
            let chunk = self.chunk();
            let (Some(first), false) = (slices.first_mut(), chunk.is_empty()) else { return 0 };
            *first = IoSlice::new(chunk);
            return 1;
        };
        let mut left = *left;
        let mut count = 0;
        for slice in slices {
            if left == 0 {
                break;
            }
            let length = PLACEHOLDER.len().min(left);
            *slice = IoSlice::new(&PLACEHOLDER[..length]);
            left -= length;
            count += 1;
        }
        count
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::File(left) => *left -= count,
        }
    }
}

fn is_placeholder(slice: &[u8]) -> bool {
    std::ptr::eq(slice.as_ptr(), PLACEHOLDER.as_ptr())
}

/// The files whose placeholders are on their way through the HTTP library, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lane(Arc<Mutex<VecDeque<FileRange>>>);

impl Lane {
    fn lock(&self) -> MutexGuard<'_, VecDeque<FileRange>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Sends a part of a file; gives what stands for it.
    pub(crate) fn push(&self, part: FileRange) -> Piece {
        // A window is far below what a `usize` holds.
        let length = usize::try_from(part.len()).unwrap_or(usize::MAX);
        self.lock().push_back(part);
        Piece::File(length)
    }

    /// Sends up to `most` bytes of the first file to a socket.
    fn send(&self, socket: &TcpStream, most: usize) -> io::Result<usize> {
        let mut files = self.lock();
        let Some(first) = files.front_mut() else {
            return Err(io::Error::other("a file was to be sent and none is there"));
        };
        let sent = first.send_to(socket, most)?;
        if first.is_empty() {
            files.pop_front();
        }
        Ok(sent)
    }
}

/// A TCP connection, and the files to be sent on it.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    lane: Lane,
}

impl Wire {
    /// A connection on which placeholders stand for the files of `lane`.
    pub(crate) fn new(stream: TcpStream, lane: Lane) -> Self {
        Self { stream, lane }
    }

    /// Does what may find the socket to be full, until it is not.
    fn poll_socket(
        &self,
        context: &mut Context<'_>,
        mut work: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match self.stream.try_io(Interest::WRITABLE, || work(&self.stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// The head of an answer goes into one packet with the beginning of the file after it.
    fn poll_write_head(&self, context: &mut Context<'_>, head: &[u8]) -> Poll<io::Result<usize>> {
        #[cfg(target_os = "linux")]
        {
            use rustix::net::{SendFlags, send};
            self.poll_socket(context, |stream| Ok(send(stream, head, SendFlags::MORE | SendFlags::NOSIGNAL)?))
        }
        #[cfg(not(target_os = "linux"))]
        self.poll_socket(context, |stream| stream.try_write(head))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match slices.iter().position(|slice| is_placeholder(slice)) {
            None => Pin::new(&mut this.stream).poll_write_vectored(context, slices),
            Some(0) => {
                let placeholders = slices.iter().take_while(|slice| is_placeholder(slice));
                let most = placeholders.map(|slice| slice.len()).sum();
                let lane = this.lane.clone();
                this.poll_socket(context, |stream| lane.send(stream, most))
            }
            Some(1) => this.poll_write_head(context, &slices[0]),
            Some(bytes) => Pin::new(&mut this.stream).poll_write_vectored(context, &slices[..bytes]),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
