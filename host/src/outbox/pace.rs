//! When a platform takes the next act: what is known of its limits, and what it said by `retry_after`. One [`Pace`] for each
//! connector. Owns no entries and no clock; lost at a restart, which at worst costs one refusal by the platform.

use std::collections::HashMap;
use std::time::Instant;

use crate::action::Act;
use crate::connector::PaceLimits;
use crate::event::{Conversation, ConversationKind};
use crate::rate::{Quota, Rate};

/// Chats that are remembered one by one. A chat is forgotten once its budget is full again and nothing holds it, so more than
/// this many are known only if as many were written to within a minute or so. What comes on top is held to the limits of the
/// whole connector alone, and what the platform holds back then holds back the whole connector.
const CHATS_MAX: usize = 10_000;
/// Fewer are not worth looking through.
const CHATS_SWEPT: usize = 64;

/// What an act costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toll {
    /// A message before people's eyes: of the chat's budget and of the connector's.
    Message,
    /// A request and no message: of the connector's budget only.
    Request,
}

impl Toll {
    /// Returns what an act costs. An edit costs what a message does: Telegram counts both together, see
    /// <https://github.com/tdlib/td/issues/2592>. Of deletions and reactions no limit by chat is known.
    pub fn of<R>(act: &Act<R>) -> Self {
        match act {
            Act::Send { .. } | Act::Edit { .. } => Self::Message,
            Act::Delete { .. } | Act::React { .. } => Self::Request,
        }
    }
}

/// The pace of one connector.
#[derive(Debug)]
pub struct Pace {
    limits: PaceLimits,
    token: Budget,
    /// By the platform's id: the threads of a chat share its limits.
    chats: HashMap<String, Chat>,
    /// How many chats it takes to look for some to forget.
    sweep_at: usize,
    /// When the first of the chats can be forgotten, as far as was known at the last look.
    crowded_until: Option<Instant>,
}

/// Budgets of one chat. Its kind is what a bot says it is, so one that says now this and now that has two; the most that it
/// gains is a refusal by the platform, and it takes nothing from those that say the truth.
#[derive(Debug, Default)]
struct Chat {
    direct: Budget,
    group: Budget,
}

#[derive(Debug, Default)]
struct Budget {
    rate: Option<Rate>,
    held_until: Option<Instant>,
}

impl Budget {
    fn of(quota: Option<Quota>) -> Self {
        Self { rate: quota.map(Rate::within), held_until: None }
    }

    fn earliest(&self, now: Instant) -> Instant {
        let paced = self.rate.as_ref().map_or(now, |rate| now + rate.wait(1, now));
        self.held_until.map_or(paced, |until| paced.max(until))
    }

    fn take(&mut self, now: Instant) {
        if let Some(rate) = &mut self.rate {
            let taken = rate.take(1, now);
            debug_assert!(taken.is_ok(), "it was asked before");
        }
    }

    /// The later of two words of a platform counts: they may be about two requests that were on their way at once.
    fn hold(&mut self, until: Instant) {
        self.held_until = self.held_until.max(Some(until));
    }

    fn busy_until(&self) -> Option<Instant> {
        self.held_until.max(self.rate.as_ref().and_then(Rate::full_at))
    }
}

impl Chat {
    fn budget(&self, kind: ConversationKind) -> &Budget {
        match kind {
            ConversationKind::Direct => &self.direct,
            ConversationKind::Group | ConversationKind::Channel => &self.group,
        }
    }

    fn budget_mut(&mut self, kind: ConversationKind) -> &mut Budget {
        match kind {
            ConversationKind::Direct => &mut self.direct,
            ConversationKind::Group | ConversationKind::Channel => &mut self.group,
        }
    }

    /// What the platform holds back it holds back whatever a bot takes the chat for.
    fn held_until(&self) -> Option<Instant> {
        self.direct.held_until.max(self.group.held_until)
    }

    fn busy_until(&self) -> Option<Instant> {
        self.direct.busy_until().max(self.group.busy_until())
    }
}

impl Pace {
    /// Returns when the connector as a whole takes the next act: now, or later.
    pub fn token_free_at(&self, now: Instant) -> Instant {
        self.token.earliest(now)
    }

