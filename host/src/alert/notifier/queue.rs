//! The notices that wait for one channel. Past its end the oldest are merged into the numbers of the newest: what is told late is told
//! by number. Pure.

use std::collections::{BTreeSet, VecDeque};

use tokio::time::Instant;

use super::attempts::Attempts;
use crate::alert::notice::Notice;
use crate::id::ChannelName;

/// Notices that wait.
pub(super) const QUEUE_MAX: usize = 16;

/// A notice that is to be sent.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) notice: Notice,
    /// When it came.
    pub(super) since: Instant,
    pub(super) attempts: Attempts,
    /// It is not tried before.
    pub(super) not_before: Instant,
    /// The channels that gave it up.
    pub(super) had: BTreeSet<ChannelName>,
}

impl Pending {
    pub(super) fn new(notice: Notice, now: Instant) -> Self {
        Self { notice, since: now, attempts: Attempts::default(), not_before: now, had: BTreeSet::new() }
    }
}

/// What waits, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Pending>,
}

impl Queue {
    /// Adds a notice. Returns whether an older one had to be merged into it for want of room. The first is left alone if it is on its
    /// way.
    pub(super) fn push(&mut self, mut pending: Pending, is_first_on_its_way: bool) -> bool {
        let oldest =
            if self.waiting.len() >= QUEUE_MAX { self.waiting.remove(usize::from(is_first_on_its_way)) } else { None };
        if let Some(oldest) = &oldest {
            pending.notice.content.more.merge(oldest.notice.content.counted());
        }
        self.waiting.push_back(pending);
        oldest.is_some()
    }

    pub(super) fn first(&self) -> Option<&Pending> {
        self.waiting.front()
    }

    pub(super) fn first_mut(&mut self) -> Option<&mut Pending> {
        self.waiting.front_mut()
    }

    pub(super) fn pop(&mut self) -> Option<Pending> {
        self.waiting.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::notice::More;
    use crate::clock::Timestamp;

    #[test]
    fn past_the_end_the_oldest_are_merged_into_a_count_and_what_is_on_its_way_is_left_alone() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let mut ids = Vec::new();
        for number in 0..100 {
            let mut notice = Notice::test("h", Timestamp::from_millis(number));
            notice.content.more = More { critical: 1, ..More::default() };
            ids.push(notice.id);
            assert_eq!(queue.push(Pending::new(notice, now), true), number >= QUEUE_MAX as u64);
            assert!(queue.len() <= QUEUE_MAX);
        }
        assert_eq!(queue.first().map(|pending| pending.notice.id), Some(ids[0]));
        let (mut critical, mut merged) = (0, 0);
        while let Some(pending) = queue.pop() {
            critical += pending.notice.content.more.critical;
            merged += pending.notice.content.more.notices_merged;
        }
        assert_eq!((critical, merged), (100, 100 - QUEUE_MAX as u64));
    }
}
