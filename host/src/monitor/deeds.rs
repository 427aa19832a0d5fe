//! What rules have done to bots: orders to the supervisor and edits of the configuration, as the operator gives and makes them, a few
//! at a time.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::verdicts::Order;
use crate::alert::rule::BotAction;
use crate::generation::{Editor, Who};
use crate::supervisor::{BotVerb, Control};

/// Orders at once. A rule that wants more has them at its next look, if it still has a reason.
const UNDER_WAY_MAX: usize = 8;
/// How long one may take.
const WITHIN: Duration = Duration::from_secs(60);
/// How long the end waits for those that are under way.
const AT_THE_END: Duration = Duration::from_secs(1);

/// What is being done.
#[derive(Debug)]
pub(super) struct Deeds {
    control: Control,
    editor: Editor,
    under_way: JoinSet<()>,
}

impl Deeds {
    pub(super) fn new(control: Control, editor: Editor) -> Self {
        Self { control, editor, under_way: JoinSet::new() }
    }

    pub(super) fn are_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Has an order carried out.
    pub(super) fn begin(&mut self, order: Order) {
        let Order { bot, action, rule } = &order;
        if self.under_way.len() >= UNDER_WAY_MAX {
            tracing::warn!(%bot, %rule, ?action, "a rule's order is left out: as many as may be are under way");
            return;
        }
        tracing::warn!(%bot, %rule, ?action, "a rule has something done to a bot");
        let (control, editor) = (self.control.clone(), self.editor.clone());
        self.under_way.spawn(async move {
            let Order { bot, action, rule } = order;
            let carried_out = async {
                match action {
                    BotAction::Restart => control.bot(bot.clone(), BotVerb::Restart).await.map_err(|error| error.to_string()),
                    BotAction::Disable => {
                        let who = Who { author: format!("rule {rule}"), reason: "its alert fired".to_owned() };
                        editor.enable(who, bot.clone(), false).await.map(drop).map_err(|error| error.to_string())
                    }
                }
            };
            match timeout(WITHIN, carried_out).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%bot, %rule, ?action, error, "a rule's order was not carried out"),
                Err(_) => tracing::error!(%bot, %rule, ?action, "a rule's order is not carried out after {} s", WITHIN.as_secs()),
            }
        });
    }

    /// Waits for the next that ends. Cancel safe.
    pub(super) async fn next(&mut self) {
        if let Some(Err(error)) = self.under_way.join_next().await {
            tracing::error!(%error, "a rule's order ended badly");
        }
    }

    /// Waits for those that are under way, for a moment, and gives up the others.
    pub(super) async fn finish(&mut self) {
        let all = async {
            while self.are_under_way() {
                self.next().await;
            }
        };
        if timeout(AT_THE_END, all).await.is_err() {
            self.under_way.shutdown().await;
        }
    }
}
