//! Server-sent events as they come: pure, fed with pieces that are cut anywhere.

/// The longest event that is kept; of a longer one nothing is.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerEvent {
    /// What it is called; empty where it has no name.
    pub name: String,
    /// What it says.
    pub data: String,
}

/// What was received of a stream of events.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    /// The line that has begun.
    line: Vec<u8>,
    event: ServerEvent,
    has_data: bool,
    /// The line before ended in a carriage return, so that a line feed now ends nothing.
    was_return: bool,
    bytes: usize,
}

impl EventReader {
    /// Takes the next piece and returns the events that it completes.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Vec<ServerEvent> {
        let mut complete = Vec::new();
        for &byte in piece {
            match byte {
                b'\n' if self.was_return => self.was_return = false,
                b'\n' | b'\r' => {
                    self.was_return = byte == b'\r';
                    complete.extend(self.end_line());
                }
                byte => {
                    self.was_return = false;
                    self.bytes += 1;
                    if self.bytes <= EVENT_BYTES_MAX {
                        self.line.push(byte);
                    }
                }
            }
        }
        complete
    }

    fn end_line(&mut self) -> Option<ServerEvent> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            let is_whole = std::mem::take(&mut self.bytes) <= EVENT_BYTES_MAX;
            return (std::mem::take(&mut self.has_data) && is_whole).then_some(event);
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = value.to_owned(),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // A comment, or what nobody here needs.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str =
        ": what was\n\ndata: {\"a\":1}\n\nevent: lost\r\ndata: one\r\ndata:two\r\n\r\nevent: empty\n\n";

    fn event(name: &str, data: &str) -> ServerEvent {
        ServerEvent { name: name.to_owned(), data: data.to_owned() }
    }

    fn expected() -> Vec<ServerEvent> {
        vec![event("", "{\"a\":1}"), event("lost", "one\ntwo")]
    }

    #[test]
    fn events_are_told_apart_and_comments_left_out() {
        assert_eq!(EventReader::default().feed(STREAM.as_bytes()), expected());
    }

    #[test]
    fn an_event_without_an_end_takes_a_bounded_room_and_the_next_one_is_whole() {
        let mut reader = EventReader::default();
        let long = format!("data: {}", "x".repeat(EVENT_BYTES_MAX + 10));
        assert_eq!(reader.feed(long.as_bytes()), []);
        assert!(reader.line.len() <= EVENT_BYTES_MAX);
        assert_eq!(reader.feed(b"\n\ndata: y\n\n"), [event("", "y")]);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_pieces_are_cut(cuts in proptest::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut reader = EventReader::default();
            let (mut events, mut from) = (Vec::new(), 0);
            for cut in cuts.into_iter().chain([STREAM.len()]) {
                events.extend(reader.feed(&STREAM.as_bytes()[from..cut]));
                from = cut;
            }
            prop_assert_eq!(events, expected());
        }
    }
}
