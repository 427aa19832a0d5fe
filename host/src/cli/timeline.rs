//! The story of one event as lines for people, one a step, each with the time since the reception. Pure.

use bothost::admin::{HandlingView, SendView, StoryView};
use bothost::logs::escape;

use super::table::{CELL_CHARS_MAX, cut};

/// One step. Those without a moment stand where they are told.
struct Step {
    at_ms: Option<i64>,
    text: String,
}

/// Returns the steps in the order of time, what is still to come last.
pub(super) fn of(story: &StoryView) -> String {
    let begin = millis(&story.received_at).unwrap_or_default();
    let teller = Teller { begin };
    let mut steps = Vec::new();
    let mut ahead = Vec::new();
    for handling in &story.handlings {
        teller.handling(handling, &mut steps, &mut ahead);
    }
    if story.handlings.is_empty() {
        ahead.push(Step::open("no bot hears it".to_owned()));
    }
    // Stable: what happened in one millisecond stays in the order of cause and effect.
    steps.sort_by_key(|step| step.at_ms);
    let head = [Step::open(format!("event {}, received {}", story.event, story.received_at)), received(story)];
    let steps = head.into_iter().chain(duplicates(story)).chain(steps).chain(ahead);
    steps.map(|step| step.line()).collect::<Vec<_>>().join("\n")
}

impl Step {
    fn open(text: String) -> Self {
        Self { at_ms: None, text }
    }

    fn line(&self) -> String {
        let since = self.at_ms.map(since).unwrap_or_default();
        format!("{since:>10}  {}", escape(&self.text))
    }
}

fn since(ms: i64) -> String {
    match ms {
        ..10_000 => format!("{ms:+} ms"),
        10_000..600_000 => format!("{:+.1} s", ms as f64 / 1e3),
        600_000.. => format!("{:+.1} min", ms as f64 / 6e4),
    }
}

fn received(story: &StoryView) -> Step {
    let from = story.connector.as_deref().map_or_else(|| "a timer".to_owned(), |key| format!("connector {key}"));
    let mut text = format!("received from {from}");
    if let Some(id) = &story.platform_id {
        text += &format!(", platform id {id}");
    }
    match (&story.kind, &story.conversation, &story.text) {
        (Some(kind), Some(conversation), Some(said)) => text += &format!(": {kind} in {conversation}: {said}"),
        (Some(kind), None, Some(said)) => text += &format!(": {kind} {said}"),
        _ => text += ": what is stored of it cannot be trusted",
    }
    Step { at_ms: Some(0), text }
}

fn duplicates(story: &StoryView) -> Option<Step> {
    let text = match story.duplicates {
        0 => return None,
        1 => "delivered again by the platform, and dropped as a duplicate".to_owned(),
        count => format!("delivered again by the platform {count} times, and dropped as a duplicate each time"),
    };
    Some(Step::open(text))
}

/// Tells what came after the reception.
struct Teller {
    /// When that was, in milliseconds since the epoch.
    begin: i64,
}

impl Teller {
    fn step(&self, at: &str, text: String) -> Step {
        Step { at_ms: millis(at).map(|at| at - self.begin), text }
    }

    fn handling(&self, handling: &HandlingView, steps: &mut Vec<Step>, ahead: &mut Vec<Step>) {
        let HandlingView { bot, attempts, .. } = handling;
        let waited =
            handling.waited_ms.map(|ms| format!(", after {ms:.1} ms in the queue at priority {}", handling.priority));
        let mut waited = waited.unwrap_or_default();
        for fault in &handling.faults {
            let said = cut(&fault.message.replace('\n', " "), CELL_CHARS_MAX);
            steps.push(self.step(
                &fault.at,
                match fault.attempt {
                    0 => format!("{bot}: given up without an attempt: {}: {said}", fault.outcome),
                    number => format!(
                        "{bot}: attempt {number} {} in {:.1} ms, fuel {}{}: {said}",
                        fault.outcome,
                        fault.elapsed_ms,
                        fault.fuel,
                        std::mem::take(&mut waited)
                    ),
                },
            ));
        }
        let ended_at = handling.ended_at.as_deref().unwrap_or_default();
        match handling.state.as_str() {
            "done" => {
                let (ms, fuel) = (handling.elapsed_ms.unwrap_or_default(), handling.fuel.unwrap_or_default());
                steps.push(
                    self.step(ended_at, format!("{bot}: attempt {attempts} ok in {ms:.1} ms, fuel {fuel}{waited}")),
                );
            }
            "dead" => steps.push(self.step(ended_at, format!("{bot}: a dead letter; see `host dlq show`"))),
            "unwanted" => ahead.push(Step::open(format!("{bot}: does not want such events"))),
            _ => ahead.push(Step::open(format!("{bot}: waits, or is at work{}", self.due(handling.due.as_deref())))),
        }
        // They were committed with the attempt that went well, by a clock that the wall clock may have left.
        let committed_at = handling.ended_at.as_deref().filter(|_| handling.state == "done");
        let at = |send: &SendView| committed_at.unwrap_or(&send.committed_at).to_owned();
        handling.sends.iter().for_each(|found| self.send(bot, found, &at(found), steps, ahead));
    }

