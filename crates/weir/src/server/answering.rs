//! Answers in the making. The future of one is large; it lies on the heap for as long as its answer is made and not for
//! as long as its connection lasts, in memory that the next one is given.

use super::outgoing::Outgoing;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio_util::sync::ReusableBoxFuture;

/// How many places wait at most for the next answers.
const MOST: usize = 32;

type Answer = hyper::Response<Outgoing>;
type Place = ReusableBoxFuture<'static, Answer>;

/// Places that had an answer and wait for another.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<Vec<Place>>>);

/// An answer in the making, in its place.
pub(super) struct Answering {
    /// Until it is made.
    place: Option<Place>,
    places: Places,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Vec<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the making of an answer into a place. All of the same server are to be of one type.
    pub(super) fn put(&self, making: impl Future<Output = Answer> + Send + 'static) -> Answering {
        let waiting = self.lock().pop();
        let place = match waiting {
            Some(mut place) => {
                place.set(making);
                place
            }
            None => Place::new(making),
        };
        Answering { place: Some(place), places: self.clone() }
    }
}

impl Future for Answering {
    type Output = Result<Answer, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // Nobody polls what has ended.
        let Some(place) = &mut this.place else { return Poll::Pending };
        let answer = ready!(place.poll(context));
        let mut waiting = this.places.lock();
        if waiting.len() < MOST {
            waiting.extend(this.place.take());
        }
        drop(waiting);
        this.place = None;
        Poll::Ready(Ok(answer))
    }
}
