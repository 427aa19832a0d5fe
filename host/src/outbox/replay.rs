//! When a connector's entries may leave at all: not while it is not connected, and in growing numbers once it is. An entry that
//! waits for this has not been tried: it burns no attempt and waits no back-off, though its time runs.
//!
//! ```text
//! closed ──connected──► open: a backlog leaves at 5/s, growing to 30/s within 10 s, then as the platform's limits allow
//!   ▲ ▲                   │ │
//!   │ └──link lost────────┘ │
//!   └──credentials refused──┘     open again when connected anew, or after a minute for a try
//! ```

use std::time::{Duration, Instant};

use crate::connector::{Link, Outflow, PaceLimits, Status};

/// A backlog up to this long is no flood: it leaves at once. As many as are delivered side by side.
const BACKLOG_SMALL: usize = 16;
/// The pace right after the connection.
const START_PER_SECOND: f64 = 5.0;
/// The pace at the end of the ramp: what Telegram, the quickest platform that names a limit, takes.
const FULL_PER_SECOND: f64 = 30.0;
/// How long the ramp is.
const RAMP: Duration = Duration::from_secs(10);
/// After refused credentials on a connection that is said to stand, how long until a try. A platform may refuse one kind of
/// request only, and a connector that never reconnects must not be silent for ever.
const REFUSED_WAIT: Duration = Duration::from_secs(60);

/// Whether the entries of one connector may leave.
#[derive(Debug)]
pub struct Replay {
    gate: Gate,
    /// How often the connector had connected when its status was last seen.
    connections: u64,
    /// Whether a backlog leaves at a growing pace; else at once.
    has_ramp: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Closed,
    /// Closed although the connector is connected.
    Refused {
        until: Instant,
    },
    Open,
    Ramp {
        since: Instant,
        backlog: usize,
        left: u64,
    },
}

/// Until when nothing leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until this moment.
    Until(Instant),
    /// Until the connector's status changes.
    Link,
}

impl Replay {
    /// Returns the replay of a connector whose status was not seen yet: nothing leaves. Where the platform sets no limits, or the
    /// operator wants none kept, there is no ramp.
    pub fn new(limits: &PaceLimits) -> Self {
        Self { gate: Gate::Closed, connections: 0, has_ramp: *limits != PaceLimits::NONE }
    }

    /// Takes in the connector's status. `backlog` is how many entries wait at this moment. The same status again changes
    /// nothing; a connection that was lost and made again between two looks counts as a new one.
    pub fn observe(&mut self, status: &Status, backlog: usize, now: Instant) {
        let is_new = status.connections != self.connections;
        self.connections = status.connections;
        match &status.link {
            Link::Connected if is_new || self.gate == Gate::Closed => self.gate = self.opened(now, backlog),
            Link::Connected => {}
            Link::Connecting { .. }
            | Link::Authenticating
            | Link::Degraded { .. }
            | Link::BackingOff { .. }
            | Link::Contested { .. }
            | Link::AuthFailed { .. } => {
                self.gate = Gate::Closed;
            }
            // Its input has ended and it still delivers; or it was told to stop, then it is not asked for long.
            Link::Stopped if self.gate == Gate::Closed => self.gate = Gate::Open,
            Link::Stopped => {}
        }
    }

    /// Takes in that the platform refused the credentials of a delivery. Nothing leaves until the connector is connected anew,
    /// or a minute has passed. A connector that is known not to be connected stays as it is.
    pub fn refused(&mut self, now: Instant) {
        if self.gate != Gate::Closed {
            self.gate = Gate::Refused { until: now + REFUSED_WAIT };
        }
    }

    /// Returns whether an entry may leave now. Takes nothing; once it leaves, call [`Replay::left`].
    ///
    /// # Errors
    ///
    /// What to wait for.
    pub fn ask(&self, now: Instant) -> Result<(), Wait> {
        let earliest = match self.gate {
            Gate::Closed => return Err(Wait::Link),
            Gate::Open => return Ok(()),
            Gate::Refused { until } => until,
            Gate::Ramp { since, backlog, left } => leaves_at(since, backlog, left),
        };
        if earliest > now { Err(Wait::Until(earliest)) } else { Ok(()) }
    }