    fn send(&self, bot: &str, send: &SendView, committed_at: &str, steps: &mut Vec<Step>, ahead: &mut Vec<Step>) {
        let SendView { id, connector, .. } = send;
        let kind = send.kind.as_deref().unwrap_or("something that cannot be trusted");
        let to = send.conversation.as_deref().map(|at| format!(" in {at}")).unwrap_or_default();
        let said = send.text.as_deref().map(|text| format!(": {}", cut(text, CELL_CHARS_MAX))).unwrap_or_default();
        steps.push(self.step(committed_at, format!("{bot}: outbox entry {id}: {kind} through {connector}{to}{said}")));
        let tries = if send.attempts == 1 { "1 try".to_owned() } else { format!("{} tries", send.attempts) };
        let ended_at = send.ended_at.as_deref().unwrap_or_default();
        match send.state.as_str() {
            "delivered" => {
                let id_there = send.platform_id.as_deref().map(|id| format!(" as {id}")).unwrap_or_default();
                steps.push(self.step(ended_at, format!("entry {id} delivered{id_there} in {tries}")));
            }
            "lost" => {
                let reason = send.reason.as_deref().unwrap_or("no reason given");
                let detail = send.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
                steps.push(
                    self.step(ended_at, format!("entry {id} lost: {reason}{detail}; see `host outbox show {id}`")),
                );
            }
            "perhaps-sent" => {
                ahead.push(Step::open(format!("entry {id} was handed over; whether it arrived is not known")))
            }
            _ => ahead.push(Step::open(format!("entry {id} waits after {tries}{}", self.due(send.due.as_deref())))),
        }
    }

    fn due(&self, due: Option<&str>) -> String {
        let due = due.and_then(millis).map(|due| format!(", not before {}", since(due - self.begin)));
        due.unwrap_or_default()
    }
}

/// Returns the milliseconds of a moment in RFC 3339.
fn millis(moment: &str) -> Option<i64> {
    moment.parse::<jiff::Timestamp>().ok().map(|moment| moment.as_millisecond())
}

#[cfg(test)]
mod tests {
    use bothost::admin::AttemptView;

    use super::*;

    #[test]
    fn the_steps_are_told_in_the_order_of_time() {
        let moment = |text: &str| format!("2026-11-21T12:00:{text}Z");
        let fault = AttemptView {
            attempt: 1,
            at: moment("00.021"),
            elapsed_ms: 1.5,
            fuel: 20,
            outcome: "trapped".into(),
            message: "wasm `unreachable`\nat \u{1b}[2J".into(),
            backtrace: Vec::new(),
        };
        let send = |id, state: &str| SendView {
            id,
            connector: "tg".into(),
            conversation: Some("7".into()),
            kind: Some("send".into()),
            text: Some("hi".into()),
            state: state.into(),
            attempts: 1,
            committed_at: moment("00.600"),
            ..SendView::default()
        };
        let delivered =
            SendView { platform_id: Some("m-1".into()), ended_at: Some(moment("12.000")), ..send(17, "delivered") };
        let done = HandlingView {
            bot: "echo".into(),
            priority: "high".into(),
            state: "done".into(),
            ended_at: Some(moment("00.600")),
            waited_ms: Some(19.5),
            elapsed_ms: Some(2.0),
            fuel: Some(300),
            attempts: 2,
            faults: vec![fault],
            sends: vec![delivered, SendView { due: Some(moment("30.000")), ..send(18, "waiting") }],
            ..HandlingView::default()
        };
        let story = StoryView {
            event: "0198".into(),
            connector: Some("tg".into()),
            platform_id: Some("u-1".into()),
            received_at: moment("00.000"),
            kind: Some("message".into()),
            conversation: Some("7".into()),
            text: Some("!once".into()),
            duplicates: 2,
            handlings: vec![
                done,
                HandlingView { bot: "deaf".into(), state: "unwanted".into(), ..HandlingView::default() },
            ],
        };
        let expected = r"
            event 0198, received 2026-11-21T12:00:00.000Z
     +0 ms  received from connector tg, platform id u-1: message in 7: !once
            delivered again by the platform 2 times, and dropped as a duplicate each time
    +21 ms  echo: attempt 1 trapped in 1.5 ms, fuel 20, after 19.5 ms in the queue at priority high: wasm `unreachable` at \u{1b}[2J
   +600 ms  echo: attempt 2 ok in 2.0 ms, fuel 300
   +600 ms  echo: outbox entry 17: send through tg in 7: hi
   +600 ms  echo: outbox entry 18: send through tg in 7: hi
   +12.0 s  entry 17 delivered as m-1 in 1 try
            entry 18 waits after 1 try, not before +30.0 s
            deaf: does not want such events";
        assert_eq!(of(&story), expected.trim_start_matches('\n'));
    }

    #[test]
    fn an_event_that_nobody_hears_is_said_so() {
        let story = StoryView { received_at: "2026-11-21T12:00:00Z".into(), ..StoryView::default() };
        assert!(of(&story).ends_with("no bot hears it"), "{}", of(&story));
    }
}
