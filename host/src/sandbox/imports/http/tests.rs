//! What a connection costs the bot and the host, and when they have it back.

use bytes::Bytes;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::*;
use crate::egress::AddressGuard;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::sandbox::context::Services;
use crate::store::{Store, StoreOptions};

/// A bot on a host that has one connection for all of its bots.
struct Bot {
    context: GuestContext,
    listener: TcpListener,
    _dir: tempfile::TempDir,
}

impl Bot {
    async fn new(event_timeout: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let mut services = Services::new(store, Arc::new(Metrics::new()), AddressGuard::any());
        services.http_connections = Arc::new(Semaphore::new(1));
        let limits = Limits { event_timeout, init_timeout: event_timeout, ..Limits::default() };
        let context = GuestContext::new("guest".parse().unwrap(), limits, services);
        Self { context, listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), _dir: dir }
    }

    fn places(&self) -> (usize, usize) {
        let budgets = &self.context.budgets;
        (budgets.http_in_flight.available_permits(), self.context.services.http_connections.available_permits())
    }

    async fn connect(&self) -> Result<(Stream, Permits), Error> {
        let permit = Arc::clone(&self.context.budgets.http_in_flight).try_acquire_owned().unwrap();
        let address = self.listener.local_addr().unwrap();
        let (host, port) = (address.ip().to_string(), address.port());
        let admitted = Admitted { host, port, security: Security::Plain, secrets_in_clear: false, permit };
        let connect_timeout = Some(Duration::from_millis(50));
        let options = RequestOptions { connect_timeout, ..RequestOptions::default() };
        connect(&self.context, admitted, Cargo::Plain, &Some(options)).await
    }
}

#[tokio::test]
async fn only_a_host_that_is_granted_so_is_sent_secrets_in_the_clear() {
    let mut bot = Bot::new(Duration::from_secs(60)).await;
    let granted = ["a.example", "b.example", "http://b.example", "https://c.example"];
    bot.context.grants.http = Some(granted.map(|host| host.parse().unwrap()).to_vec());
    let outbound = Outbound::new(Arc::new(bot.context));
    for (uri, expected) in [
        ("http://a.example/", Some(false)),
        ("https://a.example/", Some(false)),
        ("http://b.example/", Some(true)),
        ("https://b.example/", Some(false)),
        ("http://c.example/", None),
        ("https://c.example/", Some(false)),
    ] {
        let admitted = outbound.admit(&uri.parse().unwrap()).ok();
        assert_eq!(admitted.map(|admitted| admitted.secrets_in_clear), expected, "{uri}");
    }
}

/// Returns a request with a body of so many bytes, of which it does not tell the length.
fn request(bytes: usize) -> Request<WasiBody> {
    let body = Full::new(Bytes::from(vec![b'x'; bytes])).map_frame(|frame| frame).map_err(|never| match never {});
    Request::post("http://127.0.0.1/").body(body.boxed_unsync()).unwrap()
}

#[tokio::test]
async fn f061_a_body_that_does_not_tell_its_length_is_cut_off_where_it_passes_what_it_may_have() {
    let mut bot = Bot::new(Duration::from_secs(60)).await;
    bot.context.limits.http_body = 1000;
    for (bytes, is_too_long) in [(1000, false), (1001, true)] {
        let (stream, permits) = bot.connect().await.unwrap();
        let outgoing = Outgoing { request: request(bytes), options: None, cargo: Cargo::Plain, permits };
        let serve = async {
            let (mut stream, _) = bot.listener.accept().await.unwrap();
            if !is_too_long {
                let mut taken = Vec::new();
                while !taken.ends_with(b"x\r\n0\r\n\r\n") && !taken.ends_with(&[b'x'; 1000]) {
                    taken.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(b"HTTP/1.1 204 No\r\n\r\n").await.unwrap();
            }
            stream
        };
        let (answer, _served) = tokio::join!(exchange(&bot.context, stream, outgoing), serve);
        let is_cut_off = matches!(answer, Err(Error::HttpRequestBodySize(Some(1000))));
        assert_eq!((answer.is_ok(), is_cut_off), (!is_too_long, is_too_long), "{bytes}");
    }
}

#[tokio::test]
async fn f022_all_bots_together_have_only_so_many_connections() {
    let bot = Bot::new(Duration::from_secs(60)).await;
    let first = bot.connect().await.unwrap();
    assert_eq!(bot.places(), (7, 0));
    let refused = bot.connect().await.map(|_| ()).unwrap_err();
    assert!(matches!(&refused, Error::InternalError(Some(why)) if why.contains("all the connections")), "{refused}");
    assert_eq!(bot.places(), (7, 0), "who waits in vain keeps nothing");
    drop(first);
    assert_eq!(bot.places(), (8, 1));
    assert!(bot.connect().await.is_ok());
}

#[tokio::test]
async fn f022_an_answer_that_is_kept_and_not_read_keeps_its_connection_no_longer_than_an_event_lasts() {
    let bot = Bot::new(Duration::from_millis(100)).await;
    let (stream, permits) = bot.connect().await.unwrap();
    let outgoing = Outgoing { request: request(0), options: None, cargo: Cargo::Plain, permits };
    let serve = async {
        let (mut stream, _) = bot.listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await.unwrap();
        stream
    };
    let (answer, _served) = tokio::join!(exchange(&bot.context, stream, outgoing), serve);
    let (answer, _driver) = answer.unwrap();
    let all = Arc::clone(&bot.context.services.http_connections).acquire_owned();
    drop(tokio::time::timeout(Duration::from_secs(60), all).await.unwrap().unwrap());
    assert_eq!(bot.places().0, 8);
    assert!(answer.into_body().collect().await.is_err(), "and it knows");
}
