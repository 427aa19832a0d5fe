use super::*;
use crate::action::Priority;
use crate::egress::HttpError;

const WAIT: Duration = Duration::from_secs(7);

fn refused(code: u16, description: &str) -> ApiError {
    let retry_after = (code == 429).then_some(WAIT);
    ApiError::Refused { code, description: description.to_owned(), retry_after, migrate_to_chat_id: None }
}

#[test]
fn every_row_of_the_table_of_errors_has_its_class() {
    type Class = fn(String) -> DeliveryError;
    let rows: [(ApiError, Class); 26] = [
        (refused(429, "Too Many Requests: retry after 7"), |_| DeliveryError::RateLimited(WAIT)),
        (refused(500, "Internal Server Error"), DeliveryError::Uncertain),
        (refused(502, "Bad Gateway"), DeliveryError::Uncertain),
        (refused(503, "Service Unavailable"), DeliveryError::Uncertain),
        (refused(504, "Gateway Timeout"), DeliveryError::Uncertain),
        (ApiError::Unreadable { status: 502 }, DeliveryError::Uncertain),
        (ApiError::Unreadable { status: 200 }, DeliveryError::Uncertain),
        (ApiError::Unreadable { status: 404 }, DeliveryError::Uncertain),
        (ApiError::Unreadable { status: 413 }, DeliveryError::BadRequest),
        (ApiError::Http(HttpError::TimedOut(WAIT)), DeliveryError::Uncertain),
        (ApiError::Http(HttpError::TooLarge), DeliveryError::Uncertain),
        (ApiError::Http(HttpError::Closed), DeliveryError::Retryable),
        (ApiError::Http(HttpError::Malformed), DeliveryError::Retryable),
        (refused(401, "Unauthorized"), DeliveryError::Unauthorized),
        (refused(404, "Not Found"), DeliveryError::Unauthorized),
        (refused(409, "Conflict"), DeliveryError::Retryable),
        (refused(403, "Forbidden: bot was blocked by the user"), DeliveryError::Permanent),
        (refused(403, "Forbidden: bot was kicked from the supergroup chat"), DeliveryError::Permanent),
        (refused(403, "Forbidden: bot can't initiate conversation with a user"), DeliveryError::Permanent),
        (refused(400, "Bad Request: not enough rights to send text messages to the chat"), DeliveryError::Permanent),
        (refused(400, "Bad Request: TOPIC_CLOSED"), DeliveryError::Permanent),
        (refused(400, "Bad Request: CHAT_WRITE_FORBIDDEN"), DeliveryError::Permanent),
        (refused(400, "Bad Request: chat not found"), DeliveryError::BadRequest),
        (refused(400, "Bad Request: message is too long"), DeliveryError::BadRequest),
        (refused(400, "Bad Request: can't parse entities: …"), DeliveryError::BadRequest),
        (refused(413, "Request Entity Too Large"), DeliveryError::BadRequest),
    ];
    for (error, class) in rows {
        assert_eq!(classify(&error), class(error.to_string()), "{error:?}");
    }
}

fn message(text: &str, uploads: usize) -> Outgoing<String> {
    let upload = Upload { name: "a".to_owned(), media_type: "image/png".to_owned(), content: Vec::new() };
    Outgoing {
        text: text.to_owned(),
        format: TextFormat::Plain,
        buttons: Vec::new(),
        uploads: vec![upload; uploads],
        reply_to: None,
        priority: Priority::Normal,
        expires_after: None,
    }
}

#[test]
fn a_text_is_below_the_first_file_as_far_as_it_fits_and_follows_the_last_for_the_rest() {
    let shape = |message: &Outgoing<String>| {
        let pieces = pieces(message).unwrap();
        pieces.iter().map(|piece| (piece.upload.is_some(), piece.text.len())).collect::<Vec<_>>()
    };
    assert_eq!(shape(&message("hi", 0)), [(false, 2)]);
    assert_eq!(shape(&message("", 1)), [(true, 0)]);
    assert_eq!(shape(&message("hi", 2)), [(true, 2), (true, 0)]);
    // Where a text is cut, there is room left for the fence of a block of code.
    assert_eq!(shape(&message(&"x".repeat(1024), 1)), [(true, 1024)]);
    assert_eq!(shape(&message(&"x".repeat(1025), 2)), [(true, 1020), (true, 0), (false, 5)]);
    assert_eq!(shape(&message(&"x".repeat(6000), 1)), [(true, 1020), (false, 4092), (false, 888)]);
    assert!(pieces(&message(" \n", 0)).is_err() && pieces(&message("", PIECES_MAX + 1)).is_err());
}

#[test]
fn the_rest_of_a_text_below_a_file_has_no_fences_but_its_own_and_those_of_its_cuts() {
    let lines = "let a = 1;\n".repeat(300);
    let message = message(&format!("```rust\n{lines}```\nso"), 1);
    let pieces = pieces(&message).unwrap();
    let texts: Vec<_> = pieces.iter().map(|piece| piece.text.as_str()).collect();
    let [caption, rest] = texts[..] else { panic!("{texts:?}") };
    let (in_caption, in_rest) = (caption.matches("let a").count(), rest.matches("let a").count());
    assert_eq!(in_caption + in_rest, 300);
    assert_eq!(caption, format!("```rust\n{}```", "let a = 1;\n".repeat(in_caption)));
    assert_eq!(rest, format!("```rust\n{}```\nso", "let a = 1;\n".repeat(in_rest)));
}

#[test]
fn a_text_that_begins_with_much_white_space_is_no_caption_that_is_too_long() {
    let message = message(&format!("{}{}", " ".repeat(1020), "x".repeat(2000)), 1);
    let pieces = pieces(&message).unwrap();
    let shape: Vec<_> = pieces.iter().map(|piece| (piece.upload.is_some(), piece.text.len())).collect();
    assert_eq!(shape, [(true, 0), (false, 2000)]);
}

#[test]
fn a_file_goes_by_the_method_that_shows_it_and_else_as_a_document() {
    let method = |media_type: &str, bytes: usize| {
        let content = vec![0; bytes];
        method_of(&Upload { name: "a".to_owned(), media_type: media_type.to_owned(), content }).0
    };
    for (media_type, expected) in [
        ("image/png", "sendPhoto"),
        ("Image/JPEG; q=1", "sendPhoto"),
        ("image/gif", "sendAnimation"),
        ("image/svg+xml", "sendDocument"),
        ("video/mp4", "sendVideo"),
        ("video/webm", "sendDocument"),
        ("audio/mpeg", "sendAudio"),
        ("audio/ogg; codecs=opus", "sendVoice"),
        ("audio/flac", "sendDocument"),
        ("", "sendDocument"),
    ] {
        assert_eq!(method(media_type, 1), expected, "{media_type}");
    }
    assert_eq!(method("image/png", PHOTO_BYTES_MAX + 1), "sendDocument");
}
