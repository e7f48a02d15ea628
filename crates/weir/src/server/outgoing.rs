//! The body of an answer as a connection sends it: a file as a file where the connection can, window by window, each
//! of them read into the kernel's memory first where a look says that it is not there; everything else as bytes.

use super::room::Busy;
use super::wire::{Lane, Piece};
use crate::telemetry::Logged;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;
use weir_protocol::BodyError;
use weir_registry::FileRange;

/// What is handed over of a file at once: the log line is written when the last of it is, so it is not much.
const WINDOW: u64 = 256 << 10;

/// A body that keeps its connection busy until it is dropped.
pub(crate) struct Outgoing {
    body: Logged,
    file: Option<Sending>,
    _busy: Busy,
}

struct Sending {
    rest: FileRange,
    lane: Lane,
    begun: bool,
    /// Reads the next window from the disk.
    reading: Option<JoinHandle<io::Result<()>>>,
}

impl Outgoing {
    /// A body for a connection; with a lane files are sent on it.
    pub(crate) fn new(mut body: Logged, busy: Busy, lane: Option<&Lane>) -> Self {
        let file = lane.filter(|_| FileRange::can_be_sent()).and_then(|lane| {
            Some(Sending { rest: body.take_file()?, lane: lane.clone(), begun: false, reading: None })
        });
        Self { body, file, _busy: busy }
    }
}

impl Sending {
    fn poll_window(&mut self, context: &mut Context<'_>) -> Poll<io::Result<FileRange>> {
        if !self.begun && !self.lane.is_empty() {
            // Its placeholders would be taken for ours.
            return Poll::Ready(Err(io::Error::other("a file of an earlier answer was not sent")));
        }
        self.begun = true;
        if let Some(reading) = &mut self.reading {
            let read = ready!(Pin::new(reading).poll(context));
            self.reading = None;
            read.map_err(io::Error::other)??;
            return Poll::Ready(Ok(self.rest.split_to(WINDOW)));
        }
        let window = self.rest.clone().split_to(WINDOW);
        if window.is_in_memory() {
            return Poll::Ready(Ok(self.rest.split_to(WINDOW)));
        }
        self.reading = Some(tokio::task::spawn_blocking(move || window.read_through()));
        self.poll_window(context)
    }
}

impl HttpBody for Outgoing {
    type Data = Piece;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BodyError>>> {
        let this = self.get_mut();
        let Some(file) = &mut this.file else {
            let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
            return Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(Piece::Bytes))));
        };
        if file.rest.is_empty() {
            return Poll::Ready(None);
        }
        match ready!(file.poll_window(context)) {
            Ok(window) => {
                this.body.passed(window.len(), file.rest.is_empty());
                Poll::Ready(Some(Ok(Frame::data(file.lane.push(window)))))
            }
            Err(error) => {
                this.body.failed(&error);
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.file.as_ref().map_or_else(|| self.body.is_end_stream(), |file| file.rest.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        let exact = |file: &Sending| SizeHint::with_exact(file.rest.len());
        self.file.as_ref().map_or_else(|| self.body.size_hint(), exact)
    }
}
