use std::net::TcpListener;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::egress::{AddressGuard, HttpUrl};

fn answered(status: u16, retry_after: Option<u64>, body: &str) -> Result<Value, ApiError> {
    read(HttpResponse {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from(body.to_owned()),
        retry_after: retry_after.map(Duration::from_secs),
    })
}

/// Returns the name of the class that a refusal of this code has.
fn class(code: &str) -> &'static str {
    let error = answered(200, None, &json!({"ok": false, "error": code}).to_string()).unwrap_err();
    match classify(&error) {
        DeliveryError::Retryable(_) => "retryable",
        DeliveryError::RateLimited(_) => "rate-limited",
        DeliveryError::Uncertain(_) => "uncertain",
        DeliveryError::Unauthorized(_) => "unauthorized",
        DeliveryError::Permanent(_) => "permanent",
        DeliveryError::BadRequest(_) => "bad-request",
        DeliveryError::Unsupported(_) => "unsupported",
    }
}

#[test]
fn every_code_has_its_class() {
    for (class_of, codes) in [
        ("rate-limited", &["ratelimited", "rate_limited"][..]),
        ("uncertain", &["internal_error", "fatal_error", "service_unavailable", "request_timeout"]),
        (
            "unauthorized",
            &[
                "invalid_auth",
                "not_authed",
                "token_revoked",
                "token_expired",
                "account_inactive",
                "org_login_required",
                "not_allowed_token_type",
            ],
        ),
        (
            "permanent",
            &[
                "missing_scope",
                "no_permission",
                "restricted_action",
                "ekm_access_denied",
                "channel_not_found",
                "is_archived",
                "not_in_channel",
                "user_not_found",
                "cannot_dm_bot",
                "message_not_found",
                "something_new",
            ],
        ),
        ("bad-request", &["msg_too_long", "no_text", "invalid_blocks", "invalid_arguments", "invalid_payload"]),
    ] {
        for code in codes {
            assert_eq!(class(code), class_of, "{code}");
        }
    }
}

#[test]
fn f060_a_pause_is_believed_exactly_and_a_missing_one_is_short() {
    for (given, seconds) in [(Some(1), 1), (Some(3600), 3600), (None, 5), (Some(0), 5), (Some(u64::MAX), 86_400)] {
        let error = answered(429, given, "{\"ok\":false,\"error\":\"ratelimited\"}").unwrap_err();
        assert_eq!(classify(&error), DeliveryError::RateLimited(Duration::from_secs(seconds)), "{given:?}");
    }
}

#[test]
fn an_answer_that_is_not_slacks_may_have_been_acted_on_and_is_not_repeated() {
    for (status, body) in [
        (502, "<html>s3cret"),
        (200, "s3cret"),
        (200, "{}"),
        (200, "{\"ok\":false}"),
        (500, "{\"ok\":true}"),
        (503, "{\"ok\":false,\"error\":\"service_unavailable\"}"),
    ] {
        let error = answered(status, None, body).unwrap_err();
        assert!(!error.to_string().contains("s3cret"));
        assert!(matches!(classify(&error), DeliveryError::Uncertain(_)), "{status} {body}");
    }
}

#[test]
fn a_missing_scope_is_named() {
    let error =
        answered(200, None, "{\"ok\":false,\"error\":\"missing_scope\",\"needed\":\"chat:write\"}").unwrap_err();
    assert_eq!(error.to_string(), "missing_scope (needs chat:write)");
}

#[tokio::test]
async fn f061_a_connection_that_is_refused_did_not_send_and_shows_no_token() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let HttpUrl(endpoint) = format!("http://{free}/api").parse().unwrap();
    let client = HttpClient::new(endpoint, AddressGuard::any());
    let api = Api::new(client, Secret::new("xoxb-s3cret"), Signs::default());
    let error = api.call("chat.postMessage", &json!({}), Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(classify(&error), DeliveryError::Retryable(_)), "{error}");
    assert!(!format!("{error} {error:?} {api:?}").contains("s3cret"));
}

#[test]
fn a_form_is_written_so_that_nothing_in_it_ends_it() {
    assert_eq!(form(&json!({"a": "x&y=z é", "b": 5, "c": true})), "a=x%26y%3Dz%20%C3%A9&b=5&c=true");
}
