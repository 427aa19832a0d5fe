//! Probes: asks again and again what the operator named, and says whether it answers. One task makes all of them. What is probed is
//! the operator's own choice, so no address is out of bounds, as for connectors.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::rota::{Rota, Turn};
use super::{ProbeConfig, ProbeTarget};
use crate::clock::Timestamp;
use crate::egress::{AddressGuard, DialError, DialTimeouts, Endpoint, Security, dial_afresh};
use crate::id::ProbeName;
use crate::metrics::Metrics;

/// Bytes of an answer's head that are read. Its body is of no interest.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Why a probe had no answer, or not the right one. Shows a host, and nothing else of a URL.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It took too long.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The URL cannot be asked for.
    #[error("the URL cannot be written as a request: look at its path")]
    Malformed,
    /// The connection broke before the answer.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    /// It answers, and that something is wrong.
    #[error("it answers with HTTP {0}, where one of 200 to 399 is expected")]
    Status(StatusCode),
}

/// How a probe stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeStatus {
    /// Its name.
    pub name: ProbeName,
    /// Why it had no answer the last time; none: it had one.
    pub error: Option<String>,
    /// When that was.
    pub at: Timestamp,
    /// How long it took.
    pub elapsed: Duration,
}

/// The handle of the task that makes the probes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Probes {
    wanted: watch::Sender<BTreeMap<ProbeName, ProbeConfig>>,
    statuses: Arc<Statuses>,
}

/// How the probes ended that were made, by name.
type Statuses = Mutex<BTreeMap<ProbeName, ProbeStatus>>;

impl Probes {
    /// Returns a handle with nobody behind it: nothing is probed.
    pub fn absent() -> Self {
        Self { wanted: watch::Sender::default(), statuses: Arc::default() }
    }

    /// Begins to make these probes, on the current Tokio runtime; each for the first time within ten seconds. The task ends at once
    /// when `cancel` is given.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn spawn(
        probes: BTreeMap<ProbeName, ProbeConfig>,
        metrics: Arc<Metrics>,
        cancel: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (wanted, receiver) = watch::channel(probes);
        let statuses = Arc::<Statuses>::default();
        let rounds = Rounds { rota: Rota::default(), statuses: Arc::clone(&statuses), metrics };
        let task = tokio::spawn(async move {
            cancel.run_until_cancelled(rounds.run(receiver)).await;
        });
        (Self { wanted, statuses }, task)
    }

    /// Makes these probes from now on. Those that are as before go on; what others have said is forgotten.
    pub fn replace(&self, probes: BTreeMap<ProbeName, ProbeConfig>) {
        self.wanted.send_if_modified(|wanted| std::mem::replace(wanted, probes) != *wanted);
    }

    /// Returns how those stand that were made at least once, by name.
    pub fn statuses(&self) -> Vec<ProbeStatus> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// A probe that was made.
struct Made {
    turn: Turn,
    outcome: Result<(), ProbeError>,
    elapsed: Duration,
}

/// What the task works with.
struct Rounds {
    rota: Rota,
    statuses: Arc<Statuses>,
    metrics: Arc<Metrics>,
}

impl Rounds {
    /// Makes probes until it is dropped.
    async fn run(mut self, mut wanted: watch::Receiver<BTreeMap<ProbeName, ProbeConfig>>) {
        let mut at_work = FuturesUnordered::new();
        self.follow(&mut wanted);
        loop {
            while let Some(turn) = self.rota.take(Instant::now()) {
                at_work.push(make(turn));
            }
            // Cancel safe: a watch, a set's `next` and a sleep.
            tokio::select! {
                Ok(()) = wanted.changed() => self.follow(&mut wanted),
                Some(made) = at_work.next() => self.made(made),
                () = sleep_until(self.rota.next_due()) => {}
            }
        }
    }

