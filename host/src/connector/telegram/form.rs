//! A form with one file in it, as HTTP has them (`multipart/form-data`). Pure.

use serde_json::{Map, Value};

use crate::action::Upload;

/// What a file is called in headers that cannot hold its own type.
const MEDIA_TYPE_UNKNOWN: &str = "application/octet-stream";

/// A form, written down.
#[derive(Debug)]
pub(super) struct Form {
    boundary: String,
    body: Vec<u8>,
}

impl Form {
    /// Returns a form of these parameters and a file under the name `field`. Texts are written as they stand, everything else as JSON.
    pub(super) fn new(parameters: &Map<String, Value>, field: &str, upload: &Upload) -> Self {
        let texts: Vec<(&str, String)> = parameters.iter().map(|(name, value)| (&name[..], written(value))).collect();
        let boundary = boundary(&texts, &upload.content);
        let mut body = Vec::with_capacity(upload.content.len() + 1024);
        for (name, text) in &texts {
            let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n", quoted(name));
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(text.as_bytes());
            body.extend_from_slice(b"\r\n");
        }
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
            quoted(field),
            quoted(&upload.name),
            media_type(&upload.media_type),
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&upload.content);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        Self { boundary, body }
    }

    /// Returns what the form is, as a header says it.
    pub(super) fn media_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// Returns the whole form.
    pub(super) fn into_body(self) -> Vec<u8> {
        self.body
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns a line that is in none of the parts.
fn boundary(texts: &[(&str, String)], content: &[u8]) -> String {
    loop {
        let boundary = format!("bothost-{:032x}", fastrand::u128(..));
        let is_in = |bytes: &[u8]| bytes.windows(boundary.len()).any(|window| window == boundary.as_bytes());
        if !texts.iter().any(|(_, text)| is_in(text.as_bytes())) && !is_in(content) {
            return boundary;
        }
    }
}

/// Returns a name as browsers write it between quotes.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

fn media_type(given: &str) -> &str {
    let is_good = given.contains('/') && given.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_good { given } else { MEDIA_TYPE_UNKNOWN }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_stand_as_they_are_the_rest_as_json_and_no_name_breaks_out_of_its_line() {
        let upload = Upload {
            name: "a\"\r\nX-Evil: 1\r\n\r\n.png".to_owned(),
            media_type: "image/png\r\nX-Evil: 1".to_owned(),
            content: vec![0, 255, b'\r', b'\n', b'-', b'-'],
        };
        let parameters = json!({"chat_id": 5, "caption": "hi \"you\"", "reply_markup": {"inline_keyboard": []}});
        let form = Form::new(parameters.as_object().unwrap(), "photo", &upload);
        let boundary = form.media_type().split_once("boundary=").unwrap().1.to_owned();
        let text = String::from_utf8_lossy(&form.body).into_owned();
        assert!(text.contains("name=\"caption\"\r\n\r\nhi \"you\"\r\n"), "{text}");
        assert!(text.contains("name=\"chat_id\"\r\n\r\n5\r\n"), "{text}");
        assert!(text.contains("name=\"reply_markup\"\r\n\r\n{\"inline_keyboard\":[]}\r\n"), "{text}");
        assert!(text.contains("filename=\"a%22%0D%0AX-Evil: 1%0D%0A%0D%0A.png\"\r\n"), "{text}");
        assert!(text.contains("Content-Type: application/octet-stream\r\n\r\n"), "{text}");
        assert_eq!(text.matches(&boundary).count(), 5, "three texts, a file, and the end");
        assert!(form.body.windows(6).any(|window| window == upload.content), "the bytes are as they were");
        assert!(text.ends_with(&format!("\r\n--{boundary}--\r\n")));
    }
}
