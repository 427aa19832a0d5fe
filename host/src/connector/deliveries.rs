//! Carrying deliveries out: several conversations side by side, one conversation in order, and an answer to each.

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Delivery, DeliveryError, Receipt};
use crate::action::ResolvedAction;
use crate::event::LaneKey;

/// Deliveries that one connector carries out side by side. A slow one holds up its own conversation only.
const IN_FLIGHT_MAX: usize = 16;

/// One action to carry out.
#[derive(Debug)]
pub(super) struct Task {
    /// What to do.
    pub(super) action: ResolvedAction,
    /// See [`Delivery::key`].
    pub(super) key: u64,
    /// How long one call of the platform may go without an answer.
    pub(super) timeout: Duration,
}

/// Carries out each delivery by `act` until the host sends no more or `cancel` is given, then finishes what it has begun. What it has
/// not begun is answered as worth another try.
pub(super) async fn carry_out<F>(
    mut deliveries: mpsc::Receiver<Delivery>,
    cancel: &CancellationToken,
    act: impl Fn(Task) -> F,
) where
    F: Future<Output = Result<Receipt, DeliveryError>>,
{
    let mut in_flight = FuturesUnordered::new();
    let mut busy = HashSet::new();
    let mut waiting: Option<(LaneKey, Delivery)> = None;
    loop {
        if let Some((lane, delivery)) = waiting.take_if(|(lane, _)| !busy.contains(lane)) {
            busy.insert(lane.clone());
            let act = act(Task { action: delivery.action, key: delivery.key, timeout: delivery.timeout });
            in_flight.push(async move {
                let result = act.await;
                // Whoever asked may have given up; then nobody is left to tell.
                let _ = delivery.outcome.send(result);
                lane
            });
        }
        tokio::select! {
            Some(lane) = in_flight.next() => {
                busy.remove(&lane);
            }
            () = cancel.cancelled() => break,
            received = deliveries.recv(), if waiting.is_none() && in_flight.len() < IN_FLIGHT_MAX => match received {
                Some(delivery) => waiting = Some((LaneKey::conversation(&delivery.action.at), delivery)),
                None => break,
            },
        }
    }
    refuse(waiting.map(|(_, delivery)| delivery));
    refuse_rest(&mut deliveries);
    while in_flight.next().await.is_some() {}
}

/// Answers every delivery that waits in the queue, and takes no more.
pub(super) fn refuse_rest(deliveries: &mut mpsc::Receiver<Delivery>) {
    deliveries.close();
    refuse(std::iter::from_fn(|| deliveries.try_recv().ok()));
}

fn refuse(deliveries: impl IntoIterator<Item = Delivery>) {
    for delivery in deliveries {
        let _ = delivery.outcome.send(Err(DeliveryError::Retryable("the connector is stopping".to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Act, Action};
    use crate::event::{Conversation, ConversationKind};
    use crate::grants::ConnectorKey;
    use std::sync::Mutex;
    use tokio::sync::{Semaphore, oneshot};

    type Outcome = oneshot::Receiver<Result<Receipt, DeliveryError>>;

    fn delivery(conversation: &str, target: &str) -> (Delivery, Outcome) {
        let at = Conversation {
            connector: "c".parse().unwrap(),
            id: conversation.to_owned(),
            kind: ConversationKind::Group,
            title: None,
            thread: None,
        };
        let (outcome, answer) = oneshot::channel();
        let (via, act) = (ConnectorKey::shared(at.connector.clone()), Act::Delete { target: target.to_owned() });
        let timeout = Duration::from_secs(9);
        (Delivery { action: Action { via, at, act }, key: 1, timeout, outcome }, answer)
    }

    #[tokio::test]
    async fn one_conversation_is_served_in_order_and_does_not_hold_up_another() {
        let (sender, receiver) = mpsc::channel(8);
        let (gate, log, cancel) = (Semaphore::new(0), Mutex::new(Vec::new()), CancellationToken::new());
        let serve = carry_out(receiver, &cancel, |Task { action, .. }| {
            let (gate, log) = (&gate, &log);
            async move {
                if action.at.id == "slow" {
                    gate.acquire().await.unwrap().forget();
                }
                log.lock().unwrap().push(action.act);
                Ok(Receipt::default())
            }
        });
        let drive = async {
            let (first, first_answer) = delivery("slow", "1");
            let (quick, quick_answer) = delivery("quick", "2");
            let (second, second_answer) = delivery("slow", "3");
            for delivery in [first, quick, second] {
                sender.send(delivery).await.unwrap();
            }
            quick_answer.await.unwrap().unwrap();
            gate.add_permits(2);
            first_answer.await.unwrap().unwrap();
            second_answer.await.unwrap().unwrap();
            drop(sender);
        };
        tokio::join!(serve, drive);
        let order: Vec<_> = ["2", "1", "3"].map(|id| Act::<String>::Delete { target: id.to_owned() }).into();
        assert_eq!(*log.lock().unwrap(), order);
    }

    #[tokio::test]
    async fn at_the_stop_what_was_begun_is_finished_and_the_rest_is_worth_another_try() {
        let (sender, receiver) = mpsc::channel(8);
        let (started, gate, cancel) = (Semaphore::new(0), Semaphore::new(0), CancellationToken::new());
        let serve = carry_out(receiver, &cancel, |_| {
            started.add_permits(1);
            async { gate.acquire().await.map(|_| Receipt::default()).map_err(|_| unreachable!()) }
        });
        let drive = async {
            let (begun, begun_answer) = delivery("a", "1");
            let (same, same_answer) = delivery("a", "2");
            let (queued, queued_answer) = delivery("b", "3");
            sender.send(begun).await.unwrap();
            started.acquire().await.unwrap().forget();
            sender.send(same).await.unwrap();
            sender.send(queued).await.unwrap();
            cancel.cancel();
            assert!(matches!(same_answer.await.unwrap(), Err(DeliveryError::Retryable(_))));
            assert!(matches!(queued_answer.await.unwrap(), Err(DeliveryError::Retryable(_))));
            gate.add_permits(1);
            begun_answer.await.unwrap().unwrap();
        };
        tokio::join!(serve, drive);
    }
}
