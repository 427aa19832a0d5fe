//! What every channel has to keep.

use super::*;

fn refused(status: u16, seconds: Option<u64>) -> ChannelError {
    ChannelError::Refused { status, words: String::new(), retry_after: seconds.map(Duration::from_secs) }
}

#[test]
fn only_what_may_help_is_tried_again() {
    for (status, expected) in [
        (500, Advice::Retry),
        (502, Advice::Retry),
        (408, Advice::Retry),
        (400, Advice::GiveUp),
        (401, Advice::GiveUp),
        (404, Advice::GiveUp),
        (301, Advice::GiveUp),
    ] {
        assert_eq!(refused(status, None).advice(), expected, "{status}");
    }
    assert_eq!(refused(429, Some(17)).advice(), Advice::Wait(Duration::from_secs(17)));
    assert_eq!(refused(503, Some(3)).advice(), Advice::Wait(Duration::from_secs(3)));
    assert_eq!(ChannelError::Http(HttpError::TimedOut(TIMEOUT)).advice(), Advice::Retry);
    assert_eq!(ChannelError::Http(HttpError::Malformed).advice(), Advice::GiveUp);
    let mail = |is_final| ChannelError::Mail { words: String::new(), is_final };
    assert_eq!((mail(false).advice(), mail(true).advice()), (Advice::Retry, Advice::GiveUp));
}

#[test]
fn words_of_others_are_one_short_line_without_secrets() {
    assert_eq!(words("no\r\nhook /a/s3cret here", &["/a/s3cret", "s3cret", ""]), "no  hook [redacted] here");
    assert_eq!(words(" \n", &[]), "no further words");
    assert_eq!(words(&"x".repeat(5000), &[]).chars().count(), WORDS_CHARS_MAX);
}
