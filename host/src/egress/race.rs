//! Connecting to one of several addresses: the families take turns, and one that does not answer is not waited for before the next
//! is tried. As RFC 8305 has it ("happy eyeballs"), so that a broken IPv6 costs a quarter of a second.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

/// A name may answer with any number of addresses; more than this many are not tried.
const ADDRESSES_MAX: usize = 8;
/// How long an address is waited for alone. What RFC 8305 recommends.
pub(super) const HEAD_START: Duration = Duration::from_millis(250);

/// Returns the addresses in the order to try them: the families in turn, the first one's first, each in the order given; and of very
/// many the first few.
pub(super) fn turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let leads_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (leading, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == leads_v6);
    let (mut leading, mut other) = (leading.into_iter(), other.into_iter());
    let pairs = std::iter::from_fn(|| match (leading.next(), other.next()) {
        (None, None) => None,
        pair => Some([pair.0, pair.1]),
    });
    pairs.flatten().flatten().take(ADDRESSES_MAX).collect()
}

/// Why none of the addresses took the connection.
#[derive(Debug)]
pub(super) struct Lost {
    /// The last one that failed, or was waited for.
    pub(super) address: SocketAddr,
    pub(super) source: io::Error,
}

/// Connects to the first of the addresses that takes the connection. Each has a head start before the next one; one that fails
/// gives way at once. Cancelled, every attempt is.
///
/// # Errors
///
/// Why the last one failed, which is never later than `deadline`; nothing where there are none.
pub(super) async fn connect_first(
    addresses: &[SocketAddr],
    head_start: Duration,
    deadline: Instant,
) -> Result<TcpStream, Option<Lost>> {
    let mut waiting = addresses.iter().copied();
    let mut running = FuturesUnordered::new();
    let (mut next_at, mut last) = (Instant::now(), None);
    loop {
        if running.is_empty() {
            // Nobody is waited for.
            next_at = Instant::now();
            if waiting.len() == 0 {
                return Err(last);
            }
        }
        // Cancel safe: a set's `next` and sleeps.
        tokio::select! {
            biased;
            Some((address, outcome)) = running.next() => match outcome {
                Ok(stream) => return Ok(stream),
                Err(source) => {
                    last = Some(Lost { address, source });
                    next_at = Instant::now();
                }
            },
            () = sleep_until(next_at), if waiting.len() > 0 => {
                let Some(address) = waiting.next() else { continue };
                running.push(async move { (address, TcpStream::connect(address).await) });
                last = Some(Lost { address, source: io::ErrorKind::TimedOut.into() });
                next_at = Instant::now() + head_start;
            }
            () = sleep_until(deadline) => return Err(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn f069_the_families_take_turns() {
        for (given, expected) in [
            (&[][..], &[][..]),
            (&["[2001::1]:1", "[2001::2]:1", "1.1.1.1:1"][..], &["[2001::1]:1", "1.1.1.1:1", "[2001::2]:1"][..]),
            (&["1.1.1.1:1", "[2001::1]:1", "1.1.1.2:1"], &["1.1.1.1:1", "[2001::1]:1", "1.1.1.2:1"]),
            (&["1.1.1.1:1", "1.1.1.2:1", "[2001::1]:1"], &["1.1.1.1:1", "[2001::1]:1", "1.1.1.2:1"]),
            (&["1.1.1.1:1", "1.1.1.2:1"], &["1.1.1.1:1", "1.1.1.2:1"]),
        ] {
            assert_eq!(turns(addresses(given)), addresses(expected), "{given:?}");
        }
    }

    #[test]
    fn f069_of_very_many_addresses_the_first_few_of_both_families_are_tried() {
        let broken = (0..50).map(|last| SocketAddr::from(([0x2001, 0, 0, 0, 0, 0, 0, last], 80)));
        let working = (0..50).map(|last| SocketAddr::from(([1, 1, 1, last], 80)));
        let tried = turns(broken.chain(working).collect());
        assert_eq!(tried.len(), ADDRESSES_MAX);
        assert_eq!(tried.iter().filter(|address| address.is_ipv4()).count(), ADDRESSES_MAX / 2);
    }

    const LONG: Duration = Duration::from_secs(60);

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Returns an address that takes no connection and refuses none: a listener's whose queue is full. It lives as long as what is
    /// returned beside it.
    async fn silent() -> (SocketAddr, impl Drop) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
            queue.push(stream.unwrap());
        }
        (address, Held(listener, queue))
    }

    #[expect(dead_code, reason = "they are held open")]
    struct Held(TcpListener, Vec<TcpStream>);

    impl Drop for Held {
        fn drop(&mut self) {}
    }

    #[tokio::test]
    async fn f069_an_address_that_refuses_gives_way_at_once() {
        let closed = listener().await.1;
        let (_listener, open) = listener().await;
        // A head start that would end the test.
        let stream = connect_first(&[closed, closed, open], LONG, Instant::now() + LONG).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
    }

    #[tokio::test]
    async fn f069_an_address_that_never_answers_is_not_waited_for() {
        let (silent, _held) = silent().await;
        let (_listener, open) = listener().await;
        let stream = connect_first(&[silent, open], Duration::from_millis(10), Instant::now() + LONG).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
    }

    #[tokio::test]
    async fn where_none_answers_the_deadline_ends_it() {
        let (silent, _held) = silent().await;
        let deadline = Instant::now() + Duration::from_millis(50);
        let lost = connect_first(&[silent, silent], HEAD_START, deadline).await.unwrap_err().unwrap();
        assert_eq!((lost.address, lost.source.kind()), (silent, io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn where_all_refuse_the_last_one_says_why() {
        let (closed, other) = (listener().await.1, listener().await.1);
        let lost = connect_first(&[closed, other], LONG, Instant::now() + LONG).await.unwrap_err().unwrap();
        assert_eq!((lost.address, lost.source.kind()), (other, io::ErrorKind::ConnectionRefused));
        assert!(connect_first(&[], LONG, Instant::now() + LONG).await.unwrap_err().is_none());
    }
}
