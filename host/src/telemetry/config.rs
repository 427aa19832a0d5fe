//! `[telemetry]`: where traces and metrics are sent.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use serde::{Deserialize, Deserializer, de};

use crate::egress::HttpUrl;
use crate::secret::Secret;
use crate::units::{positive_duration, ratio};

/// Headers that a request has anyway, or that are no business of an operator's.
const OWN_HEADERS: [HeaderName; 5] =
    [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE, header::TRANSFER_ENCODING, header::CONNECTION];

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// The collector: what it is sent goes to `/v1/traces` and `/v1/metrics` below this URL. Has no query and holds nothing secret.
    /// Only a build with the feature `otlp` takes it. Default, none: nothing is sent.
    #[serde(deserialize_with = "endpoint")]
    pub endpoint: Option<HttpUrl>,
    /// Headers of every request, by name in lower case; their values are secrets. Default: none.
    #[serde(deserialize_with = "headers")]
    pub headers: BTreeMap<String, Secret>,
    /// Share of events that are traced, from 0 to 1; decided by the event's id, so that an event is traced as a whole or not at all.
    /// Default: 1.
    #[serde(deserialize_with = "ratio")]
    pub sample: f64,
    /// Whether metrics are sent. Default: true.
    pub metrics: bool,
    /// How often metrics are sent. Not zero. Default: 30 s.
    #[serde(deserialize_with = "positive_duration")]
    pub every: Duration,
    /// The name of the service in what is sent. Not empty. Default: `bothost`.
    #[serde(deserialize_with = "service")]
    pub service: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: BTreeMap::new(),
            sample: 1.0,
            metrics: true,
            every: Duration::from_secs(30),
            service: "bothost".to_owned(),
        }
    }
}

/// Why a collector cannot be sent anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum EndpointMistake {
    #[error(
        "this build sends nothing to collectors: build it with `cargo build --release --features otlp`, or leave the key out"
    )]
    NotBuiltIn,
    #[error("it has a query: what a collector is to know of the sender belongs in `headers`")]
    Query,
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HttpUrl>, D::Error> {
    let url = HttpUrl::deserialize(deserializer)?;
    usable(url, cfg!(feature = "otlp")).map(Some).map_err(de::Error::custom)
}

fn usable(url: HttpUrl, is_built_in: bool) -> Result<HttpUrl, EndpointMistake> {
    if !is_built_in {
        return Err(EndpointMistake::NotBuiltIn);
    }
    if url.0.target.contains('?') {
        return Err(EndpointMistake::Query);
    }
    Ok(url)
}

fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Secret>, D::Error> {
    let given: BTreeMap<String, Secret> = BTreeMap::deserialize(deserializer)?;
    let mut headers = BTreeMap::new();
    for (name, value) in given {
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
            return Err(de::Error::custom(format_args!("`{}` is no name of a header", name.escape_debug())));
        };
        if OWN_HEADERS.contains(&header) {
            return Err(de::Error::custom(format_args!("the header `{header}` is the host's own to set")));
        }
        if HeaderValue::from_str(value.expose()).is_err() {
            let message = format_args!("the value of `{header}` has a character that no header may have");
            return Err(de::Error::custom(message));
        }
        headers.insert(header.as_str().to_owned(), value);
    }
    Ok(headers)
}

fn service<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.is_empty() {
        return Err(de::Error::custom("it must not be empty; leave the key out for `bothost`"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TelemetryConfig, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_section_sends_nothing() {
        let config = read("").unwrap();
        assert_eq!(config, TelemetryConfig::default());
        assert_eq!((config.endpoint, config.sample, config.every), (None, 1.0, Duration::from_secs(30)));
    }

    #[test]
    fn a_collector_is_taken_by_a_build_that_can_reach_one_and_refused_with_the_remedy_by_any_other() {
        let url: HttpUrl = "http://127.0.0.1:4318".parse().unwrap();
        assert_eq!(usable(url.clone(), true), Ok(url.clone()));
        assert!(usable(url, false).unwrap_err().to_string().contains("--features otlp"));
        assert_eq!(read("endpoint = \"http://127.0.0.1:4318\"").is_ok(), cfg!(feature = "otlp"));
    }

    #[test]
    fn headers_are_secrets_with_names_in_lower_case() {
        let config = read("headers = { Authorization = \"Bearer s3cret\" }").unwrap();
        assert_eq!(config.headers["authorization"].expose(), "Bearer s3cret");
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn what_no_request_could_carry_is_refused_without_showing_it() {
        for (text, expected) in [
            ("headers = { \"a b\" = \"s3cret\" }", "no name of a header"),
            ("headers = { Host = \"s3cret\" }", "`host` is the host's own"),
            ("headers = { x = \"s3cret\\n\" }", "the value of `x`"),
            ("service = \"\"", "must not be empty"),
            ("sample = 1.5", "from 0 to 1"),
            ("every = \"0s\"", "longer than zero"),
        ] {
            let error = read(text).unwrap_err();
            let message = error.lines().last().unwrap_or_default();
            assert!(message.contains(expected) && !message.contains("s3cret"), "{text}: {error}");
        }
    }

    #[test]
    fn an_endpoint_with_a_query_is_refused() {
        let refused = usable("http://h/?token=s3cret".parse().unwrap(), true);
        assert_eq!(refused, Err(EndpointMistake::Query));
        assert!(!EndpointMistake::Query.to_string().contains("s3cret"));
    }
}
