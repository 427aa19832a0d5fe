//! The order in which things that wait are taken: one after another within a lane, side by side across lanes. A lane is a
//! conversation in one class of priority. Pure; both the queue and the outbox keep their order with it.
//!
//! ```text
//! push ─► ready ─take─► at work ─finish─► gone, and the next of its lane is ready
//!           ▲              │
//!           └─── due ── waiting (held until a moment, and everything behind it)
//! ```
//!
//! Among the classes that have something ready, turns go 8 : 4 : 2 : 1. So `low` gets at least one turn in fifteen, however
//! much there is of the others.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::action::Priority;
use crate::clock::Timestamp;
use crate::event::LaneKey;

/// Turns of each class in one round, from `low` to `critical`.
const TURNS: [u8; 4] = [1, 2, 4, 8];

/// Names a lane: what is ordered, and in which class.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LaneId {
    pub(super) key: LaneKey,
    pub(super) priority: Priority,
}

/// Things that wait, lane by lane.
#[derive(Debug, Clone)]
pub(super) struct Lanes<T> {
    lanes: HashMap<LaneId, Lane<T>>,
    /// Lanes whose first thing can be taken, by class, in the order they became so.
    ready: [VecDeque<LaneKey>; 4],
    /// Lanes whose first thing waits for a moment.
    waiting: BTreeSet<(Timestamp, LaneId)>,
    /// Turns that each class has left in this round.
    turns: [u8; 4],
    len: usize,
    at_work: usize,
}

/// Things of one lane. A lane without any does not exist.
#[derive(Debug, Clone)]
struct Lane<T> {
    things: VecDeque<T>,
    /// Where the first one stands.
    first: First,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Ready,
    AtWork,
    Waiting(Timestamp),
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            ready: Default::default(),
            waiting: BTreeSet::new(),
            turns: TURNS,
            len: 0,
            at_work: 0,
        }
    }
}

impl<T> Lanes<T> {
    /// Returns how many things there are, those at work included.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns how many are at work.
    pub(super) fn at_work(&self) -> usize {
        self.at_work
    }