    fn follow(&mut self, wanted: &mut watch::Receiver<BTreeMap<ProbeName, ProbeConfig>>) {
        let wanted = wanted.borrow_and_update();
        for gone in self.rota.replace(&wanted, Instant::now(), fastrand::f64) {
            self.statuses.lock().unwrap_or_else(PoisonError::into_inner).remove(&gone);
            self.metrics.forget_probe(&gone);
        }
    }

    fn made(&mut self, Made { turn: Turn { name, number, .. }, outcome, elapsed }: Made) {
        if !self.rota.ended(&name, number) {
            return;
        }
        self.metrics.probe(&name, outcome.is_ok(), elapsed);
        let error = outcome.err().map(|error| error.to_string());
        let status = ProbeStatus { name: name.clone(), error: error.clone(), at: Timestamp::now(), elapsed };
        let before = self.statuses.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), status);
        let was_down = before.is_some_and(|before| before.error.is_some());
        match error {
            Some(error) if !was_down => tracing::warn!(probe = %name, error, "a probe has no answer"),
            None if was_down => tracing::info!(probe = %name, "a probe is answered again"),
            _ => {}
        }
    }
}

async fn make(turn: Turn) -> Made {
    let begun = Instant::now();
    let limit = turn.config.timeout;
    let asked = tokio::time::timeout(limit, ask(&turn.config.target, limit)).await;
    Made { outcome: asked.unwrap_or(Err(ProbeError::TimedOut(limit))), elapsed: begun.elapsed(), turn }
}

/// Asks, once. Cancelled, the connection is closed.
async fn ask(target: &ProbeTarget, limit: Duration) -> Result<(), ProbeError> {
    let timeouts = DialTimeouts { connect: limit, tls: limit };
    match target {
        ProbeTarget::Tcp(target) => {
            dial_afresh(&target.host, target.port, Security::Plain, AddressGuard::no_metadata(), timeouts).await?;
            Ok(())
        }
        ProbeTarget::Http(url) => match get(&url.0, timeouts).await? {
            status if status.is_success() || status.is_redirection() => Ok(()),
            status => Err(ProbeError::Status(status)),
        },
    }
}

