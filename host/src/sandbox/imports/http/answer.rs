//! The body of an answer on its way to a guest: so much of it and no more, without the bot's secrets, and not for ever. What is
//! compressed stays so.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::Error;

use crate::egress::{Redactor, Scan};

/// What a guest may get of an answer, and how.
pub(super) struct Terms {
    /// Bytes of the body.
    pub(super) bytes_max: u64,
    /// How long it may wait for the next ones.
    pub(super) idle_timeout: Duration,
    pub(super) redactor: Arc<Redactor>,
}

/// The body of an answer as the guest gets it.
pub(super) struct Answer<B = Incoming> {
    incoming: B,
    scan: Scan,
    terms: Terms,
    bytes_left: u64,
    /// Runs while the guest waits.
    idle: Pin<Box<Sleep>>,
    is_waiting: bool,
    /// They come after what was held back.
    trailers: Option<HeaderMap>,
    has_ended: bool,
}

impl<B> Answer<B>
where
    B: Body<Data = Bytes> + Unpin,
    Error: From<B::Error>,
{
    /// # Errors
    ///
    /// The body says that it is longer than it may be.
    pub(super) fn new(incoming: B, terms: Terms) -> Result<Self, Error> {
        if incoming.size_hint().lower() > terms.bytes_max {
            return Err(Error::HttpResponseBodySize(Some(terms.bytes_max)));
        }
        Ok(Self {
            incoming,
            scan: Scan::new(Arc::clone(&terms.redactor)),
            bytes_left: terms.bytes_max,
            idle: Box::pin(sleep(terms.idle_timeout)),
            is_waiting: false,
            trailers: None,
            has_ended: false,
            terms,
        })
    }

    /// Ends the body: nothing of what was held back comes after an error.
    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.has_ended = true;
        Poll::Ready(Some(Err(error)))
    }

    /// Returns what was held back; then the trailers, if there are any.
    fn end(&mut self) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.has_ended = true;
        let rest = self.scan.finish();
        let frame = if rest.is_empty() { self.trailers.take().map(Frame::trailers) } else { Some(Frame::data(rest)) };
        Poll::Ready(frame.map(Ok))
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        // A guest that takes its time with what it has does not make the other side slow.
        if !self.is_waiting {
            self.is_waiting = true;
            self.idle.as_mut().reset(Instant::now() + self.terms.idle_timeout);
        }
        match self.idle.as_mut().poll(cx) {
            Poll::Ready(()) => self.fail(Error::ConnectionReadTimeout),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes> + Unpin,
    Error: From<B::Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        loop {
            if this.has_ended {
                return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let frame = match Pin::new(&mut this.incoming).poll_frame(cx) {
                Poll::Pending => return this.poll_idle(cx),
                Poll::Ready(None) => return this.end(),
                Poll::Ready(Some(Err(error))) => return this.fail(error.into()),
                Poll::Ready(Some(Ok(frame))) => frame,
            };
            this.is_waiting = false;
            match frame.into_data() {
                Ok(data) => {
                    let Some(left) = this.bytes_left.checked_sub(data.len() as u64) else {
                        return this.fail(Error::HttpResponseBodySize(Some(this.terms.bytes_max)));
                    };
                    this.bytes_left = left;
                    let data = this.scan.push(data);
                    // wasi:http takes an empty frame for one that is not there yet.
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Err(frame) => {
                    this.trailers = frame.into_trailers().ok();
                    this.trailers.iter_mut().for_each(|trailers| redact(trailers, &this.terms.redactor));
                    return this.end();
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let nothing_comes = self.has_ended || self.incoming.is_end_stream();
        nothing_comes && self.scan.held_len() == 0 && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.scan.held_len() as u64;
        let inner = self.incoming.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint.set_lower(inner.lower().saturating_add(held));
        hint
    }
}

/// Puts stars where a header has a secret in it.
pub(super) fn redact(headers: &mut HeaderMap, redactor: &Arc<Redactor>) {
    for value in headers.values_mut() {
        if let Some(clean) = redactor.redacted(value.as_bytes()) {
            *value = HeaderValue::from_maybe_shared(clean).unwrap_or_else(|_| HeaderValue::from_static("*"));
        }
    }
}

/// Refuses the answer to a request with a secret in it where nobody can see whether it repeats that.
///
/// # Errors
///
/// The coding, which the request asked not to be used.
pub(super) fn check_readable(headers: &HeaderMap) -> Result<(), Error> {
    let coding = |name: HeaderName, plain: &str| {
        let codings = headers.get_all(name).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let mut codings = codings.map(|coding| String::from_utf8_lossy(coding).trim().to_ascii_lowercase());
        codings.find(|coding| !coding.is_empty() && coding != plain)
    };
    if let Some(coding) = coding(header::CONTENT_ENCODING, "identity") {
        return Err(Error::HttpResponseContentCoding(Some(coding)));
    }
    match coding(header::TRANSFER_ENCODING, "chunked") {
        Some(coding) => Err(Error::HttpResponseTransferCoding(Some(coding))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use http_body_util::BodyExt;

    use super::*;
    use crate::secret::Secret;

    /// Gives its frames, then nothing for ever where it is to hang.
    struct Script {
        frames: VecDeque<Frame<Bytes>>,
        hangs: bool,
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.frames.pop_front() {
                None if self.hangs => Poll::Pending,
                frame => Poll::Ready(frame.map(Ok)),
            }
        }
    }

    fn answer(frames: &[&'static str], bytes_max: u64, hangs: bool) -> Answer<Script> {
        let frames = frames.iter().map(|text| Frame::data(Bytes::from_static(text.as_bytes()))).collect();
        let redactor = Arc::new(Redactor::new(&[Secret::new("hunter2")]));
        let terms = Terms { bytes_max, idle_timeout: Duration::from_secs(30), redactor };
        Answer::new(Script { frames, hangs }, terms).ok().unwrap()
    }

    #[tokio::test]
    async fn f029_a_secret_that_is_cut_across_frames_and_trailers_that_repeat_it_become_stars() {
        let mut answer = answer(&["say hun", "", "ter", "2 and hunt"], 100, false);
        let trailers = HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static("hunter2"))]);
        answer.incoming.frames.push_back(Frame::trailers(trailers));
        let whole = answer.collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()[header::ETAG], "*******");
        assert_eq!(whole.to_bytes(), "say ******* and hunt");
    }

    #[tokio::test]
    async fn f061_a_body_ends_where_it_passes_what_it_may_have() {
        assert_eq!(answer(&["12345", "67890"], 10, false).collect().await.unwrap().to_bytes(), "1234567890");
        let error = answer(&["12345", "678901"], 10, true).collect().await.unwrap_err();
        assert!(matches!(error, Error::HttpResponseBodySize(Some(10))), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn f061_a_body_that_stalls_is_given_up_and_one_that_drips_is_not() {
        let started = Instant::now();
        let mut stalls = answer(&["drip"], 100, true);
        assert_eq!(stalls.frame().await.unwrap().unwrap().into_data().unwrap(), "drip");
        // The guest thinks.
        tokio::time::advance(Duration::from_secs(300)).await;
        stalls.incoming.frames.push_back(Frame::data(Bytes::from_static(b"drop")));
        assert_eq!(stalls.frame().await.unwrap().unwrap().into_data().unwrap(), "drop");
        let error = stalls.frame().await.unwrap().unwrap_err();
        assert!(matches!(error, Error::ConnectionReadTimeout), "{error}");
        assert_eq!(started.elapsed().as_secs(), 330);
        assert!(stalls.frame().await.is_none(), "it has ended");
    }

    #[test]
    fn an_answer_that_nobody_can_read_along_is_refused() {
        let headers = |name: HeaderName, value| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        for (name, value, is_readable) in [
            (header::CONTENT_ENCODING, "identity", true),
            (header::CONTENT_ENCODING, "", true),
            (header::CONTENT_ENCODING, "GZip", false),
            (header::CONTENT_ENCODING, "identity, br", false),
            (header::TRANSFER_ENCODING, "chunked", true),
            (header::TRANSFER_ENCODING, "gzip, chunked", false),
            (header::CONTENT_TYPE, "application/gzip", true),
        ] {
            assert_eq!(check_readable(&headers(name.clone(), value)).is_ok(), is_readable, "{name}: {value}");
        }
    }
}
