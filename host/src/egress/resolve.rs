//! From a name to its addresses: once for each connection, and where nobody answers, what was answered last.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Names that are remembered. A configuration has a few.
const NAMES_MAX: usize = 256;
/// Addresses of one name that are remembered.
const ADDRESSES_MAX: usize = 16;
/// How long an answer stands in for those that do not come: longer than a resolver's restart, shorter than a move.
const AGE_MAX: Duration = Duration::from_secs(600);

/// Questions to the system at one moment. It answers on a thread that cannot be called back, of which this process has 512 for all
/// that blocks; so whoever has names asked for that nobody answers holds up no file and no store.
const QUESTIONS_MAX: usize = 32;

/// Asks the system for the addresses of a name. One that is an address is it, in every spelling that the system reads as one.
///
/// # Errors
///
/// What the system says; that it took longer than `within`; that there are none.
pub(super) async fn look_up(host: String, port: u16, within: Duration) -> io::Result<Vec<SocketAddr>> {
    static QUESTIONS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(QUESTIONS_MAX)));
    ask(Arc::clone(&QUESTIONS), host, port, within).await
}

/// Does the same for a name that somebody else chose: such names wait for one another, and for no other.
///
/// # Errors
///
/// Those of [`look_up`].
pub(super) async fn look_up_foreign(host: String, port: u16, within: Duration) -> io::Result<Vec<SocketAddr>> {
    static QUESTIONS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(QUESTIONS_MAX)));
    ask(Arc::clone(&QUESTIONS), host, port, within).await
}

async fn ask(questions: Arc<Semaphore>, host: String, port: u16, within: Duration) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let answer = async {
        let question = questions.acquire_owned().await.map_err(io::Error::other)?;
        let answer = tokio::task::spawn_blocking(move || {
            let found = (host, port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            drop(question);
            found
        });
        answer.await.map_err(io::Error::other)?
    };
    let found = timeout(within, answer).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no addresses"));
    }
    Ok(found)
}

/// Looks up and remembers: where the resolver fails, the name has the addresses that it had a short while ago. For names that
/// a configuration chose; what others choose would crowd them out. Whoever dials judges the addresses anew.
///
/// # Errors
///
/// Those of [`look_up`].
pub(super) async fn look_up_or_recall(host: String, port: u16, within: Duration) -> io::Result<Vec<SocketAddr>> {
    static LAST_GOOD: LazyLock<Mutex<LastGood>> = LazyLock::new(Mutex::default);
    recall_by(&LAST_GOOD, &host, port, within, |within| look_up(host.clone(), port, within)).await
}

async fn recall_by<F>(
    last_good: &Mutex<LastGood>,
    host: &str,
    port: u16,
    within: Duration,
    look_up: impl FnOnce(Duration) -> F,
) -> io::Result<Vec<SocketAddr>>
where
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let known = last_good.lock().unwrap_or_else(PoisonError::into_inner).recall(host, Instant::now());
    // What is known is of use only while there is time left to connect.
    let within = if known.is_some() { within / 2 } else { within };
    match (look_up(within).await, known) {
        (Ok(found), _) => {
            let addresses = found.iter().map(SocketAddr::ip);
            last_good.lock().unwrap_or_else(PoisonError::into_inner).learn(host, addresses, Instant::now());
            Ok(found)
        }
        (Err(error), Some(known)) => {
            tracing::warn!(host, %error, "cannot resolve: the addresses of a short while ago are used");
            Ok(known.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
        }
        (Err(error), None) => Err(error),
    }
}

/// What names resolved to when they last did. Pure, and bounded.
#[derive(Debug, Default)]
struct LastGood {
    by_name: HashMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    at: Instant,
}

impl LastGood {
    fn learn(&mut self, name: &str, addresses: impl Iterator<Item = IpAddr>, now: Instant) {
        if name.parse::<IpAddr>().is_ok() {
            return;
        }
        if self.by_name.len() >= NAMES_MAX && !self.by_name.contains_key(name) {
            let oldest = self.by_name.iter().min_by_key(|(_, known)| known.at).map(|(name, _)| name.clone());
            self.by_name.remove(&oldest.unwrap_or_default());
        }
        let addresses = addresses.take(ADDRESSES_MAX).collect();
        self.by_name.insert(name.to_owned(), Known { addresses, at: now });
    }

    fn recall(&self, name: &str, now: Instant) -> Option<Vec<IpAddr>> {
        let known = self.by_name.get(name)?;
        (now.duration_since(known.at) < AGE_MAX).then(|| known.addresses.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(4);

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn failed() -> io::Result<Vec<SocketAddr>> {
        Err(io::Error::other("the resolver is away"))
    }

    #[tokio::test(start_paused = true)]
    async fn f069_where_the_resolver_fails_the_last_good_answer_stands_in_for_a_while() {
        let memory = Mutex::default();
        let ask = async |answer: io::Result<Vec<SocketAddr>>| {
            recall_by(&memory, "example.com", 80, WITHIN, async |_| answer).await
        };
        assert!(ask(failed()).await.is_err(), "nothing is known yet");
        for last in [1, 2] {
            let address = SocketAddr::new(ip(last), 80);
            assert_eq!(ask(Ok(vec![address])).await.unwrap(), [address]);
            assert_eq!(ask(failed()).await.unwrap(), [address], "the newest answer counts");
        }
        tokio::time::advance(AGE_MAX).await;
        assert!(ask(failed()).await.is_err(), "it is too old");
    }

    #[tokio::test]
    async fn f069_what_is_known_leaves_time_to_connect() {
        let memory = Mutex::default();
        let ask = async |expected: Duration| {
            let asked = recall_by(&memory, "example.com", 80, WITHIN, async |within| {
                assert_eq!(within, expected);
                Ok(vec![SocketAddr::new(ip(1), 80)])
            });
            asked.await.unwrap();
        };
        ask(WITHIN).await;
        ask(WITHIN / 2).await;
    }

    #[tokio::test]
    async fn f069_names_that_nobody_answers_wait_for_one_another_and_for_nobody_else() {
        let questions = Arc::new(Semaphore::new(1));
        let unanswered = Arc::clone(&questions).acquire_owned().await.unwrap();
        let ask = |host: &str, within| ask(Arc::clone(&questions), host.to_owned(), 80, within);
        let error = ask("localhost", Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let address = ask("10.0.0.1", Duration::from_millis(20)).await.unwrap();
        assert_eq!(address, [SocketAddr::new(ip(1), 80)], "an address needs no answer");
        drop(unanswered);
        assert!(ask("localhost", WITHIN).await.is_ok());
        assert_eq!(questions.available_permits(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let (mut memory, start) = (LastGood::default(), Instant::now());
        let at = |number: usize| start + Duration::from_millis(number as u64);
        for number in 0..=NAMES_MAX {
            memory.learn(&format!("{number}.example.com"), (0..50).map(ip), at(number));
        }
        assert_eq!(memory.by_name.len(), NAMES_MAX);
        assert_eq!(memory.recall("0.example.com", at(0)), None);
        assert_eq!(memory.recall("1.example.com", at(1)).unwrap().len(), ADDRESSES_MAX);
        memory.learn("127.0.0.1", [ip(1)].into_iter(), at(0));
        assert_eq!(memory.recall("127.0.0.1", at(0)), None, "an address needs no memory");
    }
}
