//! The client against servers that behave, and servers that do not.

use std::io::Write as _;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::egress::{Doors, HttpUrl};

const WITHIN: Duration = Duration::from_secs(5);

async fn server() -> (TcpListener, HttpClient) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let HttpUrl(endpoint) = format!("http://{}/base", listener.local_addr().unwrap()).parse().unwrap();
    (listener, HttpClient::new(endpoint, AddressGuard::any()))
}

/// Reads one request and returns its text; the body is the two bytes `{}`.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n{}") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn requests_share_a_connection_and_carry_path_and_host() {
    let (listener, client) = server().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            let request = read_request(&mut stream).await;
            assert!(request.starts_with("POST /base/path HTTP/1.1\r\nhost: 127.0.0.1"), "{request}");
            stream.write_all(OK).await.unwrap();
        }
    };
    let ask = async {
        for _ in 0..2 {
            let response = client.post_json("/path", "{}", WITHIN).await.unwrap();
            assert_eq!((response.status, &response.body[..]), (StatusCode::OK, &b"ok"[..]));
        }
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn what_is_posted_to_the_endpoint_itself_keeps_its_path_and_carries_headers() {
    let (listener, _) = server().await;
    let HttpUrl(endpoint) = format!("http://{}/a/?t=1", listener.local_addr().unwrap()).parse().unwrap();
    let client = HttpClient::new(endpoint, AddressGuard::no_metadata());
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        assert!(request.starts_with("POST /a/?t=1 HTTP/1.1\r\n") && request.contains("x-a: b\r\n"), "{request}");
        let answer = b"HTTP/1.1 429 No\r\ncontent-length: 0\r\nretry-after: 7\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    };
    let headers = HeaderMap::from_iter([("x-a".parse().unwrap(), "b".parse().unwrap())]);
    let (response, ()) = tokio::join!(client.post_to_endpoint(headers, "{}", WITHIN), serve);
    assert_eq!(response.unwrap().retry_after, Some(Duration::from_secs(7)));
}

#[test]
fn a_pause_is_read_in_seconds_and_as_a_date() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    for (given, seconds) in [
        ("120", Some(120)),
        ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
        ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
        ("soon", None),
        ("-1", None),
    ] {
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, given.parse().unwrap())]);
        assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{given}");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_between_two_requests_is_replaced() {
    let (listener, client) = server().await;
    let serve = async {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            stream.write_all(OK).await.unwrap();
        }
    };
    let ask = async {
        client.post_json("/", "{}", WITHIN).await.unwrap();
        client.post_json("/", "{}", WITHIN).await.unwrap();
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_kept_connection_of_which_the_end_came_meanwhile_takes_no_request() {
    let (listener, client) = server().await;
    // Often enough for the end to arrive at every point of the next request.
    for _ in 0..100 {
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            stream
        };
        let (response, stream) = tokio::join!(client.post_json("/", "{}", WITHIN), serve);
        response.unwrap();
        drop(stream);
        for _ in 0..fastrand::u8(..) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_hangs_or_is_too_large_may_have_been_acted_on() {
    let cases: [(&[u8], &str); 4] = [
        (b"", "the connection broke"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", "the connection broke"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", "the answer is larger"),
        (b"no HTTP at all\r\n\r\n", "the connection broke"),
    ];
    for (answer, expected) in cases {
        let (listener, client) = server().await;
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        };
        let (error, ()) = tokio::join!(client.post_json("/s3cret", "{}", WITHIN), serve);
        let error = error.unwrap_err();
        assert!(error.perhaps_sent());
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(!format!("{error} {error:?} {client:?}").contains("s3cret"));
    }
}

#[tokio::test]
async fn a_slow_answer_is_given_up_in_time() {
    let (_listener, client) = server().await;
    let error = client.post_json("/", "{}", Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, HttpError::TimedOut(_)), "{error}");
}

#[tokio::test]
async fn a_refused_connection_means_that_nothing_was_sent() {
    let (listener, client) = server().await;
    drop(listener);
    assert!(!client.post_json("/", "{}", WITHIN).await.unwrap_err().perhaps_sent());
}

