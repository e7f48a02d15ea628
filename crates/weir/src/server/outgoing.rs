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
use weir_protocol::{BodyError, Files};
use weir_registry::FileRange;
use weir_registry::open::Part;

/// What is handed over of a file at once: the log line is written when the last of it is, so it is not much.
const WINDOW: u64 = 256 << 10;

/// A body that keeps its connection busy until it is dropped.
pub(crate) struct Outgoing {
    body: Logged,
    files: Option<Sending>,
    _busy: Busy,
}

struct Sending {
    files: Files,
    lane: Lane,
    begun: bool,
    /// Reads the next window from the disk.
    reading: Option<JoinHandle<io::Result<()>>>,
}

impl Outgoing {
    /// A body for a connection; with a lane files are sent on it.
    pub(crate) fn new(mut body: Logged, busy: Busy, lane: Option<&Lane>) -> Self {
        let files = lane.filter(|_| FileRange::can_be_sent()).and_then(|lane| {
            let files = body.take_files()?;
            Some(Sending { files, lane: lane.clone(), begun: false, reading: None })
        });
        Self { body, files, _busy: busy }
    }
}

impl Sending {
    fn is_at_end(&self) -> bool {
        self.files.first.is_none() && self.files.more.is_none()
    }

    /// The next that goes out; `None` at the end.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Part>>> {
        loop {
            match &mut self.files {
                Files { first: Some(rest), .. } if rest.is_empty() => self.files.first = None,
                Files { first: Some(_), .. } => {
                    return self.poll_window(context).map_ok(Part::File).map(Some);
                }
                Files { more: Some(parts), .. } => match ready!(parts.as_mut().poll_next(context)) {
                    Some(Ok(Part::File(part))) => self.files.first = Some(part),
                    Some(part) => return Poll::Ready(Some(part)),
                    None => self.files.more = None,
                },
                Files { remaining: Some(missing @ 1..), .. } => {
                    let error = format!("a body ended {missing} bytes before its length");
                    return Poll::Ready(Some(Err(io::Error::other(error))));
                }
                Files { .. } => return Poll::Ready(None),
            }
        }
    }

    fn poll_window(&mut self, context: &mut Context<'_>) -> Poll<io::Result<FileRange>> {
        let Some(rest) = &mut self.files.first else {
            return Poll::Ready(Err(io::Error::other("no file is there to be sent")));
        };
        if !self.begun && !self.lane.is_empty() {
            // Its placeholders would be taken for ours.
            return Poll::Ready(Err(io::Error::other("a file of an earlier answer was not sent")));
        }
        self.begun = true;
        if let Some(reading) = &mut self.reading {
            let read = ready!(Pin::new(reading).poll(context));
            self.reading = None;
            read.map_err(io::Error::other)??;
            return Poll::Ready(Ok(rest.split_to(WINDOW)));
        }
        let window = rest.clone().split_to(WINDOW);
        if window.is_in_memory() {
            return Poll::Ready(Ok(rest.split_to(WINDOW)));
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
        let Some(sending) = &mut this.files else {
            let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
            return Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(Piece::Bytes))));
        };
        let Some(part) = ready!(sending.poll_part(context)) else {
            this.body.passed(0, true);
            return Poll::Ready(None);
        };
        match part {
            Ok(part) => {
                let remaining = &mut sending.files.remaining;
                *remaining = remaining.map(|remaining| remaining.saturating_sub(part.len()));
                // With a known length the HTTP library stops asking at the last byte.
                this.body.passed(part.len(), *remaining == Some(0));
                let piece = match part {
                    Part::File(window) => sending.lane.push(window),
                    Part::Bytes(bytes) => Piece::Bytes(bytes),
                };
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Err(error) => {
                this.body.failed(&error);
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.files.as_ref().map_or_else(|| self.body.is_end_stream(), Sending::is_at_end)
    }

    fn size_hint(&self) -> SizeHint {
        let Some(sending) = &self.files else { return self.body.size_hint() };
        sending.files.remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