    /// Returns how entries leave, `backlog` of which wait.
    pub fn outflow(&self, backlog: usize) -> Outflow {
        match self.gate {
            Gate::Ramp { .. } if backlog == 0 => Outflow::Open,
            Gate::Closed => Outflow::Closed,
            Gate::Refused { .. } => Outflow::Refused,
            Gate::Open => Outflow::Open,
            Gate::Ramp { .. } => Outflow::Replaying,
        }
    }

    /// Takes in that an entry has left. `backlog` is how many wait then.
    pub fn left(&mut self, backlog: usize, now: Instant) {
        match &mut self.gate {
            // The try after a refusal. If it goes well the rest follows as after a connection.
            Gate::Refused { .. } if self.has_ramp => {
                self.gate = Gate::Ramp { since: now, backlog: backlog.max(BACKLOG_SMALL + 1), left: 1 };
            }
            Gate::Refused { .. } => self.gate = Gate::Open,
            Gate::Ramp { since, .. } if now.saturating_duration_since(*since) >= RAMP => self.gate = Gate::Open,
            Gate::Ramp { left, .. } => *left += 1,
            Gate::Open | Gate::Closed => {}
        }
    }

    fn opened(&self, now: Instant, backlog: usize) -> Gate {
        if backlog <= BACKLOG_SMALL || !self.has_ramp {
            Gate::Open
        } else {
            Gate::Ramp { since: now, backlog, left: 0 }
        }
    }
}

