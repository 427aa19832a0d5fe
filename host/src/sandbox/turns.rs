//! The slots of live instances, and whose turn it is to have one. Who is next is decided in `rota`; here the slots are
//! counted, and waiters are woken.
//!
//! A slot is free only while nobody waits: a turn that ends goes straight to the next waiter. It belongs to whoever holds the
//! [`Turn`], on its way through the channel too, so a waiter that is cancelled at any moment drops what it was given, and
//! that passes it on.

mod rota;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use self::rota::{Rota, WaiterKey};
use crate::action::Priority;
use crate::id::BotName;

/// A number of slots that bots take in turns. Cheap to clone.
#[derive(Clone)]
pub(super) struct Turns(Arc<Mutex<Slots>>);

struct Slots {
    free: usize,
    rota: Rota<oneshot::Sender<Turn>>,
}

impl Turns {
    /// Returns `slots` free slots.
    pub(super) fn new(slots: usize) -> Self {
        Self(Arc::new(Mutex::new(Slots { free: slots, rota: Rota::new() })))
    }

    /// Waits for the bot's turn to have a slot. Bots take turns by their priority, see [`Rota`]; a bot's own waiters are
    /// served as they came. Cancel safe: who stops waiting leaves nothing behind.
    pub(super) async fn take(&self, bot: &BotName, priority: Priority) -> Turn {
        let (key, receiver) = {
            let mut slots = self.lock();
            if slots.free > 0 {
                slots.free -= 1;
                return Turn { turns: self.clone() };
            }
            let (sender, receiver) = oneshot::channel();
            (slots.rota.join(bot, priority, sender), receiver)
        };
        let mut waiter = Waiter { turns: self, key, receiver };
        (&mut waiter.receiver).await.expect("the sender is dropped by this waiter only")
    }