/// How a server fails who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failing {
    /// Takes the connection and says nothing.
    Silent,
    /// Says that much, then nothing.
    HangsAfter(&'static str),
    /// Says that much, then breaks the connection off.
    ResetsAfter(&'static str),
    /// Says that much, then a byte again and again.
    Drips(&'static str),
    /// Says that much, then pieces of a body without end.
    Pours(&'static str),
}

async fn fail(listener: TcpListener, failing: Failing) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    read_request(&mut stream).await;
    match failing {
        Failing::Silent => std::future::pending().await,
        Failing::HangsAfter(text) => {
            stream.write_all(text.as_bytes()).await?;
            std::future::pending().await
        }
        Failing::ResetsAfter(text) => {
            stream.write_all(text.as_bytes()).await?;
            stream.set_zero_linger()
        }
        Failing::Drips(text) => {
            stream.write_all(text.as_bytes()).await?;
            let mut second = tokio::time::interval(Duration::from_millis(5));
            loop {
                second.tick().await;
                stream.write_all(b"x").await?;
            }
        }
        Failing::Pours(text) => {
            stream.write_all(text.as_bytes()).await?;
            let piece = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
            loop {
                stream.write_all(&piece).await?;
            }
        }
    }
}

const TEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
const MUCH: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n";
const MILLION: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn f061_whatever_a_server_does_the_answer_is_an_error_in_time_that_says_that_it_may_have_acted() {
    let (soon, late) = (Duration::from_millis(200), Duration::from_secs(60));
    for (failing, timeout, expected) in [
        (Failing::Silent, soon, "no answer within 200 ms"),
        (Failing::HangsAfter("HTTP/1.1 200 OK\r\n"), soon, "no answer within 200 ms"),
        (Failing::HangsAfter(TEN), soon, "no answer within 200 ms"),
        (Failing::Drips(MILLION), soon, "no answer within 200 ms"),
        (Failing::Drips("HTTP/1.1 200 OK\r\nx: "), soon, "no answer within 200 ms"),
        (Failing::ResetsAfter(""), late, "the connection broke"),
        (Failing::ResetsAfter(TEN), late, "the connection broke"),
        (Failing::ResetsAfter("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"), late, "the connection broke"),
        (Failing::HangsAfter(MUCH), late, "the answer is larger"),
        (Failing::Pours(CHUNKED), late, "the answer is larger"),
        (Failing::HangsAfter("HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n"), late, "the connection broke"),
        (
            Failing::HangsAfter("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n"),
            late,
            "the connection broke",
        ),
    ] {
        let (listener, client) = server().await;
        let error = tokio::select! {
            answer = client.post_json("/s3cret", "{}", timeout) => answer.unwrap_err(),
            // It has done what it does; the rest is the client's.
            _ = async { let _ = fail(listener, failing).await; std::future::pending::<()>().await } => unreachable!(),
        };
        assert!(error.to_string().starts_with(expected), "{failing:?}: {error}");
        assert!(error.perhaps_sent(), "{failing:?}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{failing:?}: {error:?}");
    }
}

#[tokio::test]
async fn f061_without_tls_where_it_is_asked_for_nothing_is_sent() {
    // A fatal alert (handshake_failure), and a server that speaks no TLS.
    for answer in [&b"\x15\x03\x03\x00\x02\x02\x28"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let HttpUrl(endpoint) = format!("https://{}/s3cret", listener.local_addr().unwrap()).parse().unwrap();
        let client = HttpClient::new(endpoint, AddressGuard::any());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
        };
        let (result, ()) = tokio::join!(client.post_json("/", "{}", WITHIN), serve);
        let error = result.unwrap_err();
        assert!(matches!(error, HttpError::Dial(DialError::Tls { .. })) && !error.perhaps_sent(), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
}

#[tokio::test]
async fn f061_what_is_compressed_stays_so_and_bursts_nothing() {
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![0; 4 * BODY_BYTES_MAX]).unwrap();
    let bomb = bomb.finish().unwrap();
    let (listener, client) = server().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        assert!(!request.contains("accept-encoding"), "{request}");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&bomb).await.unwrap();
    };
    let (response, ()) = tokio::join!(client.post_json("/", "{}", WITHIN), serve);
    assert!(response.unwrap().body == bomb);
}

#[tokio::test]
async fn f061_what_a_server_says_beyond_its_answer_is_no_answer_to_the_next_request() {
    let (listener, client) = server().await;
    let serve = async {
        let (mut first, _) = listener.accept().await.unwrap();
        read_request(&mut first).await;
        first.write_all(&[OK, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"].concat()).await.unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        read_request(&mut second).await;
        second.write_all(OK).await.unwrap();
        first
    };
    let ask = async {
        for _ in 0..2 {
            assert_eq!(client.post_json("/", "{}", WITHIN).await.unwrap().body, "ok");
        }
    };
    tokio::join!(ask, serve);
}

#[tokio::test]
async fn f017_a_redirect_is_an_answer_and_nobody_goes_where_it_leads() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = elsewhere.local_addr().unwrap();
    for status in [301, 302, 303, 307, 308] {
        let (listener, client) = server().await;
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            let moved = format!("HTTP/1.1 {status} Moved\r\nlocation: http://{address}/\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(moved.as_bytes()).await.unwrap();
        };
        let (response, ()) = tokio::join!(client.post_json("/", "{}", WITHIN), serve);
        assert_eq!(response.unwrap().status, status);
    }
    // The first whom the other place meets is this test.
    let mine = TcpStream::connect(address).await.unwrap();
    assert_eq!(elsewhere.accept().await.unwrap().1, mine.local_addr().unwrap());
}

#[tokio::test]
async fn f017_each_connection_is_judged_not_the_name() {
    let (listener, _) = server().await;
    let address = listener.local_addr().unwrap();
    let (doors, guard) = (Doors::default(), AddressGuard::any());
    let HttpUrl(endpoint) = format!("http://localhost:{}/", address.port()).parse().unwrap();
    let client = HttpClient::new(endpoint, guard.besides(doors.clone()));
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        let last = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(last).await.unwrap();
    };
    let (response, ()) = tokio::join!(client.post_json("/", "{}", WITHIN), serve);
    assert_eq!(response.unwrap().status, 200);
    doors.add(address);
    doors.add(SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), address.port()));
    let error = client.post_json("/", "{}", WITHIN).await.unwrap_err();
    assert!(matches!(error, HttpError::Dial(DialError::Forbidden { .. })), "{error}");
}