    /// Returns the pace of a connector that was not used yet.
    pub fn new(limits: PaceLimits) -> Self {
        let token = Budget::of(limits.token);
        Self { limits, token, chats: HashMap::new(), sweep_at: CHATS_SWEPT, crowded_until: None }
    }

    /// Returns the earliest moment at which an act may leave, as things stand: `now` or later.
    pub fn earliest(&self, conversation: &Conversation, toll: Toll, now: Instant) -> Instant {
        let token = self.token.earliest(now);
        let Some(chat) = self.chats.get(&conversation.id) else { return token };
        let held = chat.held_until().map_or(token, |until| token.max(until));
        match toll {
            Toll::Message => held.max(chat.budget(conversation.kind).earliest(now)),
            Toll::Request => held,
        }
    }

    /// Takes what an act costs, from both budgets or from neither.
    ///
    /// # Errors
    ///
    /// The earliest moment at which it may leave; nothing was taken. Others may be quicker, so ask again then.
    pub fn ask(&mut self, conversation: &Conversation, toll: Toll, now: Instant) -> Result<(), Instant> {
        let earliest = self.earliest(conversation, toll, now);
        if earliest > now {
            return Err(earliest);
        }
        self.token.take(now);
        let kind = conversation.kind;
        if let (Toll::Message, Some(quota)) = (toll, self.chat_quota(kind))
            && let Some(chat) = self.chat(&conversation.id, now)
        {
            let budget = chat.budget_mut(kind);
            budget.rate.get_or_insert_with(|| Rate::within(quota));
            budget.take(now);
        }
        Ok(())
    }

    /// Lets nothing more into a chat before `until`, as the platform said. For its whole chat, whatever the thread.
    pub fn hold_chat(&mut self, conversation: &Conversation, until: Instant, now: Instant) {
        match self.chat(&conversation.id, now) {
            Some(chat) => chat.budget_mut(conversation.kind).hold(until),
            // Rather too much is held back than what the platform said is forgotten.
            None => self.token.hold(until),
        }
    }

    fn chat_quota(&self, kind: ConversationKind) -> Option<Quota> {
        match kind {
            ConversationKind::Direct => self.limits.direct_chat,
            ConversationKind::Group | ConversationKind::Channel => self.limits.group_chat,
        }
    }

    /// Returns what is known of a chat, made if there is room for it.
    fn chat(&mut self, id: &str, now: Instant) -> Option<&mut Chat> {
        if !self.chats.contains_key(id) {
            self.sweep(now);
            if self.chats.len() >= CHATS_MAX {
                return None;
            }
            self.chats.insert(id.to_owned(), Chat::default());
        }
        self.chats.get_mut(id)
    }

