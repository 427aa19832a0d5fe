use super::*;
use http::StatusCode;

fn route(channel: &str) -> Route {
    Route { method: Method::POST, path: String::new(), name: "send", major: channel.to_owned() }
}

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> HttpResponse {
    let header = |(name, value): &(&'static str, &str)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap());
    HttpResponse {
        status: StatusCode::from_u16(status).unwrap(),
        headers: headers.iter().map(header).collect(),
        body: Bytes::from(body.to_owned()),
        retry_after: None,
    }
}

fn limited(body: &str) -> Option<Duration> {
    Limits::new().learn(&route("1"), &answer(429, &[], body), Instant::now())
}

#[test]
fn a_pause_is_believed_exactly_and_nonsense_becomes_a_short_one() {
    for (given, millis) in [
        (r#"{"retry_after": 0.25}"#, 250),
        (r#"{"retry_after": 3600}"#, 3_600_000),
        (r#"{"retry_after": "7"}"#, 7000),
        (r#"{"retry_after": -1}"#, 5000),
        (r#"{"retry_after": "soon"}"#, 5000),
        ("{}", 5000),
        (r#"{"retry_after": 1e300}"#, 5000),
        (r#"{"retry_after": 1e9}"#, 86_400_000),
    ] {
        assert_eq!(limited(given), Some(Duration::from_millis(millis)), "{given}");
    }
}

#[test]
fn a_spent_bucket_holds_back_its_own_channel_until_it_is_full_again() {
    let (mut limits, now) = (Limits::new(), Instant::now());
    let headers = [("x-ratelimit-bucket", "abc"), ("x-ratelimit-remaining", "1"), ("x-ratelimit-reset-after", "2.5")];
    assert_eq!(limits.learn(&route("1"), &answer(200, &headers, "{}"), now), None);
    assert_eq!(limits.reserve(&route("1"), now), Ok(()));
    assert_eq!(limits.reserve(&route("1"), now), Err(Duration::from_millis(2500)));
    assert_eq!(limits.reserve(&route("2"), now), Ok(()), "each channel has its own");
    assert_eq!(limits.reserve(&route("1"), now + Duration::from_millis(2500)), Ok(()));
}

#[test]
fn an_answer_that_was_overtaken_gives_nothing_back() {
    let (mut limits, now) = (Limits::new(), Instant::now());
    let learn = |limits: &mut Limits, left: &str, after: &str| {
        limits.learn(
            &route("1"),
            &answer(200, &[("x-ratelimit-remaining", left), ("x-ratelimit-reset-after", after)], "{}"),
            now,
        )
    };
    learn(&mut limits, "0", "2.000");
    learn(&mut limits, "1", "2.010");
    assert!(limits.reserve(&route("1"), now).is_err());
}

#[test]
fn a_global_limit_and_a_page_of_what_stands_before_discord_hold_back_everything() {
    let json = r#"{"message": "x", "retry_after": 2, "global": true}"#;
    for (given, wait) in
        [(answer(429, &[], json), 2), (answer(429, &[], "<html>"), 60), (answer(403, &[], "<html>"), 60)]
    {
        let (mut limits, now) = (Limits::new(), Instant::now());
        assert_eq!(limits.learn(&route("1"), &given, now), Some(Duration::from_secs(wait)));
        assert_eq!(limits.reserve(&route("2"), now), Err(Duration::from_secs(wait)));
    }
}

#[test]
fn nothing_is_asked_any_more_long_before_discord_shuts_everybody_out() {
    let (mut limits, now) = (Limits::new(), Instant::now());
    let refused = |limits: &mut Limits, scope| {
        limits.learn(&route("1"), &answer(403, &[("x-ratelimit-scope", scope)], "{}"), now);
    };
    for _ in 0..10_000 {
        refused(&mut limits, "shared");
    }
    assert!(limits.reserve(&route("2"), now).is_ok(), "what others did is not held against us");
    let asked = (0..10_000).take_while(|_| {
        refused(&mut limits, "user");
        limits.reserve(&route("2"), now).is_ok()
    });
    assert!(asked.count() < 5000);
}

#[test]
fn every_refusal_has_its_class() {
    let class = |status, code| {
        let body = format!(r#"{{"message": "no", "code": {code}}}"#);
        read(&answer(status, &[], &body)).unwrap_err().class()
    };
    let unauthorized = |class| matches!(class, DeliveryError::Unauthorized(_));
    let permanent = |class| matches!(class, DeliveryError::Permanent(_));
    let bad = |class| matches!(class, DeliveryError::BadRequest(_));
    let retryable = |class| matches!(class, DeliveryError::Retryable(_));
    type Judge = fn(DeliveryError) -> bool;
    let table: [(u16, u64, Judge); 14] = [
        (401, 0, unauthorized),
        (403, 50001, permanent),
        (403, 50013, permanent),
        (403, 50007, permanent),
        (404, 10003, permanent),
        (404, 10062, permanent),
        (404, 10008, permanent),
        (400, 50035, bad),
        (413, 40005, bad),
        (405, 0, bad),
        (409, 0, retryable),
        (500, 0, retryable),
        (502, 0, retryable),
        (504, 0, retryable),
    ];
    for (status, code, is_right) in table {
        assert!(is_right(class(status, code)), "{status} {code}: {:?}", class(status, code));
    }
    let page = read(&answer(502, &[], "<html>")).unwrap_err();
    assert!(retryable(page.class()));
    for error in [HttpError::TimedOut(WAIT_DEFAULT), HttpError::Closed] {
        assert!(retryable(RestError::from(error).class()));
    }
    assert!(unauthorized(RestError::Revoked.class()));
    assert_eq!(RestError::Limited(WAIT_DEFAULT).class(), DeliveryError::RateLimited(WAIT_DEFAULT));
}

#[tokio::test]
async fn neither_an_error_nor_anything_that_is_printed_holds_the_token() {
    let crate::egress::HttpUrl(endpoint) = "http://127.0.0.1:1".parse().unwrap();
    let client = HttpClient::new(endpoint, crate::egress::AddressGuard::any());
    let rest = Rest::new(client, &Secret::new("s3cret"), Signs::default());
    let error = rest.call(&route("1"), "", None, Duration::from_secs(5)).await.unwrap_err();
    assert!(!format!("{error} {error:?} {rest:?}").contains("s3cret"));
}
