//! Answers without an end: server-sent events. How many follow at a time, and how a connection knows that its client still takes
//! something.
//!
//! A follower has no task and no queue: its stream is asked for more when its client takes more, in the task of the connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use futures_util::{Stream, StreamExt as _};
use http::{Response, StatusCode};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::auth::Visitor;
use super::problem::{Answer, Problem, answer};
use crate::access::Admission;

/// Who may follow at a time, whatever it is.
const FOLLOWERS_MAX: usize = 64;
/// How long a client hears nothing at most; so that it, and whoever is between, knows that somebody is there.
pub(super) const SILENT_MAX: Duration = Duration::from_secs(15);

/// The places of those who follow something.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    places: Arc<Semaphore>,
    stopping: CancellationToken,
}

/// A place of one who follows.
#[derive(Debug)]
pub(super) struct Place {
    permit: OwnedSemaphorePermit,
    stopping: CancellationToken,
    /// What he who follows was let in by; none: by the socket.
    admission: Option<Admission>,
}

/// In an answer's extensions: it has no end. Changes each time the client has room for more, and closes when the body ends.
#[derive(Debug, Clone)]
pub(super) struct Taken(pub(super) watch::Receiver<()>);

impl Streams {
    /// `stopping` ends every one of them.
    pub(super) fn new(stopping: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(FOLLOWERS_MAX)), stopping }
    }

    /// Takes a place for somebody. It lasts for as long as what let him in does.
    ///
    /// # Errors
    ///
    /// All are taken.
    pub(super) fn place(&self, from: &Visitor) -> Result<Place, Problem> {
        let permit = self.places.clone().try_acquire_owned().map_err(|_| {
            Problem::Unavailable(format!("{FOLLOWERS_MAX} clients follow something already; end one of them"))
        })?;
        Ok(Place { permit, stopping: self.stopping.clone(), admission: from.admission.clone() })
    }
}

impl Place {
    /// Returns an answer of these pieces, each of them whole events, until they end, or the host, or what let in him who follows.
    pub(super) fn follow(self, pieces: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
        let (stopping, admission) = (self.stopping, self.admission);
        let pieces = pieces.take_until(stopping.run_until_cancelled_owned(async move {
            match admission {
                Some(admission) => admission.ended().await,
                None => std::future::pending().await,
            }
        }));
        let (taken, watched) = watch::channel(());
        let body = Follow { pieces: Box::pin(pieces), taken, _place: self.permit };
        let mut answer: Response<Body> = answer(StatusCode::OK, "text/event-stream", Bytes::new());
        *answer.body_mut() = Body::new(body);
        answer.extensions_mut().insert(Taken(watched));
        answer
    }
}

/// Returns one event; `data` is on one line.
pub(super) fn event(name: &str, data: &str) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

struct Follow {
    pieces: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    taken: watch::Sender<()>,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Follow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let own = self.get_mut();
        let piece = ready!(own.pieces.as_mut().poll_next(cx));
        own.taken.send_replace(());
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}