    /// Forgets the chats of which nothing needs to be known, seldom enough to cost each new chat the same.
    fn sweep(&mut self, now: Instant) {
        let is_futile = self.chats.len() >= CHATS_MAX && self.crowded_until.is_some_and(|until| now < until);
        if self.chats.len() < self.sweep_at || is_futile {
            return;
        }
        self.chats.retain(|_, chat| chat.busy_until().is_some_and(|until| until > now));
        self.sweep_at = (self.chats.len() * 2).clamp(CHATS_SWEPT, CHATS_MAX);
        self.crowded_until = self.chats.values().filter_map(Chat::busy_until).min();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMITS: PaceLimits = PaceLimits {
        token: Some(Quota::new(5, SECOND, 1)),
        direct_chat: Some(Quota::new(2, SECOND, 2)),
        group_chat: Some(Quota::new(3, Duration::from_secs(6), 1)),
    };

    fn chat(id: impl ToString, kind: ConversationKind) -> Conversation {
        Conversation { connector: "c".parse().unwrap(), id: id.to_string(), kind, title: None, thread: None }
    }

    fn direct(id: impl ToString) -> Conversation {
        chat(id, ConversationKind::Direct)
    }

    fn group(id: impl ToString) -> Conversation {
        chat(id, ConversationKind::Group)
    }

    #[test]
    fn without_limits_everything_leaves_at_once_and_nothing_is_remembered() {
        let (mut pace, now) = (Pace::new(PaceLimits::NONE), Instant::now());
        for id in 0..1000 {
            assert_eq!(pace.ask(&group(id), Toll::Message, now), Ok(()));
        }
        assert!(pace.chats.is_empty());
    }

    #[test]
    fn a_chat_that_waits_holds_up_no_other() {
        let limits = PaceLimits { token: None, ..LIMITS };
        let (mut pace, now) = (Pace::new(limits), Instant::now());
        assert_eq!(pace.ask(&group("a"), Toll::Message, now), Ok(()));
        assert_eq!(pace.ask(&group("a"), Toll::Message, now), Err(now + 2 * SECOND));
        assert_eq!(pace.ask(&chat("a", ConversationKind::Channel), Toll::Message, now), Err(now + 2 * SECOND));
        assert_eq!(pace.ask(&group("b"), Toll::Message, now), Ok(()));
        assert_eq!(pace.ask(&direct("c"), Toll::Message, now), Ok(()));
        assert_eq!(pace.ask(&direct("c"), Toll::Message, now), Ok(()), "a short burst");
        assert_eq!(pace.ask(&direct("c"), Toll::Message, now), Err(now + SECOND));
    }

    #[test]
    fn all_chats_share_the_budget_of_the_token() {
        let (mut pace, now) = (Pace::new(LIMITS), Instant::now());
        assert_eq!(pace.ask(&direct("a"), Toll::Message, now), Ok(()));
        assert_eq!(pace.ask(&direct("b"), Toll::Message, now), Err(now + SECOND / 5));
        assert_eq!(pace.ask(&direct("b"), Toll::Message, now + SECOND / 5), Ok(()));
    }

    #[test]
    fn a_refusal_takes_from_neither_budget() {
        let (mut pace, now) = (Pace::new(LIMITS), Instant::now());
        let later = now + SECOND;
        assert_eq!(pace.ask(&group("a"), Toll::Message, now), Ok(()));
        // The chat refuses: the token still has its one.
        assert!(pace.ask(&group("a"), Toll::Message, later).is_err());
        assert_eq!(pace.ask(&group("b"), Toll::Message, later), Ok(()));
        // The token refuses: the chat still has its one.
        assert!(pace.ask(&group("c"), Toll::Message, later).is_err());
        assert_eq!(pace.ask(&group("c"), Toll::Message, later + SECOND / 5), Ok(()));
    }

    #[test]
    fn the_threads_of_a_chat_share_its_budget() {
        let (mut pace, now) = (Pace::new(LIMITS), Instant::now());
        let thread = Conversation { thread: Some("t".to_owned()), ..group("a") };
        assert_eq!(pace.ask(&thread, Toll::Message, now), Ok(()));
        assert_eq!(pace.ask(&group("a"), Toll::Message, now + SECOND), Err(now + 2 * SECOND));
    }

    #[test]
    fn what_is_no_message_costs_the_chat_nothing() {
        let (mut pace, now) = (Pace::new(LIMITS), Instant::now());
        assert_eq!(Toll::of(&Act::Delete { target: "1" }), Toll::Request);
        assert_eq!(pace.ask(&group("a"), Toll::Request, now), Ok(()));
        assert_eq!(pace.ask(&group("a"), Toll::Message, now), Err(now + SECOND / 5), "but it costs the token");
        assert_eq!(pace.ask(&group("a"), Toll::Message, now + SECOND / 5), Ok(()));
        assert_eq!(pace.ask(&group("a"), Toll::Request, now + 2 * SECOND / 5), Ok(()));
    }

    #[test]
    fn a_chat_is_held_exactly_as_long_as_the_platform_says_and_no_other_is() {
        let (mut pace, now) = (Pace::new(PaceLimits::NONE), Instant::now());
        let until = now + 17 * SECOND;
        pace.hold_chat(&group("a"), until, now);
        pace.hold_chat(&group("a"), now + SECOND, now);
        let thread = Conversation { thread: Some("t".to_owned()), ..group("a") };
        for (held, toll) in [(&group("a"), Toll::Request), (&thread, Toll::Message), (&direct("a"), Toll::Message)] {
            assert_eq!(pace.ask(held, toll, now), Err(until));
            assert_eq!(pace.ask(held, toll, until - Duration::from_nanos(1)), Err(until));
        }
        assert_eq!(pace.ask(&group("b"), Toll::Message, now), Ok(()));
        assert_eq!(pace.ask(&group("a"), Toll::Message, until), Ok(()));
    }

    #[test]
    fn chats_whose_budget_is_full_again_are_forgotten() {
        let (mut pace, mut now) = (Pace::new(PaceLimits { token: None, ..LIMITS }), Instant::now());
        for id in 0..5_000 {
            assert_eq!(pace.ask(&direct(id), Toll::Message, now), Ok(()));
            now += SECOND / 10;
        }
        assert!(pace.chats.len() <= CHATS_SWEPT, "{}", pace.chats.len());
    }

    #[test]
    fn past_the_cap_a_chat_has_no_budget_of_its_own_and_a_hold_holds_all() {
        let (mut pace, now) = (Pace::new(PaceLimits { token: None, ..LIMITS }), Instant::now());
        for id in 0..CHATS_MAX + 100 {
            assert_eq!(pace.ask(&group(id), Toll::Message, now), Ok(()));
        }
        assert_eq!(pace.chats.len(), CHATS_MAX);
        assert_eq!(pace.ask(&group(CHATS_MAX), Toll::Message, now), Ok(()));
        assert!(pace.ask(&group(0), Toll::Message, now).is_err(), "what is known stays known");
        pace.hold_chat(&group("new"), now + SECOND, now);
        assert_eq!(pace.ask(&group("other"), Toll::Message, now), Err(now + SECOND));
        // Once the first are forgotten there is room again.
        let later = now + 2 * SECOND;
        pace.hold_chat(&group("new"), later + SECOND, later);
        assert_eq!(pace.ask(&group("other"), Toll::Message, later), Ok(()));
        assert_eq!(pace.chats.len(), 2);
    }

    proptest! {
        #[test]
        fn no_platform_ever_sees_more_than_it_takes(
            steps in prop::collection::vec((0u64..400, 0u8..4, any::<bool>()), 1..300),
        ) {
            let (mut pace, mut now) = (Pace::new(LIMITS), Instant::now());
            let mut left = Vec::new();
            for (wait_ms, id, is_direct) in steps {
                now += Duration::from_millis(wait_ms);
                // The kind goes with the id, as it does where nobody lies.
                let conversation = if is_direct { direct(format!("d{id}")) } else { group(format!("g{id}")) };
                let earliest = pace.earliest(&conversation, Toll::Message, now);
                match pace.ask(&conversation, Toll::Message, now) {
                    Ok(()) => left.push((now, conversation)),
                    Err(at) => {
                        prop_assert_eq!(at, earliest);
                        prop_assert!(at > now);
                    }
                }
            }
            let seen = |ids: &dyn Fn(&Conversation) -> bool, period: Duration| {
                let of = |from: Instant| left.iter().filter(|(at, chat)| *at >= from && *at < from + period && ids(chat)).count();
                left.iter().map(|(from, _)| of(*from)).max().unwrap_or(0)
            };
            prop_assert!(seen(&|_| true, SECOND) <= 5);
            for id in left.iter().map(|(_, chat)| chat.id.clone()).collect::<HashSet<_>>() {
                let (most, period) = if id.starts_with('d') { (2, SECOND) } else { (3, 6 * SECOND) };
                prop_assert!(seen(&|chat| chat.id == id, period) <= most, "{id}");
            }
        }

        #[test]
        fn what_is_told_to_come_again_may_leave_then(asks in prop::collection::vec((0u64..300, 0u8..3), 1..60)) {
            let (mut pace, mut now) = (Pace::new(LIMITS), Instant::now());
            for (wait_ms, id) in asks {
                now += Duration::from_millis(wait_ms);
                if let Err(at) = pace.ask(&group(id), Toll::Message, now) {
                    prop_assert_eq!(pace.ask(&group(id), Toll::Message, at - Duration::from_nanos(1)), Err(at));
                    prop_assert_eq!(pace.ask(&group(id), Toll::Message, at), Ok(()));
                    now = at;
                }
            }
        }
    }
}
