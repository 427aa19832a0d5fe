//! The trait that a bot implements. It owns the way from an event to the method that handles it.

use crate::{
    ButtonPress, Command, CustomEvent, Event, EventKind, Manifest, MemberChange, Message, Reaction, Result,
    StartReason, TimerFired, WebhookRequest,
};

/// A bot: what it is, and what it does about each kind of event.
///
/// No method has a `self`: each event meets a fresh instance, and what must last goes into [`state`](crate::state).
/// Implement `describe` and the methods of the kinds you care for; the others accept their event and do nothing.
///
/// An error, a panic or an exceeded limit discards what the method has gathered, and the event is tried again, at most
/// `queue.max_attempts` times. So answer a user's mistake with a message, and keep errors for what trying again may mend.
pub trait Bot {
    /// Returns what the bot is: name, version, commands, wanted events.
    ///
    /// The host calls it when it loads the component, with little fuel and nothing granted: only [`log`](crate::log) works
    /// here. It must depend on nothing but the code.
    fn describe() -> Manifest;

    /// Prepares the bot, as a transaction of its own: it may write state and set timers.
    ///
    /// Called once per start or swap, not once per event. Does nothing by default.
    ///
    /// # Errors
    ///
    /// A failure keeps the bot from starting; the supervisor tries again with growing pauses.
    fn init(_reason: StartReason) -> Result {
        Ok(())
    }

    /// Handles one attempt of one event. By default it calls the method of the event's kind.
    ///
    /// Override it to see what all kinds have in common, such as [`Event::id`] or [`Event::attempt`].
    ///
    /// # Errors
    ///
    /// Those of the method that it calls.
    fn handle(event: &Event) -> Result {
        match &event.kind {
            EventKind::Message(message) => Self::on_message(message),
            EventKind::Command(command) => Self::on_command(command),
            EventKind::Edited(message) => Self::on_edited(message),
            EventKind::Reaction(reaction) => Self::on_reaction(reaction),
            EventKind::Member(change) => Self::on_member(change),
            EventKind::Button(press) => Self::on_button(press),
            EventKind::Timer(timer) => Self::on_timer(timer),
            EventKind::Webhook(request) => Self::on_webhook(request),
            EventKind::Custom(custom) => Self::on_custom(custom),
        }
    }

    /// Handles a message that is no command of this bot.
    ///
    /// # Errors
    ///
    /// Whatever the bot fails with; the event is tried again.
    fn on_message(_message: &Message) -> Result {
        Ok(())
    }

    /// Handles a command that the manifest declares.
    ///
    /// By default it hands the whole text to [`on_message`](Bot::on_message). So a bot that takes texts apart itself can
    /// declare commands, for people to read, without the messages vanishing.
    ///
    /// # Errors
    ///
    /// Whatever the bot fails with; the event is tried again.
    fn on_command(command: &Command) -> Result {
        Self::on_message(&command.message)
    }

    /// Handles a message that its sender has changed; it carries the new text.
    ///
    /// # Errors
    ///
    /// Whatever the bot fails with; the event is tried again.
    fn on_edited(_message: &Message) -> Result {
        Ok(())
    }

    /// Handles a reaction put on a message or taken off it.
    ///
    /// # Errors
    ///
    /// Whatever the bot fails with; the event is tried again.
    fn on_reaction(_reaction: &Reaction) -> Result {
        Ok(())
    }

    /// Handles somebody joining or leaving a conversation.
    ///
    /// # Errors
    ///
    /// Whatever the bot fails with; the event is tried again.
    fn on_member(_change: &MemberChange) -> Result {
        Ok(())
    }

    /// Handles a press of a button that this bot has sent.
    ///
    /// # Errors
    ///
    /// Whatever the bot fails with; the event is tried again.
    fn on_button(_press: &ButtonPress) -> Result {
        Ok(())
    }

    /// Handles a timer of this bot that is due.
    ///
    /// # Errors
    ///
    /// Whatever the bot fails with; the event is tried again.
    fn on_timer(_timer: &TimerFired) -> Result {
        Ok(())
    }

    /// Handles a request that came to a webhook connector.
    ///
    /// # Errors
    ///
    /// Whatever the bot fails with; the event is tried again.
    fn on_webhook(_request: &WebhookRequest) -> Result {
        Ok(())
    }

    /// Handles something that only one platform has; [`messaging::raw`](crate::messaging::raw) gives its JSON.
    ///
    /// # Errors
    ///
    /// Whatever the bot fails with; the event is tried again.
    fn on_custom(_custom: &CustomEvent) -> Result {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    struct Listener;

    impl Bot for Listener {
        fn describe() -> Manifest {
            Manifest::new("listener", "1.0.0").command("hear", "is heard", "")
        }

        fn on_message(message: &Message) -> Result {
            message.answer(format!("heard {}", message.text))?;
            Ok(())
        }
    }

    #[test]
    fn a_declared_command_falls_back_to_the_message_with_its_whole_text() {
        let mut host = Host::<Listener>::new();
        host.message("lobby", "alice", "!hear  me").expect("accepted");
        assert_eq!(host.sent_texts(), ["heard !hear  me"]);
    }

    #[test]
    fn kinds_without_a_method_are_accepted_and_do_nothing() {
        let mut host = Host::<Listener>::new();
        host.deliver(EventKind::Custom(CustomEvent { connector: "console".into(), name: "poke".into() }))
            .expect("accepted");
        assert!(host.sent().is_empty());
    }
}