/// Asks for a URL by GET, which everything answers as it would a person, and returns the status. No redirect is followed.
async fn get(endpoint: &Endpoint, timeouts: DialTimeouts) -> Result<StatusCode, ProbeError> {
    let request = Request::get(&endpoint.target)
        .header(header::HOST, &endpoint.authority)
        .header(header::USER_AGENT, concat!("bothost/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| ProbeError::Malformed)?;
    let stream =
        dial_afresh(&endpoint.host, endpoint.port, endpoint.security, AddressGuard::no_metadata(), timeouts).await?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await?;
    let mut exchange = std::pin::pin!(sender.send_request(request));
    tokio::select! {
        // The answer first: whoever answers may close with it.
        biased;
        response = &mut exchange => Ok(response?.status()),
        // It has delivered what came before it ended.
        _ = connection => Ok(exchange.await?.status()),
    }
}

/// Sleeps until then; for ever where there is no such moment.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::TcpTarget;
    use super::*;

    /// Longer than anything here takes.
    const LIMIT: Duration = Duration::from_secs(20);

    async fn listener() -> (TcpListener, TcpTarget) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, TcpTarget { host: "127.0.0.1".to_owned(), port })
    }

    fn url(target: &TcpTarget, path: &str) -> ProbeTarget {
        ProbeTarget::Http(format!("http://{}:{}{path}", target.host, target.port).parse().unwrap())
    }

    /// Answers one request so, and returns what it was.
    async fn answer(listener: TcpListener, answer: &[u8]) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer).await.unwrap();
        String::from_utf8(request).unwrap()
    }

    #[tokio::test]
    async fn what_takes_a_connection_is_up_and_what_does_not_is_down() {
        let (listener, target) = listener().await;
        ask(&ProbeTarget::Tcp(target.clone()), LIMIT).await.unwrap();
        drop(listener);
        let error = ask(&ProbeTarget::Tcp(target), LIMIT).await.unwrap_err();
        assert!(error.to_string().starts_with("cannot connect to 127.0.0.1:"), "{error}");
    }

    #[tokio::test]
    async fn the_status_decides_and_the_body_is_not_waited_for() {
        for (text, expected) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", None),
            ("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\nx", None),
            ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", Some("it answers with HTTP 503")),
            ("no HTTP at all\r\n\r\n", Some("the connection broke")),
            ("", Some("the connection broke")),
        ] {
            let (listener, target) = listener().await;
            let target = url(&target, "/health?key=s3cret");
            let (asked, request) = tokio::join!(ask(&target, LIMIT), answer(listener, text.as_bytes()));
            assert!(request.starts_with("GET /health?key=s3cret HTTP/1.1\r\n"), "{request}");
            let error = asked.err().map(|error| format!("{error} {error:?}"));
            assert_eq!(error.is_some(), expected.is_some(), "{text}: {error:?}");
            if let (Some(error), Some(expected)) = (error, expected) {
                assert!(error.starts_with(expected) && !error.contains("s3cret"), "{text}: {error}");
            }
        }
    }

    #[tokio::test]
    async fn what_never_answers_is_down_when_its_time_is_over() {
        let (_listener, target) = listener().await;
        let limit = Duration::from_millis(100);
        let config = ProbeConfig { target: url(&target, "/"), every: LIMIT, timeout: limit };
        let made = make(Turn { name: "a".parse().unwrap(), number: 1, config }).await;
        assert!(matches!(made.outcome, Err(ProbeError::TimedOut(given)) if given == limit));
        assert!(made.elapsed >= limit);
    }

    /// Waits until the probes stand so.
    async fn eventually(probes: &Probes, is_so: impl Fn(&[ProbeStatus]) -> bool) {
        let reached = async {
            while !is_so(&probes.statuses()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = tokio::time::timeout(LIMIT, reached).await;
        reached.unwrap_or_else(|_| panic!("{:?}", probes.statuses()));
    }

    #[tokio::test]
    async fn probes_are_measured_until_they_are_none_any_more() {
        let (listener, target) = listener().await;
        let probe = |target| ProbeConfig { target, every: Duration::from_secs(1), timeout: Duration::from_secs(1) };
        let (up, down): (ProbeName, ProbeName) = ("up".parse().unwrap(), "down".parse().unwrap());
        let nobody = TcpTarget { port: 1, ..target.clone() };
        let both = BTreeMap::from([
            (up.clone(), probe(ProbeTarget::Tcp(target))),
            (down.clone(), probe(ProbeTarget::Tcp(nobody))),
        ]);
        let (metrics, cancel) = (Arc::new(Metrics::new()), CancellationToken::new());
        let (probes, task) = Probes::spawn(both.clone(), Arc::clone(&metrics), cancel.clone());
        eventually(&probes, |statuses| {
            let is_down: Vec<_> = statuses.iter().map(|status| (&status.name, status.error.is_some())).collect();
            is_down == [(&down, true), (&up, false)]
        })
        .await;
        let text = metrics.render();
        assert!(text.contains(r#"bothost_probe_up{probe="up"} 1"#), "{text}");
        assert!(text.contains(r#"bothost_probe_up{probe="down"} 0"#), "{text}");
        probes.replace(BTreeMap::from([(up, both[&"up".parse().unwrap()].clone())]));
        eventually(&probes, |statuses| statuses.len() == 1).await;
        // It goes on, and is not made anew.
        drop(listener);
        eventually(&probes, |statuses| statuses.iter().any(|status| status.error.is_some())).await;
        let text = metrics.render();
        assert!(!text.contains(r#"probe="down""#) && text.contains(r#"bothost_probe_up{probe="up"} 0"#), "{text}");
        cancel.cancel();
        task.await.unwrap();
    }
}
