//! Pings: the question whether a task still has its turns, and its answer, which says what it is doing. The task answers between
//! two of its own steps, so that an answer is a proof; a channel of its own keeps the question from waiting behind the task's work.

use tokio::sync::{mpsc, oneshot};

/// Returns both ends. One question at a time waits.
pub fn channel() -> (Pinger, Pings) {
    let (sender, receiver) = mpsc::channel(1);
    (Pinger(sender), Pings(receiver))
}

/// The end that asks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pinger(mpsc::Sender<Ping>);

/// The end of the task that is asked.
#[derive(Debug)]
pub struct Pings(mpsc::Receiver<Ping>);

/// A question that waits for its answer.
#[derive(Debug)]
pub struct Ping(oneshot::Sender<&'static str>);

impl Pinger {
    /// Asks, and returns what the task is doing; nothing where it has ended. Waits for as long as the task takes.
    pub async fn ask(&self) -> Option<&'static str> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Ping(answer)).await.ok()?;
        answered.await.ok()
    }
}

impl Pings {
    /// Returns the next question; nothing where nobody asks any more. Cancel safe.
    pub async fn recv(&mut self) -> Option<Ping> {
        self.0.recv().await
    }

    /// Does what may rightly take long, such as waiting for room, and answers meanwhile that it is `doing` that.
    pub async fn during<T>(&mut self, doing: &'static str, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            // The work is never dropped half done, and a question is answered in the turn in which it came.
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(ping) = self.recv() => ping.answer(doing),
            }
        }
    }
}

impl Ping {
    /// Says what the task is doing. Who asked may be gone.
    pub fn answer(self, doing: &'static str) {
        let _ = self.0.send(doing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_answers_while_it_waits_and_none_that_has_ended() {
        let (pinger, mut pings) = channel();
        let (finish, finished) = oneshot::channel::<u8>();
        let task = tokio::spawn(async move {
            let result = pings.during("waiting for room", finished).await;
            if let Some(ping) = pings.recv().await {
                ping.answer("taking events");
            }
            result
        });
        assert_eq!(pinger.ask().await, Some("waiting for room"));
        finish.send(7).unwrap();
        assert_eq!(pinger.ask().await, Some("taking events"));
        assert_eq!(task.await.unwrap(), Ok(7));
        assert_eq!(pinger.ask().await, None);
    }

    #[tokio::test]
    async fn work_goes_on_where_nobody_asks_any_more() {
        let (pinger, mut pings) = channel();
        drop(pinger);
        assert_eq!(pings.during("working", async { 1 }).await, 1);
        assert!(pings.recv().await.is_none());
    }
}
