//! One HTTP request over `wasi:http`, from the address to the last byte of the answer.

use std::time::Duration;

use super::bindings::wasi::http::outgoing_handler;
use super::bindings::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions,
    Scheme, http_error_code,
};
use super::bindings::wasi::io::streams::StreamError;
use crate::http::{Address, Request, Response, Tls, body_too_large};
use crate::{Failure, Result};

/// What one call may carry: `blocking-write-and-flush` traps above it.
const WRITE_BYTES_MAX: usize = 4096;
const READ_BYTES_MAX: u64 = 64 * 1024;

pub(crate) fn send(request: &Request) -> Result<Response> {
    let address = Address::parse(&request.url)?;
    let failed = |code: &ErrorCode| failure(code, address.authority);
    let outgoing = outgoing(request, &address)?;
    // A body that was never taken has a known length of nothing; one that was taken and left empty goes out chunked.
    let body = match request.body.is_empty() {
        true => None,
        false => Some(outgoing.body().map_err(|()| taken_twice())?),
    };
    let options = request.timeout.map(options);
    let pending = outgoing_handler::handle(outgoing, options).map_err(|code| failed(&code))?;
    if let Some(body) = body {
        // A host that cannot be reached, and one that answers before it has read all, both close the body. What they mean by
        // it is in the answer.
        let _closed_early = write(body, &request.body);
    }
    let incoming = answer(&pending)?.map_err(|code| failed(&code))?;
    let headers = incoming
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    Ok(Response { status: incoming.status(), headers, body: read(&incoming, request.response_bytes_max, failed)? })
}

fn outgoing(request: &Request, address: &Address<'_>) -> Result<OutgoingRequest> {
    let mut entries: Vec<(String, Vec<u8>)> =
        request.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    let counted = |(name, _): &(String, Vec<u8>)| name.eq_ignore_ascii_case("content-length");
    if !request.body.is_empty() && !entries.iter().any(counted) {
        let length = request.body.len().to_string();
        entries.push(("content-length".to_owned(), length.into_bytes()));
    }
    let headers = Fields::from_list(&entries).map_err(|error| Failure::Invalid(format!("headers: {error:?}")))?;

    let outgoing = OutgoingRequest::new(headers);
    let invalid = |what: &str| Failure::Invalid(format!("{what} of {}", request.url));
    let scheme = match address.tls {
        Tls::Without => Scheme::Http,
        Tls::With => Scheme::Https,
    };
    outgoing.set_method(&method(&request.method)).map_err(|()| invalid("the method"))?;
    outgoing.set_scheme(Some(&scheme)).map_err(|()| invalid("the scheme"))?;
    outgoing.set_authority(Some(address.authority)).map_err(|()| invalid("the host"))?;
    outgoing.set_path_with_query(Some(&address.path_and_query)).map_err(|()| invalid("the path"))?;
    Ok(outgoing)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn options(timeout: Duration) -> RequestOptions {
    let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    let options = RequestOptions::new();
    // A refusal means that the host has no such time-out; the event's own still holds.
    let _unsupported = options.set_connect_timeout(Some(nanoseconds));
    let _unsupported = options.set_first_byte_timeout(Some(nanoseconds));
    let _unsupported = options.set_between_bytes_timeout(Some(nanoseconds));
    options
}

fn write(body: OutgoingBody, content: &[u8]) -> Result<(), ()> {
    {
        let stream = body.write()?;
        for chunk in content.chunks(WRITE_BYTES_MAX) {
            stream.blocking_write_and_flush(chunk).map_err(drop)?;
        }
    }
    OutgoingBody::finish(body, None).map_err(drop)
}

fn answer(pending: &FutureIncomingResponse) -> Result<Result<IncomingResponse, ErrorCode>> {
    pending.subscribe().block();
    let answer = pending.get().ok_or_else(|| Failure::Unavailable("the host woke the bot without an answer".into()))?;
    answer.map_err(|()| taken_twice())
}

fn read(incoming: &IncomingResponse, bytes_max: usize, failed: impl Fn(&ErrorCode) -> Failure) -> Result<Vec<u8>> {
    // Children go before their parents, or the host traps: the stream is dropped first, then the body.
    let body = incoming.consume().map_err(|()| taken_twice())?;
    let stream = body.stream().map_err(|()| taken_twice())?;
    let mut content = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES_MAX) {
            Ok(chunk) => content.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(content),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(match http_error_code(&error) {
                    Some(code) => failed(&code),
                    None => Failure::Unavailable(error.to_debug_string()),
                });
            }
        }
        if content.len() > bytes_max {
            return Err(body_too_large(bytes_max));
        }
    }
}

fn taken_twice() -> Failure {
    Failure::Unavailable("the host gave a body away twice".into())
}

fn failure(code: &ErrorCode, authority: &str) -> Failure {
    use ErrorCode as Code;
    match code {
        Code::DnsTimeout
        | Code::ConnectionTimeout
        | Code::ConnectionReadTimeout
        | Code::ConnectionWriteTimeout
        | Code::HttpResponseTimeout => Failure::TimedOut,
        Code::HttpRequestDenied | Code::DestinationIpProhibited => {
            let host = match authority.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
                _ => authority,
            };
            Failure::NotGranted(format!("http = [\"{host}\"]"))
        }
        // `wasi:http` has one code for both.
        Code::ConnectionLimitReached => {
            Failure::QuotaExceeded("limits.http_in_flight or limits.http_per_minute".into())
        }
        Code::HttpResponseBodySize(Some(most)) => {
            Failure::QuotaExceeded(format!("limits.http_body: a body has at most {most} bytes"))
        }
        Code::HttpRequestLengthRequired
        | Code::HttpRequestBodySize(_)
        | Code::HttpRequestMethodInvalid
        | Code::HttpRequestUriInvalid
        | Code::HttpRequestUriTooLong
        | Code::HttpRequestHeaderSectionSize(_)
        | Code::HttpRequestHeaderSize(_)
        | Code::HttpRequestTrailerSectionSize(_)
        | Code::HttpRequestTrailerSize(_) => Failure::Invalid(format!("{authority}: {code:?}")),
        other => Failure::Unavailable(format!("{authority}: {}", reason(other))),
    }
}

/// Says in words why the other side gave no answer; the rarer reasons keep the names that `wasi:http` has for them.
fn reason(code: &ErrorCode) -> String {
    match code {
        ErrorCode::DnsError(_) | ErrorCode::DestinationNotFound => "no such host".to_owned(),
        ErrorCode::ConnectionRefused => "connection refused".to_owned(),
        ErrorCode::ConnectionTerminated | ErrorCode::HttpResponseIncomplete => "connection broken off".to_owned(),
        ErrorCode::TlsCertificateError => "certificate refused".to_owned(),
        ErrorCode::InternalError(Some(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}
