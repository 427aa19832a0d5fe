//! OneBot v11: QQ by way of an implementation such as NapCat or Lagrange. Forward, we dial the implementation; reverse, it
//! dials us.
//!
//! The protocol acknowledges nothing and repeats nothing: what happens while no socket is open is lost, and the platform
//! cannot be told otherwise. What was read from a socket is not: it waits in a [`backlog::Backlog`] for the host.
//!
//! ```text
//! implementation ─► socket ──events──► backlog ──► inbox        reading stops while the backlog is full …
//!                      │ ──answers──► calls                     … unless a call waits for its answer
//! implementation ◄─ socket ◄──calls── act ◄── deliveries
//! ```

mod account;
mod act;
mod backlog;
mod calls;
mod config;
mod event;
mod forward;
mod liveness;
mod reverse;
mod segment;
mod socket;

use std::time::Duration;

pub use config::{OneBotConfig, Transport};
use tokio_util::sync::CancellationToken;

use self::account::Account;
use super::link::Reconnect;
use super::{PaceLimits, Ports, deliveries};
use crate::rate::Quota;

/// The protocol names no limit, but QQ's risk control shuts accounts out that speak faster than people do, and it cannot be
/// asked. So about a message a second for the account, a few at once if they go to different chats, and half a second between
/// two in one chat.
pub(super) const PACE: PaceLimits = PaceLimits {
    token: Some(Quota::new(60, Duration::from_secs(60), 5)),
    direct_chat: Some(GAP),
    group_chat: Some(GAP),
};

const GAP: Quota = Quota::new(2, Duration::from_secs(1), 1);

/// Runs until it is told to stop.
pub(super) async fn run(config: OneBotConfig, ports: Ports) {
    let Ports { name, inbox, deliveries, status, cancel } = ports;
    let signs = status.signs();
    let account = Account::new(name, Reconnect::new(status, config.reconnect_max), signs, config.stall_timeout);
    // The sockets stay open until the deliveries at hand have their answers.
    let sockets = CancellationToken::new();
    let deliver = async {
        deliveries::carry_out(deliveries, &cancel, |action, timeout| act::carry_out(&account, action, timeout)).await;
        cancel.cancelled().await;
        sockets.cancel();
    };
    let receive = async {
        match &config.transport {
            Transport::Forward { url } => forward::run(url, config.access_token.as_ref(), &account, &sockets).await,
            Transport::Reverse { listen, path } => {
                reverse::run(*listen, path, config.access_token.as_ref(), &account, &sockets).await;
            }
        }
        account.backlog.close();
    };
    tokio::join!(deliver, receive, account.backlog.pump(&inbox, account.name()));
    account.link().stopped();
}