/// Returns the earliest moment at which the next entry may leave, if the connector is connected since then, `backlog` entries
/// waited when it connected, and `left` have left since.
///
/// The pace grows evenly, so by `t` seconds `start·t + growth·t²/2` may have left; solved for `t`.
fn leaves_at(connected_since: Instant, backlog: usize, left: u64) -> Instant {
    if backlog <= BACKLOG_SMALL {
        return connected_since;
    }
    let growth = (FULL_PER_SECOND - START_PER_SECOND) / RAMP.as_secs_f64();
    // Past 175 the ramp is over.
    let left = f64::from(u32::try_from(left).unwrap_or(u32::MAX));
    let seconds = ((START_PER_SECOND * START_PER_SECOND + 2.0 * growth * left).sqrt() - START_PER_SECOND) / growth;
    connected_since + Duration::from_secs_f64(seconds.min(RAMP.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::rate::Quota;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MANY: usize = 1000;
    const LIMITS: PaceLimits = PaceLimits { token: Some(Quota::new(30, SECOND, 1)), ..PaceLimits::NONE };

    fn status(link: Link, connections: u64) -> Status {
        Status { connections, ..Status::new(link, Timestamp::from_millis(0)) }
    }

    fn connected(connections: u64) -> Status {
        status(Link::Connected, connections)
    }

    fn lost(connections: u64) -> Status {
        status(Link::BackingOff { error: "x".to_owned(), wait: SECOND }, connections)
    }

    fn connected_with(backlog: usize, now: Instant) -> Replay {
        let mut replay = Replay::new(&LIMITS);
        replay.observe(&connected(1), backlog, now);
        replay
    }

    /// Lets out whatever may leave until `end`, each at the earliest moment, and returns when they left.
    fn drain(replay: &mut Replay, mut now: Instant, end: Instant, mut backlog: usize) -> Vec<Instant> {
        let mut left = Vec::new();
        while backlog > 0 && now <= end {
            match replay.ask(now) {
                Ok(()) => {
                    backlog -= 1;
                    replay.left(backlog, now);
                    left.push(now);
                }
                Err(Wait::Until(at)) => now = at,
                Err(Wait::Link) => break,
            }
        }
        left
    }

    #[test]
    fn without_limits_a_backlog_leaves_at_once() {
        let (mut replay, now) = (Replay::new(&PaceLimits::NONE), Instant::now());
        replay.observe(&connected(1), MANY, now);
        for _ in 0..MANY {
            assert_eq!(replay.ask(now), Ok(()));
            replay.left(MANY, now);
        }
    }

    #[test]
    fn nothing_leaves_while_the_connector_is_not_connected() {
        let now = Instant::now();
        let mut replay = Replay::new(&LIMITS);
        assert_eq!(replay.ask(now), Err(Wait::Link));
        let auth_failed = status(Link::AuthFailed { error: "x".to_owned() }, 0);
        for status in [status(Link::Connecting { error: None }, 0), lost(0), auth_failed] {
            replay.observe(&status, 0, now);
            assert_eq!(replay.ask(now + 1000 * SECOND), Err(Wait::Link), "{status:?}");
        }
        replay.observe(&connected(1), 0, now);
        assert_eq!(replay.ask(now), Ok(()));
        replay.observe(&lost(1), 0, now);
        assert_eq!(replay.ask(now), Err(Wait::Link));
    }

    #[test]
    fn a_connector_whose_input_has_ended_still_delivers() {
        let now = Instant::now();
        let mut replay = connected_with(0, now);
        replay.observe(&status(Link::Stopped, 1), MANY, now);
        assert_eq!(replay.ask(now), Ok(()));
        let mut unseen = Replay::new(&LIMITS);
        unseen.observe(&status(Link::Stopped, 1), MANY, now);
        assert_eq!(unseen.ask(now), Ok(()));
    }

    #[test]
    fn a_small_backlog_leaves_at_once() {
        let now = Instant::now();
        let mut replay = connected_with(BACKLOG_SMALL, now);
        assert_eq!(drain(&mut replay, now, now, BACKLOG_SMALL).len(), BACKLOG_SMALL);
    }

    #[test]
    fn a_large_backlog_leaves_at_a_pace_that_grows() {
        let now = Instant::now();
        let mut replay = connected_with(MANY, now);
        let left = drain(&mut replay, now, now + RAMP - Duration::from_millis(1), MANY);
        let in_second =
            |n: u32| left.iter().filter(|at| **at >= now + n * SECOND && **at < now + (n + 1) * SECOND).count();
        let counts: Vec<_> = (0..10).map(in_second).collect();
        assert_eq!(counts, [7, 8, 12, 13, 17, 18, 22, 23, 27, 28]);
        assert_eq!(drain(&mut replay, now + RAMP, now + RAMP, 500).len(), 500, "then nothing holds it back");
    }

    #[test]
    fn each_connection_begins_a_ramp_of_its_own_even_if_the_loss_was_not_seen() {
        let now = Instant::now();
        let mut replay = connected_with(MANY, now);
        let later = now + RAMP;
        drain(&mut replay, later, later, 10);
        replay.observe(&connected(1), MANY, later);
        assert_eq!(replay.ask(later), Ok(()), "the same again changes nothing");
        replay.observe(&connected(2), MANY, later);
        assert_eq!(drain(&mut replay, later, later, MANY).len(), 1);
    }

    #[test]
    fn refused_credentials_hold_everything_until_the_next_connection() {
        let now = Instant::now();
        let mut replay = connected_with(0, now);
        replay.refused(now);
        assert_eq!(replay.ask(now), Err(Wait::Until(now + REFUSED_WAIT)));
        replay.observe(&connected(1), 3, now);
        assert_eq!(replay.ask(now), Err(Wait::Until(now + REFUSED_WAIT)), "it was connected all the time");
        replay.observe(&connected(2), 3, now);
        assert_eq!(replay.ask(now), Ok(()));

        replay.observe(&lost(2), 3, now);
        replay.refused(now);
        assert_eq!(replay.ask(now + REFUSED_WAIT), Err(Wait::Link), "a link that is known to be lost is waited for");
    }

    #[test]
    fn after_a_refusal_one_is_tried_and_the_rest_follows_slowly() {
        let now = Instant::now();
        let mut replay = connected_with(0, now);
        replay.refused(now);
        let again = now + REFUSED_WAIT;
        assert_eq!(drain(&mut replay, again, again, MANY).len(), 1);
        assert!(matches!(replay.ask(again), Err(Wait::Until(at)) if at > again && at < again + SECOND));
        replay.refused(again);
        assert_eq!(replay.ask(again), Err(Wait::Until(again + REFUSED_WAIT)));
    }

    proptest! {
        #[test]
        fn a_ramp_never_goes_back_and_ends(backlog in 0usize..5000, left in 0u64..5000) {
            let since = Instant::now();
            let at = leaves_at(since, backlog, left);
            prop_assert!(at >= since && at <= since + RAMP);
            prop_assert!(leaves_at(since, backlog, left + 1) >= at);
        }

        #[test]
        fn no_second_of_a_ramp_sees_more_than_the_full_pace(start in 0u64..9000) {
            let now = Instant::now();
            let left = drain(&mut connected_with(MANY, now), now, now + RAMP - Duration::from_nanos(1), MANY);
            let from = now + Duration::from_millis(start);
            let seen = left.iter().filter(|at| **at >= from && **at < from + SECOND).count();
            prop_assert!(seen <= 30, "{seen}");
        }
    }
}
