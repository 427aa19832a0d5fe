//! What looks at the host as a whole, round by round.

pub mod gauges;
