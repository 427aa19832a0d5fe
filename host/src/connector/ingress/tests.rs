//! Listeners over raw TCP: what clients may send, and what they must not.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const WITHIN: Duration = Duration::from_secs(20);
const LOCAL: &str = "127.0.0.1:0";

async fn open(ingress: &Ingress, listen: impl ToString, path: &str) -> Door {
    ingress.open(listen.to_string().parse().unwrap(), path).await.unwrap()
}

/// Answers every request of a door with 200 until the future ends.
async fn welcoming<T>(door: &mut Door, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        tokio::select! {
            knock = door.next() => knock.answer(StatusCode::OK),
            done = &mut future => return done,
        }
    }
}

/// Writes this and returns everything that comes back until the other side closes.
async fn exchange(address: SocketAddr, text: impl Into<String>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server may close before it has read everything.
    let _ = stream.write_all(text.into().as_bytes()).await;
    answer_on(&mut stream).await
}

async fn answer_on(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// Returns the statuses of the answers in a text.
fn statuses(text: &str) -> Vec<u16> {
    text.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect()
}

#[tokio::test]
async fn doors_of_one_address_share_a_listener_and_each_gets_its_own_requests() {
    let ingress = Ingress::default();
    let mut one = open(&ingress, LOCAL, "/one").await;
    let mut two = open(&ingress, one.address(), "/two/").await;
    let address = one.address();
    assert_eq!(two.address(), address);
    let ask = async {
        let (first, second) =
            tokio::join!(exchange(address, post("/one?a=b", "1")), exchange(address, post("/two/x", "2")));
        (statuses(&first), statuses(&second))
    };
    let serve = async {
        let knock = one.next().await;
        assert_eq!((knock.path.as_str(), knock.query.as_deref(), &knock.body[..]), ("/one", Some("a=b"), &b"1"[..]));
        knock.answer(StatusCode::OK);
        let knock = two.next().await;
        assert_eq!((knock.path.as_str(), &knock.body[..]), ("/two/x", &b"2"[..]));
        knock.answer(StatusCode::ACCEPTED);
    };
    assert_eq!(tokio::join!(ask, serve).0, (vec![200], vec![202]));
}

#[tokio::test]
async fn the_longest_path_that_covers_a_request_has_it_and_what_nobody_has_is_not_found() {
    let ingress = Ingress::default();
    let wide = open(&ingress, LOCAL, "/a/").await;
    let mut near = open(&ingress, wide.address(), "/a/b/").await;
    let address = wide.address();
    let answer = welcoming(&mut near, exchange(address, post("/a/b/c", ""))).await;
    assert_eq!(statuses(&answer), [200]);
    for path in ["/", "/a", "/b", "/A/", "*"] {
        assert_eq!(statuses(&exchange(address, post(path, "")).await), [404], "{path}");
    }
    drop(near);
    let mut wide = wide;
    let answer = welcoming(&mut wide, exchange(address, post("/a/b/c", ""))).await;
    assert_eq!(statuses(&answer), [200], "what a closed door had is its neighbour's");
}

#[tokio::test]
async fn a_path_is_one_connectors_and_an_address_of_others_is_said_to_be_taken() {
    let ingress = Ingress::default();
    let door = open(&ingress, LOCAL, "/hook").await;
    let error = ingress.open(door.address(), "/hook").await.unwrap_err();
    assert!(matches!(error, IngressError::Taken { .. }), "{error}");
    let error = Ingress::default().open(door.address(), "/").await.unwrap_err();
    assert!(matches!(error, IngressError::Bind { .. }), "{error}");
    assert!(error.to_string().contains(&door.address().to_string()), "{error}");
}

#[tokio::test]
async fn the_last_door_frees_the_address_and_the_next_has_it_at_once() {
    let ingress = Ingress::default();
    let mut door = open(&ingress, LOCAL, "/").await;
    let address = door.address();
    for _ in 0..50 {
        drop(door);
        door = open(&ingress, address, "/").await;
        assert_eq!(door.address(), address);
    }
    assert_eq!(statuses(&welcoming(&mut door, exchange(address, post("/", ""))).await), [200]);
    drop(door);
    timeout(WITHIN, ingress.closed()).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connectors_that_start_side_by_side_get_the_same_listener() {
    for _ in 0..50 {
        let free = std::net::TcpListener::bind(LOCAL).unwrap().local_addr().unwrap();
        let ingress = Ingress::default();
        let opening = (0..8).map(|number| {
            let ingress = ingress.clone();
            tokio::spawn(async move { ingress.open(free, &format!("/{number}")).await })
        });
        let mut doors = Vec::new();
        for door in opening.collect::<Vec<_>>() {
            doors.push(door.await.unwrap().unwrap());
        }
        drop(doors);
        timeout(WITHIN, ingress.closed()).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_nobody_answers_is_to_come_again() {
    let ingress = Ingress::default();
    let mut door = open(&ingress, LOCAL, "/").await;
    let address = door.address();
    let (answer, ()) = tokio::join!(exchange(address, post("/", "")), async { drop(door.next().await) });
    assert_eq!(statuses(&answer), [503]);
    assert!(answer.contains("retry-after: 1"), "{answer}");
}

#[tokio::test]
async fn a_request_that_is_open_when_its_door_closes_is_to_come_again_and_holds_nothing_up() {
    let ingress = Ingress::default();
    let mut door = open(&ingress, LOCAL, "/").await;
    let address = door.address();
    let close = async {
        let knock = door.next().await;
        drop(door);
        drop(knock);
    };
    let (answer, ()) = tokio::join!(exchange(address, post("/", "")), close);
    assert_eq!(statuses(&answer), [503]);
    timeout(WITHIN, ingress.closed()).await.unwrap();
}

#[tokio::test]
async fn a_knock_is_answered_also_after_its_door_was_closed() {
    let ingress = Ingress::default();
    let mut door = open(&ingress, LOCAL, "/").await;
    let address = door.address();
    let close = async {
        let knock = door.next().await;
        drop(door);
        knock.answer(StatusCode::OK);
    };
    let (answer, ()) = tokio::join!(exchange(address, post("/", "")), close);
    assert_eq!(statuses(&answer), [200], "what was taken over is said to be");
}

#[tokio::test]
async fn more_requests_than_a_connector_can_have_waiting_are_told_when_to_come_again() {
    let ingress = Ingress::default();
    let door = open(&ingress, LOCAL, "/").await;
    let mut waiting = Vec::new();
    for _ in 0..REQUESTS_MAX {
        let mut stream = TcpStream::connect(door.address()).await.unwrap();
        stream.write_all(post("/", "").as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    timeout(WITHIN, async {
        while door.requests.len() < REQUESTS_MAX {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let answer = exchange(door.address(), post("/", "")).await;
    assert_eq!(statuses(&answer), [429]);
    assert!(answer.contains("retry-after: 1"), "{answer}");
}

#[tokio::test]
async fn f071_a_body_that_is_too_large_is_refused_before_anybody_sees_it() {
    let ingress = Ingress::default();
    let mut door = open(&ingress, LOCAL, "/").await;
    let address = door.address();
    let large = "x".repeat(10_000_000);
    assert_eq!(statuses(&exchange(address, post("/", &large)).await), [413]);
    let chunked = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    assert_eq!(statuses(&exchange(address, chunked).await), [413]);
    let announced = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n";
    assert_eq!(statuses(&exchange(address, announced).await), [413], "not a byte of it is waited for");
    let fitting = "x".repeat(BODY_BYTES_MAX);
    assert_eq!(statuses(&welcoming(&mut door, exchange(address, post("/", &fitting))).await), [200]);
    assert!(door.requests.try_recv().is_err());
}

#[tokio::test]
async fn f071_a_head_that_is_too_large_is_refused() {
    let ingress = Ingress::default();
    let mut door = open(&ingress, LOCAL, "/").await;
    let many: String = (0..=HEADERS_MAX).map(|number| format!("x-{number}: 1\r\n")).collect();
    for headers in [many, format!("x: {}\r\n", "y".repeat(HEAD_BYTES_MAX))] {
        let answer = exchange(door.address(), format!("POST / HTTP/1.1\r\nhost: x\r\n{headers}\r\n")).await;
        assert_eq!(statuses(&answer), [431]);
    }
    assert!(door.requests.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn f071_a_client_that_takes_its_time_over_head_or_body_is_let_go() {
    let ingress = Ingress::default();
    let mut door = open(&ingress, LOCAL, "/").await;
    let head = exchange(door.address(), "POST / HTTP/1.1\r\nhost").await;
    assert!(statuses(&head).iter().all(|status| *status == 408), "{head}");
    let body = exchange(door.address(), "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf").await;
    assert_eq!(statuses(&body), [408]);
    assert!(door.requests.try_recv().is_err());
}

#[tokio::test]
async fn f071_a_request_whose_end_two_readers_would_see_differently_carries_no_second_one() {
    let ingress = Ingress::default();
    let mut door = open(&ingress, LOCAL, "/").await;
    let address = door.address();
    let smuggled = "POST /?smuggled HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let length = smuggled.len() + 5;
    let refused = [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: +5",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding : chunked",
        "transfer-encoding\r\n : chunked",
    ];
    for headers in refused {
        let text = format!("POST / HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n0\r\n\r\n{smuggled}");
        assert_eq!(statuses(&exchange(address, text).await), [400], "{headers}");
        assert!(door.requests.try_recv().is_err(), "{headers}");
    }
    let both = [
        format!("content-length: {length}\r\ntransfer-encoding: chunked"),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}"),
    ];
    for headers in both {
        let text = format!("POST / HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n0\r\n\r\n{smuggled}");
        let mut queries = Vec::new();
        let serve = async {
            loop {
                let knock = door.next().await;
                queries.push(knock.query.clone());
                knock.answer(StatusCode::OK);
            }
        };
        let answer = tokio::select! {
            answer = exchange(address, text) => answer,
            () = serve => unreachable!(),
        };
        assert_eq!((statuses(&answer), queries), (vec![200], vec![None]), "{headers}");
    }
}

#[tokio::test]
async fn a_header_that_came_twice_is_none() {
    let ingress = Ingress::default();
    let mut door = open(&ingress, LOCAL, "/").await;
    let address = door.address();
    let text = "POST / HTTP/1.1\r\nhost: x\r\nx-a: 1\r\nx-a: 2\r\nx-b: 3\r\nconnection: close\r\n\r\n";
    let look = async {
        let knock = door.next().await;
        assert_eq!((knock.header("X-A"), knock.header("X-B"), knock.header("X-C")), (None, Some("3"), None));
        knock.answer_json(StatusCode::OK, &serde_json::json!({"ok": true}));
    };
    let (answer, ()) = tokio::join!(exchange(address, text), look);
    assert!(answer.ends_with("{\"ok\":true}"), "{answer}");
}
