//! What systemd is told: that the host is ready, reloads, stops, lives. The only place that speaks its protocol. Where no service
//! manager listens, nothing is sent.
//!
//! A unit to run under is written by [`unit`].

pub mod unit;

use std::time::Duration;

use sd_notify::NotifyState;

/// The host takes events, after its start or after a reload.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// The host begins to take over a changed configuration; [`ready`] ends that, whatever came of it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager was not told of the reload"),
    }
}

/// The host finishes what it has begun and takes nothing more.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Every part of the host has proved that it gets on.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Sets the line that `systemctl status` shows.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(&one_line(status))]);
}

/// Returns how long the service manager waits for [`alive`] before it takes the host for dead; nothing where it does not wait.
pub fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())
}

/// A further line would be another message.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_carry_another_message() {
        assert_eq!(one_line("ready\nWATCHDOG=1\r"), "ready WATCHDOG=1 ");
    }
}
