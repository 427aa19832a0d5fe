//! Compares the bots there should be with the bots there are, and says what to do. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::BotName;

/// One bot as it should be. `V` stands for everything a version is made of; two that are equal need nothing done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Desired<V> {
    /// It should run this version.
    Run(V),
    /// It should be there and take nothing.
    Disabled {
        /// What its own file says, if it has one.
        text: Option<Arc<str>>,
    },
    /// Its file or its entry is wrong, or cannot be read. An older version goes on serving.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What to do about one bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step<V> {
    /// Load this version and let it serve.
    Load(V),
    /// Take its version away.
    Disable,
    /// Tell it that a version was refused.
    Refuse(String),
    /// It is gone: stop it.
    Remove,
}

impl<V> Step<V> {
    /// Returns what happened to the bot, for people.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Load(_) => "changed",
            Self::Disable => "disabled",
            Self::Refuse(_) => "refused",
            Self::Remove => "removed",
        }
    }
}

/// Returns what to do, bot by bot, to get from what was asked for last time to what is asked for now.
pub(super) fn steps<V: Clone + PartialEq>(
    before: &BTreeMap<BotName, Desired<V>>,
    now: &BTreeMap<BotName, Desired<V>>,
) -> Vec<(BotName, Step<V>)> {
    let removed = before.keys().filter(|name| !now.contains_key(*name)).map(|name| (name.clone(), Step::Remove));
    let changed = now.iter().filter(|(name, desired)| before.get(*name) != Some(*desired)).map(|(name, desired)| {
        let step = match desired {
            Desired::Run(version) => Step::Load(version.clone()),
            Desired::Disabled { .. } => Step::Disable,
            Desired::Refused { reason } => Step::Refuse(reason.clone()),
        };
        (name.clone(), step)
    });
    // What is gone goes first, so that what comes finds its connectors and its room free.
    removed.chain(changed).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Bots = BTreeMap<BotName, Desired<u8>>;

    fn bots(entries: &[(&str, Desired<u8>)]) -> Bots {
        entries.iter().map(|(name, desired)| (name.parse().unwrap(), desired.clone())).collect()
    }

    fn check(before: &[(&str, Desired<u8>)], now: &[(&str, Desired<u8>)], expected: &[(&str, Step<u8>)]) {
        let expected: Vec<_> = expected.iter().map(|(name, step)| (name.parse().unwrap(), step.clone())).collect();
        assert_eq!(steps(&bots(before), &bots(now)), expected);
    }

    #[test]
    fn only_what_changed_is_touched() {
        let refused = || Desired::Refused { reason: "bad".into() };
        check(
            &[("a", Desired::Run(1)), ("b", Desired::Run(1))],
            &[("a", Desired::Run(1)), ("b", Desired::Run(2))],
            &[("b", Step::Load(2))],
        );
        check(&[("a", Desired::Run(1))], &[], &[("a", Step::Remove)]);
        check(&[("a", Desired::Run(1))], &[("a", Desired::Disabled { text: None })], &[("a", Step::Disable)]);
        check(&[("a", Desired::Run(1))], &[("a", refused())], &[("a", Step::Refuse("bad".into()))]);
        check(&[("a", refused())], &[("a", refused())], &[]);
        check(&[("a", refused())], &[("a", Desired::Run(1))], &[("a", Step::Load(1))]);
    }

    fn desired() -> impl Strategy<Value = Desired<u8>> {
        prop_oneof![
            (0u8..3).prop_map(Desired::Run),
            Just(Desired::Disabled { text: None }),
            Just(Desired::Refused { reason: "r".into() }),
            Just(Desired::Refused { reason: "s".into() }),
        ]
    }

    fn catalogue() -> impl Strategy<Value = Bots> {
        prop::collection::btree_map("[a-d]".prop_map(|name| name.parse().unwrap()), desired(), 0..4)
    }

    proptest! {
        #[test]
        fn every_difference_has_one_step_and_nothing_else_has(before in catalogue(), now in catalogue()) {
            let steps = steps(&before, &now);
            let mut touched: Vec<_> = steps.iter().map(|(name, _)| name.clone()).collect();
            touched.sort();
            let names: std::collections::BTreeSet<_> = before.keys().chain(now.keys()).cloned().collect();
            let differing: Vec<_> = names.into_iter().filter(|name| before.get(name) != now.get(name)).collect();
            prop_assert_eq!(touched, differing);
        }
    }
}
