//! What a method is called with, in each of the ways that the Bot API takes: a query, a form, a form with files, JSON.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::wire::Request;

/// What a method is called with.
#[derive(Debug)]
pub(super) struct Parameters {
    /// By name. A file is an object of `file_name`, `mime_type` and `file_size`.
    pub(super) values: Value,
    /// The files' contents, by the parameter's name.
    pub(super) files: HashMap<String, Vec<u8>>,
}

/// Reads a request; none where it is malformed.
pub(super) fn read(request: &Request) -> Option<Parameters> {
    let mut values = form(&request.query)?;
    let mut files = HashMap::new();
    let media_type = request.header("content-type");
    match media_type.split(';').next().unwrap_or_default().trim() {
        _ if request.body.is_empty() => {}
        "application/json" => match serde_json::from_slice(&request.body).ok()? {
            Value::Object(more) => values.extend(more),
            _ => return None,
        },
        "application/x-www-form-urlencoded" => values.extend(form(std::str::from_utf8(&request.body).ok()?)?),
        "multipart/form-data" => {
            let boundary = media_type.split("boundary=").nth(1)?.trim_matches('"');
            multipart(&request.body, boundary, &mut values, &mut files)?;
        }
        _ => return None,
    }
    Some(Parameters { values: Value::Object(values), files })
}

/// What people read stands as it is; everything else that reads as JSON is JSON.
fn value(name: &str, text: String) -> Value {
    match name {
        "text" | "caption" | "callback_query_id" | "url" | "secret_token" => Value::String(text),
        _ => serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

fn form(text: &str) -> Option<Map<String, Value>> {
    let pair = |pair: &str| {
        let (name, text) = pair.split_once('=')?;
        let name = decoded(name)?;
        let value = value(&name, decoded(text)?);
        Some((name, value))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn multipart(
    body: &[u8],
    boundary: &str,
    values: &mut Map<String, Value>,
    files: &mut HashMap<String, Vec<u8>>,
) -> Option<()> {
    let delimiter = format!("\r\n--{boundary}");
    // The first delimiter has no line before it.
    let mut rest = body.strip_prefix(&delimiter.as_bytes()[2..])?;
    loop {
        if rest.starts_with(b"--") {
            return Some(());
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let (head, after) = cut_at(rest, b"\r\n\r\n")?;
        let (content, after) = cut_at(after, delimiter.as_bytes())?;
        rest = after;
        let head = std::str::from_utf8(head).ok()?;
        let header = |name: &str| {
            head.split("\r\n").filter_map(|line| line.split_once(':')).find(|(own, _)| own.eq_ignore_ascii_case(name))
        };
        let (_, disposition) = header("content-disposition")?;
        let name = quoted(disposition, "name")?;
        match quoted(disposition, "filename") {
            Some(file_name) => {
                let media_type = header("content-type").map_or("application/octet-stream", |(_, value)| value.trim());
                let shown = json!({"file_name": file_name, "mime_type": media_type, "file_size": content.len()});
                values.insert(name.clone(), shown);
                files.insert(name, content.to_vec());
            }
            None => {
                let text = String::from_utf8(content.to_vec()).ok()?;
                let value = value(&name, text);
                values.insert(name, value);
            }
        }
    }
}

fn cut_at<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}

/// Returns a parameter of a header. The space before it keeps `name` out of `filename`.
fn quoted(header: &str, name: &str) -> Option<String> {
    let (_, after) = header.split_once(&format!(" {name}=\""))?;
    after.split_once('"').map(|(text, _)| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method};

    fn request(media_type: &str, query: &str, body: &str) -> Request {
        let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, media_type.parse().unwrap())]);
        let path = "/bot1:x/sendMessage".to_owned();
        Request { method: Method::POST, path, query: query.to_owned(), headers, body: body.to_owned().into() }
    }

    #[test]
    fn the_same_is_read_however_it_is_written() {
        let expected = json!({"chat_id": 5, "text": "1 & 2", "reply_markup": {"inline_keyboard": []}});
        let json = request("application/json", "", &expected.to_string());
        let form = "chat_id=5&text=1+%26+2&reply_markup=%7B%22inline_keyboard%22%3A%5B%5D%7D";
        let urlencoded = request("application/x-www-form-urlencoded", "", form);
        let query = request("application/json", form, "");
        let part = |name: &str, text: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
        };
        let body = part("chat_id", "5") + &part("text", "1 & 2") + &part("reply_markup", "{\"inline_keyboard\":[]}");
        let multipart = request("multipart/form-data; boundary=b", "", &(body + "--b--\r\n"));
        for request in [json, urlencoded, query, multipart] {
            assert_eq!(read(&request).unwrap().values, expected, "{request:?}");
        }
    }

    #[test]
    fn a_file_is_kept_byte_by_byte_and_a_broken_form_is_none() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\r\n--x\r\n--b--\r\n";
        let whole = read(&request("multipart/form-data; boundary=b", "", body)).unwrap();
        assert_eq!(whole.values, json!({"photo": {"file_name": "a.png", "mime_type": "image/png", "file_size": 5}}));
        assert_eq!(whole.files["photo"], b"\r\n--x");
        for broken in [&body[..body.len() - 8], "no form", "--b\r\n\r\n--b--"] {
            assert!(read(&request("multipart/form-data; boundary=b", "", broken)).is_none(), "{broken}");
        }
    }
}
