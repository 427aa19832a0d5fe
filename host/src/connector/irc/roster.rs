//! Who is in which channel, so that a departure can be told where it is seen. Bounded: of the members of a very large network some are
//! not remembered, and their quitting is not told. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// Members that are remembered, in all channels together.
const MEMBERS_MAX: usize = 50_000;

/// Returns a name as servers compare it: `[]\~` are the upper case of `{}|^`.
pub(super) fn folded(name: &str) -> String {
    let fold = |c: char| match c {
        '[' => '{',
        ']' => '}',
        '\\' => '|',
        '~' => '^',
        c => c.to_ascii_lowercase(),
    };
    name.chars().map(fold).collect()
}

/// The channels that we are in.
#[derive(Debug, Default)]
pub(super) struct Roster {
    channels: BTreeMap<String, BTreeSet<String>>,
    members: usize,
}

impl Roster {
    /// Returns in how many channels we are.
    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// Returns whether we are in a channel.
    pub(super) fn has(&self, channel: &str) -> bool {
        self.channels.contains_key(&folded(channel))
    }

    /// We came into a channel.
    pub(super) fn enter(&mut self, channel: &str) {
        self.channels.entry(folded(channel)).or_default();
    }

    /// We are in a channel no longer. Returns whether we were.
    pub(super) fn leave(&mut self, channel: &str) -> bool {
        let gone = self.channels.remove(&folded(channel));
        self.members -= gone.as_ref().map_or(0, BTreeSet::len);
        gone.is_some()
    }

    /// Somebody is in a channel.
    pub(super) fn add(&mut self, channel: &str, nick: &str) {
        if self.members < MEMBERS_MAX
            && let Some(members) = self.channels.get_mut(&folded(channel))
            && members.insert(folded(nick))
        {
            self.members += 1;
        }
    }

    /// Somebody is in a channel no longer.
    pub(super) fn remove(&mut self, channel: &str, nick: &str) {
        if self.channels.get_mut(&folded(channel)).is_some_and(|members| members.remove(&folded(nick))) {
            self.members -= 1;
        }
    }

    /// Somebody is gone. Returns the channels that they were in.
    pub(super) fn quit(&mut self, nick: &str) -> Vec<String> {
        let nick = folded(nick);
        let of: Vec<_> =
            self.channels.iter().filter(|(_, members)| members.contains(&nick)).map(|(name, _)| name.clone()).collect();
        for channel in &of {
            self.remove(channel, &nick);
        }
        of
    }

    /// Somebody is called otherwise now.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        for channel in self.quit(old) {
            self.add(&channel, new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_departure_is_told_in_every_channel_where_it_is_seen() {
        let mut roster = Roster::default();
        for channel in ["#Tea", "#milk", "#x"] {
            roster.enter(channel);
        }
        roster.add("#tea", "Ann[1]");
        roster.add("#MILK", "ann{1}");
        roster.add("#unknown", "ann{1}");
        roster.rename("ANN[1]", "Bea");
        assert_eq!(roster.quit("bea"), ["#milk", "#tea"]);
        assert_eq!((roster.quit("bea"), roster.members, roster.len()), (vec![], 0, 3));
        assert!(roster.leave("#TEA") && !roster.leave("#tea"));
    }

    #[test]
    fn of_very_many_members_some_are_not_remembered() {
        let mut roster = Roster::default();
        roster.enter("#tea");
        for number in 0..MEMBERS_MAX + 10 {
            roster.add("#tea", &number.to_string());
        }
        assert_eq!(roster.members, MEMBERS_MAX);
        roster.leave("#tea");
        assert_eq!(roster.members, 0);
    }
}
