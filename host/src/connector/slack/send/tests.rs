use super::*;
use crate::action::Priority;
use crate::event::ConversationKind;

fn at(thread: Option<&str>) -> Conversation {
    Conversation {
        connector: "chat".parse().unwrap(),
        id: "C1".to_owned(),
        kind: ConversationKind::Channel,
        title: None,
        thread: thread.map(str::to_owned),
    }
}

fn outgoing(text: &str) -> Outgoing<String> {
    Outgoing {
        text: text.to_owned(),
        format: TextFormat::Plain,
        buttons: Vec::new(),
        uploads: Vec::new(),
        reply_to: None,
        priority: Priority::Normal,
        expires_after: None,
    }
}

fn button(label: &str, data: &str) -> Button {
    Button { label: label.to_owned(), data: data.to_owned() }
}

#[test]
fn a_text_is_escaped_and_carries_the_key_of_its_delivery() {
    let posted = messages(&at(None), &outgoing("<!channel> & you"), 0xab).unwrap();
    assert_eq!(
        posted,
        [json!({"channel": "C1", "text": "&lt;!channel&gt; &amp; you", "mrkdwn": false,
            "metadata": {"event_type": "bothost", "event_payload": {"key": "ab-0"}}})]
    );
    let marked = Outgoing { format: TextFormat::Markdown, ..outgoing("*b*") };
    assert_eq!(messages(&at(None), &marked, 1).unwrap()[0]["mrkdwn"], true);
}

#[test]
fn an_answer_goes_to_its_thread_and_one_to_a_command_to_the_channel() {
    let thread = |at: &Conversation, reply_to: &str| {
        let message = Outgoing { reply_to: Some(reply_to.to_owned()), ..outgoing("x") };
        messages(at, &message, 1).unwrap()[0]["thread_ts"].as_str().map(str::to_owned)
    };
    assert_eq!(thread(&at(None), "1.2").as_deref(), Some("1.2"));
    assert_eq!(thread(&at(Some("1.0")), "1.2").as_deref(), Some("1.0"));
    assert_eq!(thread(&at(None), "/13.x"), None);
}

#[test]
fn a_long_text_is_several_messages_with_the_buttons_under_the_last() {
    let message = Outgoing { buttons: vec![vec![button("Yes", "y")]], ..outgoing(&"word ".repeat(1500)) };
    let posted = messages(&at(None), &message, 1).unwrap();
    assert_eq!(posted.len(), 3);
    assert!(posted[..2].iter().all(|message| message.get("blocks").is_none()));
    assert_eq!(posted[2]["blocks"][1]["elements"][0]["value"], "y");
    assert_eq!(posted[1]["metadata"]["event_payload"]["key"], "1-1");
    let endless = outgoing(&"x".repeat(CHARS_MAX * PIECES_MAX + 1));
    assert!(matches!(messages(&at(None), &endless, 1), Err(DeliveryError::BadRequest(_))));
    let plain = messages(&at(None), &outgoing(&"x".repeat(CHARS_MAX)), 1).unwrap();
    assert_eq!(plain.len(), 1);
}

#[test]
fn what_stands_above_buttons_fits_also_when_it_is_escaped() {
    let message = Outgoing { buttons: vec![vec![button("Yes", "y")]], ..outgoing(&"&".repeat(2999)) };
    for posted in messages(&at(None), &message, 1).unwrap() {
        assert!(posted["text"].as_str().unwrap().chars().count() <= SECTION_CHARS_MAX);
    }
}

#[test]
fn buttons_that_slack_does_not_take_are_numbered_lines() {
    let many = (0..60).map(|number| vec![button(&number.to_string(), "x")]).collect();
    for buttons in [vec![vec![button(&"x".repeat(76), "")]], vec![vec![button("a", &"x".repeat(2001))]], many] {
        let message = Outgoing { buttons, ..outgoing("Choose") };
        let posted = messages(&at(None), &message, 1).unwrap();
        assert!(posted[0].get("blocks").is_none() && posted[0]["text"].as_str().unwrap().contains("\n1. "));
    }
    let wide = Outgoing { buttons: vec![(0..26).map(|_| button("a", "")).collect()], ..outgoing("Choose") };
    let posted = messages(&at(None), &wide, 1).unwrap();
    assert_eq!(posted[0]["blocks"].as_array().unwrap().len(), 3, "25 of them are in one block");
    assert!(posted[0]["blocks"][1]["elements"][0].get("value").is_none());
}

#[test]
fn an_edit_is_one_message_and_takes_buttons_away() {
    let edited = edit(&at(None), "1.2", &outgoing("new")).unwrap();
    assert_eq!((&edited["ts"], &edited["blocks"]), (&json!("1.2"), &json!([])));
    for text in ["", &"x".repeat(CHARS_MAX + 1)] {
        assert!(matches!(edit(&at(None), "1.2", &outgoing(text)), Err(DeliveryError::BadRequest(_))));
    }
}

#[test]
fn emoji_have_names() {
    for (given, expected) in [
        ("thumbsup", "thumbsup"),
        (":+1:", "+1"),
        ("👍", "thumbsup"),
        ("❤\u{fe0f}", "heart"),
        (":wave::skin-tone-2:", "wave::skin-tone-2"),
    ] {
        assert_eq!(emoji_name(given), Ok(expected));
    }
    for bad in ["", "::", "🦀", "a b"] {
        assert!(matches!(emoji_name(bad), Err(DeliveryError::BadRequest(_))), "{bad}");
    }
}

#[test]
fn only_what_slack_numbers_is_a_message() {
    for (text, expected) in [("1700000000.000100", true), ("1.", false), (".1", false), ("/1.2", false), ("1", false)] {
        assert_eq!(is_ts(text), expected, "{text}");
    }
}