    /// Gives a slot to whose turn it is; nobody waiting, it is free.
    fn pass_on(&self) {
        let next = {
            let mut slots = self.lock();
            let next = slots.rota.next();
            if next.is_none() {
                slots.free += 1;
            }
            next
        };
        if let Some(sender) = next {
            // Outside of the lock. A waiter that left in between sends the turn back, and dropping it passes it on.
            drop(sender.send(Turn { turns: self.clone() }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        // Nothing panics half-way in here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot that is held; dropped, it is the next one's.
pub(super) struct Turn {
    turns: Turns,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.pass_on();
    }
}

/// Who waits. Dropped, it is out of the rota, and a turn that it was given meanwhile is dropped with the channel.
struct Waiter<'a> {
    turns: &'a Turns,
    key: WaiterKey,
    receiver: oneshot::Receiver<Turn>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let sender = self.turns.lock().rota.leave(&self.key);
        // After the lock: it may wake.
        drop(sender);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;

    fn bot(name: &str) -> BotName {
        name.parse().unwrap()
    }

    fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// How many slots can be taken at once.
    fn free(turns: &Turns) -> usize {
        let name = bot("counts");
        let mut held = Vec::new();
        while let Poll::Ready(turn) = poll(pin!(turns.take(&name, Priority::Normal))) {
            held.push(turn);
        }
        held.len()
    }

    #[test]
    fn there_are_as_many_turns_as_slots() {
        let turns = Turns::new(3);
        assert_eq!(free(&turns), 3);
        assert_eq!(free(&turns), 3, "they were given back");
    }

    #[test]
    fn a_waiter_that_leaves_before_its_turn_takes_none() {
        let (turns, name) = (Turns::new(1), bot("a"));
        let held = poll(pin!(turns.take(&name, Priority::Normal)));
        let mut first = Box::pin(turns.take(&name, Priority::Normal));
        let mut second = Box::pin(turns.take(&name, Priority::Normal));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        drop(first);
        drop(held);
        assert!(poll(second.as_mut()).is_ready());
    }

    #[test]
    fn waiters_that_left_take_no_room_while_no_slot_comes_free() {
        let turns = Turns::new(0);
        for number in 0..100 {
            let name = bot(&format!("bot-{number}"));
            assert!(poll(pin!(turns.take(&name, Priority::Normal))).is_pending());
        }
        assert!(turns.lock().rota.next().is_none(), "nobody waits");
    }

    #[test]
    fn a_waiter_that_leaves_after_it_was_woken_passes_its_turn_on() {
        let (turns, name) = (Turns::new(1), bot("a"));
        let held = poll(pin!(turns.take(&name, Priority::Normal)));
        let mut first = Box::pin(turns.take(&name, Priority::Normal));
        let mut second = Box::pin(turns.take(&name, Priority::Normal));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        drop(held);
        drop(first);
        assert!(poll(second.as_mut()).is_ready());
        drop(second);
        assert_eq!(free(&turns), 1);
    }

    #[test]
    fn a_bot_with_many_waiters_does_not_delay_another_by_more_than_its_turn() {
        let (turns, many, one) = (Turns::new(1), bot("many"), bot("one"));
        let mut held = match poll(pin!(turns.take(&many, Priority::Normal))) {
            Poll::Ready(turn) => turn,
            Poll::Pending => panic!("it is free"),
        };
        let mut backlog: Vec<_> = (0..500).map(|_| Box::pin(turns.take(&many, Priority::Normal))).collect();
        assert!(backlog.iter_mut().all(|waiter| poll(waiter.as_mut()).is_pending()));
        let mut other = Box::pin(turns.take(&one, Priority::Normal));
        assert!(poll(other.as_mut()).is_pending());
        drop(held);
        held = match poll(backlog[0].as_mut()) {
            Poll::Ready(turn) => turn,
            Poll::Pending => panic!("its place was first"),
        };
        drop(held);
        assert!(poll(other.as_mut()).is_ready());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_slot_is_lost_or_made_where_waiters_are_cancelled_at_any_moment() {
        const SLOTS: usize = 3;
        let turns = Turns::new(SLOTS);
        let held = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..200_u64 {
            let (turns, held) = (turns.clone(), Arc::clone(&held));
            tasks.spawn(async move {
                let mut random = fastrand::Rng::with_seed(number);
                let name = bot(&format!("bot-{}", number % 7));
                for _ in 0..50 {
                    let patience = random.u32(0..40);
                    let take = turns.take(&name, Priority::Normal);
                    // Gives up after a number of polls: no clock says when.
                    let give_up = async {
                        for _ in 0..patience {
                            tokio::task::yield_now().await;
                        }
                    };
                    tokio::select! {
                        turn = take => {
                            let before = held.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            assert!(before < SLOTS);
                            tokio::task::yield_now().await;
                            held.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                            drop(turn);
                        }
                        () = give_up => {}
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert_eq!(free(&turns), SLOTS);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is taken, polled, dropped and given back in whatever order: a slot is idle only while nobody waits, and at
        /// the end all are free.
        #[test]
        fn slots_are_neither_lost_nor_idle(slots in 1..4_usize, steps in prop::collection::vec((0..4_u8, 0..64_usize), 0..200)) {
            let turns = Turns::new(slots);
            let names = ["a", "b", "c"].map(bot);
            let (mut waiting, mut held) = (Vec::new(), Vec::new());
            for (verb, which) in steps {
                match verb {
                    0 | 1 => waiting.push(Box::pin(turns.take(&names[which % 3], Priority::High))),
                    2 if !waiting.is_empty() => drop(waiting.swap_remove(which % waiting.len())),
                    3 if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                    _ => {}
                }
                // Where each is asked but for one, that one may hold a turn it does not know of.
                let skipped = which % 5;
                let mut number = 0;
                waiting.retain_mut(|waiter| {
                    number += 1;
                    match (number != skipped).then(|| poll(waiter.as_mut())) {
                        Some(Poll::Ready(turn)) => {
                            held.push(turn);
                            false
                        }
                        _ => true,
                    }
                });
                prop_assert!(held.len() <= slots);
            }
            waiting.retain_mut(|waiter| match poll(waiter.as_mut()) {
                Poll::Ready(turn) => {
                    held.push(turn);
                    false
                }
                Poll::Pending => true,
            });
            prop_assert!(waiting.is_empty() || held.len() == slots);
            drop((waiting, held));
            prop_assert_eq!(free(&turns), slots);
        }
    }
}
