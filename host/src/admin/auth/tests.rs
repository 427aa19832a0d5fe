//! Tests of who is let in.

use super::*;
use crate::secret::Secret;

fn door_of(address: &str, book: &Book, hosts: &[&str]) -> Door {
    let (address, book) = (address.parse().unwrap(), book.clone());
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    Door::Tcp(TcpDoor { address, hosts, transport: Transport::Plain, book })
}

fn door(address: &str, token: Option<&str>) -> Door {
    let book = Book::absent();
    book.configure(token.map(Secret::new).as_ref());
    door_of(address, &book, &[])
}

fn receive(door: &Door, uri: &str, headers: &[(&'static str, &str)]) -> Result<Visitor, Problem> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    door.receive(Some([127, 0, 0, 1].into()), &Method::GET, &uri.parse().unwrap(), &map)
}

fn check(door: &Door, uri: &str, headers: &[(&'static str, &str)]) -> Result<(), Problem> {
    let visitor = receive(door, uri, headers)?;
    // What a path says that not anybody may ask for.
    if uri.ends_with("/health") || visitor.caller.is_some() { Ok(()) } else { Err(visitor.refusal) }
}

const LOCAL: (&str, &str) = ("host", "localhost:8080");

#[test]
fn a_loopback_listener_answers_to_local_names_only() {
    let door = door("127.0.0.1:8080", None);
    for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.8.9.1", "[::1]:8080"] {
        assert_eq!(check(&door, "/health", &[("host", host)]), Ok(()), "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "a@b:c"] {
        assert_eq!(check(&door, "/health", &[("host", host)]), Err(Problem::WrongHost), "{host}");
    }
    assert_eq!(check(&door, "/health", &[]), Err(Problem::WrongHost));
    assert_eq!(check(&door, "/health", &[LOCAL, ("host", "evil.example")]), Err(Problem::WrongHost));
    assert_eq!(check(&door, "http://evil.example/health", &[LOCAL]), Err(Problem::WrongHost));
}

#[test]
fn a_public_listener_takes_any_name() {
    let door = door("0.0.0.0:8080", Some("t"));
    assert_eq!(check(&door, "/health", &[("host", "bots.example")]), Ok(()));
}

#[test]
fn a_listener_with_names_answers_to_these_only_and_a_local_one_to_local_names_too() {
    for (address, is_local) in [("0.0.0.0:8080", false), ("127.0.0.1:8080", true)] {
        let door = door_of(address, &Book::absent(), &["bots.example"]);
        for host in ["bots.example", "BOTS.example:8443"] {
            assert_eq!(check(&door, "/health", &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(check(&door, "/health", &[("host", "localhost")]).is_ok(), is_local);
        for host in ["evil.example", "x.bots.example", "192.0.2.1"] {
            assert_eq!(check(&door, "/health", &[("host", host)]), Err(Problem::UnknownHost), "{host}");
        }
        assert_eq!(check(&door, "/health", &[]), Err(Problem::UnknownHost));
    }
}

#[test]
fn what_a_page_of_another_site_sends_is_refused_but_for_a_link_that_is_followed() {
    let door = door("127.0.0.1:8080", None);
    let site = |value: &'static str| ("sec-fetch-site", value);
    for own in ["same-origin", "none", "same-site"] {
        assert_eq!(check(&door, "/health", &[LOCAL, site(own)]), Ok(()), "{own}");
    }
    assert_eq!(check(&door, "/health", &[LOCAL, site("cross-site")]), Err(Problem::WrongOrigin));
    let frame = [LOCAL, site("cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
    assert_eq!(check(&door, "/health", &frame), Err(Problem::WrongOrigin));
    let link = [LOCAL, site("cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(check(&door, "/health", &link), Ok(()));
}

#[test]
fn f094_who_guesses_tokens_is_told_to_wait_and_health_stays_open() {
    let door = door("127.0.0.1:8080", Some("secret"));
    let given = |value: &str| check(&door, "/api/v1/bots", &[LOCAL, ("authorization", value)]);
    for guess in 0..10 {
        assert_eq!(given(&format!("Bearer {guess}")), Err(Problem::Unauthorized));
    }
    assert!(matches!(given("Bearer secret"), Err(Problem::TooManyAttempts(_))));
    assert_eq!(check(&door, "/health", &[LOCAL, ("authorization", "Bearer secret")]), Ok(()));
}

#[test]
fn a_session_s_cookie_says_who_it_is_and_what_its_pages_have_to_send() {
    let book = Book::absent();
    book.configure(Some(&Secret::new("secret")));
    let door = door_of("127.0.0.1:8080", &book, &[]);
    let opened = book.sign_in_by_token(&Secret::new("secret"), None).unwrap();
    let cookies = format!("a=b; bothost_session={}", opened.id.expose());
    let visitor = receive(&door, "/", &[LOCAL, ("cookie", &cookies)]).unwrap();
    assert_eq!(visitor.caller, Some(opened.caller));
    assert!(visitor.csrf.unwrap().matches(opened.csrf.expose().as_bytes()));
    book.sign_out(opened.id.expose().as_bytes());
    assert_eq!(check(&door, "/api/v1/bots", &[LOCAL, ("cookie", &cookies)]), Err(Problem::Unauthorized));
}

#[test]
fn a_page_of_another_origin_origin_is_refused() {
    let door = door("127.0.0.1:8080", None);
    assert_eq!(check(&door, "/health", &[LOCAL, ("origin", "http://localhost:8080")]), Ok(()));
    for origin in ["http://evil.example", "null", "http://localhost:9090"] {
        assert_eq!(check(&door, "/health", &[LOCAL, ("origin", origin)]), Err(Problem::WrongOrigin), "{origin}");
    }
}

#[test]
fn only_the_whole_token_in_its_header_lets_in() {
    let door = door("127.0.0.1:8080", Some("secret"));
    let given = |value: &str| check(&door, "/api/v1/bots", &[LOCAL, ("authorization", value)]);
    assert_eq!(given("Bearer secret"), Ok(()));
    assert_eq!(given("bearer secret"), Ok(()));
    for bad in ["Bearer secre", "Bearer secrets", "Bearer ", "Bearer", "Basic secret", "secret"] {
        assert_eq!(given(bad), Err(Problem::Unauthorized), "{bad}");
    }
    for query in ["token=secret", "a=b&Access_Token=secret", "token"] {
        let uri = format!("/api/v1/bots?{query}");
        let answer = check(&door, &uri, &[LOCAL, ("authorization", "Bearer secret")]);
        assert_eq!(answer, Err(Problem::TokenInQuery), "{query}");
    }
}

#[test]
fn another_token_counts_from_the_next_request_on_and_the_one_before_no_longer() {
    let book = Book::absent();
    book.configure(Some(&Secret::new("one")));
    let door = door_of("127.0.0.1:8080", &book, &[]);
    let given = |value: &str| check(&door, "/api/v1/bots", &[LOCAL, ("authorization", value)]);
    assert_eq!((given("Bearer one"), given("Bearer two")), (Ok(()), Err(Problem::Unauthorized)));
    book.configure(Some(&Secret::new("two")));
    assert_eq!((given("Bearer one"), given("Bearer two")), (Err(Problem::Unauthorized), Ok(())));
    book.configure(None);
    assert_eq!(given("Bearer two"), Err(Problem::TokenNotConfigured));
    assert_eq!(check(&door, "/health", &[LOCAL]), Ok(()));
}

#[test]
fn without_a_token_only_health_is_open() {
    let door = door("127.0.0.1:8080", None);
    assert_eq!(check(&door, "/health", &[LOCAL]), Ok(()));
    for path in ["/metrics", "/api/v1/bots"] {
        let answer = check(&door, path, &[LOCAL, ("authorization", "Bearer ")]);
        assert_eq!(answer, Err(Problem::TokenNotConfigured), "{path}");
    }
}

#[test]
fn the_socket_is_open() {
    assert_eq!(check(&Door::Socket, "/metrics", &[("host", "anything")]), Ok(()));
}