    /// Appends a thing to its lane.
    pub(super) fn push(&mut self, id: LaneId, thing: T) {
        self.len += 1;
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.things.push_back(thing);
            return;
        }
        self.ready[id.priority as usize].push_back(id.key.clone());
        self.lanes.insert(id, Lane { things: VecDeque::from([thing]), first: First::Ready });
    }

    /// Appends a thing that is not to be taken before `due`. Behind others of its lane it waits for those instead.
    pub(super) fn push_held(&mut self, id: LaneId, thing: T, due: Timestamp) {
        if self.lanes.contains_key(&id) {
            return self.push(id, thing);
        }
        self.len += 1;
        self.waiting.insert((due, id.clone()));
        self.lanes.insert(id, Lane { things: VecDeque::from([thing]), first: First::Waiting(due) });
    }

    /// Takes the first thing of the lane whose turn it is, and leaves it there as at work.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<(LaneId, &mut T)> {
        while self.waiting.first().is_some_and(|(due, _)| *due <= now) {
            let (_, id) = self.waiting.pop_first()?;
            self.make_ready(&id, VecDeque::push_back);
        }
        let priority = self.next_class()?;
        let key = self.ready[priority as usize].pop_front()?;
        let id = LaneId { key, priority };
        let lane = self.lanes.get_mut(&id)?;
        lane.first = First::AtWork;
        self.at_work += 1;
        let first = lane.things.front_mut()?;
        Some((id, first))
    }

    /// Returns the thing at work in a lane.
    pub(super) fn at_work_in(&mut self, id: &LaneId) -> Option<&mut T> {
        self.lanes.get_mut(id).filter(|lane| lane.first == First::AtWork)?.things.front_mut()
    }

    /// Removes the thing at work in a lane; the next one of the lane is ready.
    pub(super) fn finish(&mut self, id: &LaneId) -> Option<T> {
        let lane = self.lanes.get_mut(id).filter(|lane| lane.first == First::AtWork)?;
        let thing = lane.things.pop_front()?;
        self.len -= 1;
        self.at_work -= 1;
        if lane.things.is_empty() {
            self.lanes.remove(id);
        } else {
            self.make_ready(id, VecDeque::push_back);
        }
        Some(thing)
    }

    /// Puts the thing at work in a lane back to wait until `due`, and everything behind it.
    pub(super) fn hold(&mut self, id: &LaneId, due: Timestamp) {
        let Some(lane) = self.lanes.get_mut(id).filter(|lane| lane.first == First::AtWork) else { return };
        lane.first = First::Waiting(due);
        self.at_work -= 1;
        self.waiting.insert((due, id.clone()));
    }

    /// Puts the thing at work in a lane back as if it had not been taken.
    pub(super) fn put_back(&mut self, id: &LaneId) {
        if self.lanes.get(id).is_some_and(|lane| lane.first == First::AtWork) {
            self.at_work -= 1;
            self.make_ready(id, VecDeque::push_front);
        }
    }

    /// Returns when the first of the lanes that wait is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// Returns how many lanes wait for a moment.
    pub(super) fn held(&self) -> usize {
        self.waiting.len()
    }

    /// Lets every lane that waits for a moment be taken now, the first due first. Returns how many.
    pub(super) fn hasten(&mut self) -> usize {
        let waiting = std::mem::take(&mut self.waiting);
        for (_, id) in &waiting {
            self.make_ready(id, VecDeque::push_back);
        }
        waiting.len()
    }

    /// Returns everything that waits and is not at work, in no order.
    pub(super) fn idle(&self) -> impl Iterator<Item = (&LaneId, &T)> {
        self.lanes.iter().flat_map(|(id, lane)| {
            let busy = usize::from(lane.first == First::AtWork);
            lane.things.iter().skip(busy).map(move |thing| (id, thing))
        })
    }

    /// Returns the first thing of each lane, at work or not, in no order.
    pub(super) fn firsts(&self) -> impl Iterator<Item = &T> {
        self.lanes.values().filter_map(|lane| lane.things.front())
    }

    /// Returns the first thing of each lane that is not at work, in no order.
    pub(super) fn first_idle(&self) -> impl Iterator<Item = &T> {
        self.lanes.values().filter_map(|lane| lane.things.get(usize::from(lane.first == First::AtWork)))
    }

    /// Returns everything, those at work included, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.lanes.values().flat_map(|lane| &lane.things)
    }

    /// Returns everything, those at work included, in no order.
    pub(super) fn into_things(self) -> impl Iterator<Item = T> {
        self.lanes.into_values().flat_map(|lane| lane.things)
    }

    /// Returns everything, in no order, and, of the first things of lanes that wait, when they are due.
    pub(super) fn into_due(self) -> impl Iterator<Item = (Option<Timestamp>, T)> {
        self.lanes.into_values().flat_map(|lane| {
            let due = if let First::Waiting(due) = lane.first { Some(due) } else { None };
            let due = std::iter::once(due).chain(std::iter::repeat(None));
            due.zip(lane.things)
        })
    }

    /// Removes the first thing of a lane, which is not at work, that `is_it`.
    pub(super) fn remove(&mut self, id: &LaneId, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let lane = self.lanes.get_mut(id)?;
        let busy = usize::from(lane.first == First::AtWork);
        let index = lane.things.iter().skip(busy).position(is_it)? + busy;
        let thing = lane.things.remove(index)?;
        self.len -= 1;
        if lane.things.is_empty() {
            match lane.first {
                First::Waiting(due) => drop(self.waiting.remove(&(due, id.clone()))),
                First::Ready | First::AtWork => {
                    self.ready[id.priority as usize].retain(|key| *key != id.key);
                }
            }
            self.lanes.remove(id);
        }
        Some(thing)
    }

    fn make_ready(&mut self, id: &LaneId, add: impl FnOnce(&mut VecDeque<LaneKey>, LaneKey)) {
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.first = First::Ready;
            add(&mut self.ready[id.priority as usize], id.key.clone());
        }
    }

    /// Returns the class whose turn it is, of those that have something ready.
    fn next_class(&mut self) -> Option<Priority> {
        const CLASSES: [Priority; 4] = [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];
        let of_round = |lanes: &Self| {
            CLASSES
                .into_iter()
                .find(|class| lanes.turns[*class as usize] > 0 && !lanes.ready[*class as usize].is_empty())
        };
        let class = of_round(self).or_else(|| {
            // Whoever had turns left had no use for them: another round.
            self.turns = TURNS;
            of_round(self)
        })?;
        self.turns[class as usize] -= 1;
        Some(class)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn lane(name: &str, priority: Priority) -> LaneId {
        LaneId { key: LaneKey::other("test", name), priority }
    }

    fn normal(name: &str) -> LaneId {
        lane(name, Priority::Normal)
    }

    #[test]
    fn a_lane_is_taken_in_order_and_holds_up_no_other() {
        let mut lanes = Lanes::default();
        for (id, thing) in [(normal("a"), 1), (normal("a"), 2), (normal("b"), 3)] {
            lanes.push(id, thing);
        }
        let take = |lanes: &mut Lanes<i32>| lanes.take(NOW).map(|(id, thing)| (id, *thing));
        assert_eq!(take(&mut lanes), Some((normal("a"), 1)));
        assert_eq!(take(&mut lanes), Some((normal("b"), 3)));
        assert_eq!(take(&mut lanes), None, "the second of lane a waits for the first");
        assert_eq!(lanes.finish(&normal("a")), Some(1));
        assert_eq!(take(&mut lanes), Some((normal("a"), 2)));
        assert_eq!((lanes.len(), lanes.at_work()), (2, 2));
    }

    #[test]
    fn what_is_hastened_can_be_taken_at_once_the_first_due_first_and_in_order_within_its_lane() {
        let mut lanes = Lanes::default();
        for (id, due, thing) in [(normal("a"), 3_000, 1), (normal("b"), 2_000, 3)] {
            lanes.push_held(id, thing, Timestamp::from_millis(due));
        }
        lanes.push(normal("a"), 2);
        assert!(lanes.take(NOW).is_none());
        assert_eq!(lanes.held(), 2);
        assert_eq!((lanes.hasten(), lanes.held(), lanes.next_due()), (2, 0, None));
        let take = |lanes: &mut Lanes<i32>| lanes.take(NOW).map(|(_, thing)| *thing);
        assert_eq!([take(&mut lanes), take(&mut lanes), take(&mut lanes)], [Some(3), Some(1), None]);
        lanes.finish(&normal("a"));
        assert_eq!((take(&mut lanes), lanes.hasten()), (Some(2), 0));
    }

    #[test]
    fn what_is_held_holds_its_lane_until_it_is_due() {
        let mut lanes = Lanes::default();
        lanes.push(normal("a"), 1);
        lanes.push(normal("a"), 2);
        let due = Timestamp::from_millis(2_000);
        lanes.take(NOW).unwrap();
        lanes.hold(&normal("a"), due);
        assert!(lanes.take(NOW).is_none());
        assert_eq!(lanes.next_due(), Some(due));
        assert_eq!(lanes.take(due).map(|(_, thing)| *thing), Some(1));
        lanes.put_back(&normal("a"));
        assert_eq!(lanes.take(NOW).map(|(_, thing)| *thing), Some(1), "put back, it waits for nothing");
    }

    #[test]
    fn no_class_starves() {
        let mut lanes = Lanes::default();
        let classes = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];
        for class in classes {
            for number in 0..1_000 {
                lanes.push(lane(&number.to_string(), class), class);
            }
        }
        let mut taken = [0; 4];
        for _ in 0..150 {
            let (_, class) = lanes.take(NOW).unwrap();
            taken[*class as usize] += 1;
        }
        assert_eq!(taken, [10, 20, 40, 80]);
    }

    #[test]
    fn a_class_alone_has_every_turn() {
        let mut lanes = Lanes::default();
        for number in 0..100 {
            lanes.push(lane(&number.to_string(), Priority::Low), number);
        }
        assert_eq!(std::iter::from_fn(|| lanes.take(NOW).map(drop)).count(), 100);
    }

    #[test]
    fn what_is_at_work_cannot_be_removed_and_a_lane_that_empties_is_gone() {
        let mut lanes = Lanes::default();
        lanes.push(normal("a"), 1);
        lanes.push(normal("a"), 2);
        lanes.take(NOW).unwrap();
        assert_eq!(lanes.remove(&normal("a"), |thing| *thing == 1), None);
        assert_eq!(lanes.remove(&normal("a"), |thing| *thing == 2), Some(2));
        lanes.hold(&normal("a"), NOW);
        assert_eq!(lanes.remove(&normal("a"), |_| true), Some(1));
        assert_eq!((lanes.len(), lanes.next_due()), (0, None));
        lanes.push(normal("a"), 3);
        assert_eq!(lanes.remove(&normal("a"), |_| true), Some(3));
        assert!(lanes.take(NOW).is_none());
    }

    proptest! {
        /// Whatever is pushed, taken, held and finished in whatever order: each lane comes out in order, and nothing is lost.
        #[test]
        fn every_lane_comes_out_in_order_and_whole(steps in prop::collection::vec((0u8..5, 0u8..3, 0u8..4), 1..300)) {
            let mut lanes = Lanes::default();
            let (mut pushed, mut done) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
            let mut at_work: Vec<LaneId> = Vec::new();
            let classes = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];
            for (number, (what, name, class)) in steps.into_iter().enumerate() {
                let some = |at_work: &mut Vec<LaneId>| {
                    (!at_work.is_empty()).then(|| at_work.remove(usize::from(name) % at_work.len()))
                };
                match what {
                    0 | 1 => {
                        let id = lane(&name.to_string(), classes[usize::from(class)]);
                        pushed.entry(id.clone()).or_default().push(number);
                        lanes.push(id, number);
                    }
                    2 => at_work.extend(lanes.take(NOW).map(|(id, _)| id)),
                    3 => if let Some(id) = some(&mut at_work) { lanes.hold(&id, NOW) },
                    _ => if let Some(id) = some(&mut at_work) {
                        let thing = lanes.finish(&id).unwrap();
                        done.entry(id).or_default().push(thing);
                    },
                }
            }
            at_work.iter().for_each(|id| lanes.put_back(id));
            while let Some((id, _)) = lanes.take(NOW) {
                let thing = lanes.finish(&id).unwrap();
                done.entry(id).or_default().push(thing);
            }
            prop_assert_eq!(lanes.len(), 0);
            prop_assert_eq!(pushed, done);
        }
    }
}
