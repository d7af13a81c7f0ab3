//! Answers to commands that wait for the broker.
//!
//! Always true: an answer is handed out before the moment it must leave ([`Outgoing::before`]) or not
//! at all, however long the broker is away; at most [`REPLY_QUEUE`] are held, and as many wait in front.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::sagoo::downlink::Answer;
use super::sagoo::flight::Outgoing;

/// Answers held, and again as many in front; while both are full, commands wait with theirs.
pub const REPLY_QUEUE: usize = 64;

/// In the order they came.
#[derive(Debug)]
pub struct Replies {
    queue: mpsc::Receiver<Answer>,
    held: VecDeque<Answer>,
}

impl Replies {
    /// Empty, and where answers go in.
    pub fn new() -> (mpsc::Sender<Answer>, Self) {
        let (answers, queue) = mpsc::channel(REPLY_QUEUE);
        (answers, Self { queue, held: VecDeque::new() })
    }

    /// Waits for another one, for ever while there is no room for it.
    pub async fn hear(&mut self) {
        if self.held.len() < REPLY_QUEUE
            && let Some(answer) = self.queue.recv().await
        {
            self.held.push_back(answer);
        } else {
            std::future::pending().await
        }
    }

    /// None is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The oldest that may still leave.
    pub fn next(&mut self, now: Instant) -> Option<Outgoing> {
        let first = self.held.iter().position(|answer| !late(answer, now))?;
        self.held.remove(first).map(|answer| answer.outgoing)
    }

    /// Takes out those that may not leave any more.
    pub fn overdue(&mut self, now: Instant) -> Vec<Answer> {
        let (overdue, held): (VecDeque<_>, _) = self.held.drain(..).partition(|answer| late(answer, now));
        self.held = held;
        overdue.into()
    }

    /// When the next one is overdue.
    pub fn wake(&self) -> Option<Instant> {
        self.held.iter().filter_map(|answer| answer.outgoing.before).min().map(Instant::from_std)
    }
}

fn late(answer: &Answer, now: Instant) -> bool {
    answer.outgoing.before.is_some_and(|before| before <= now.into_std())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::northbound::Announcement;

    fn answer(topic: &str, before: Instant) -> Answer {
        let outgoing =
            Outgoing { topic: topic.into(), payload: "{}".into(), before: Some(before.into_std()) };
        Answer {
            outgoing,
            instead: Some(("meter".into(), Announcement::now("commandFailed", &topic.into()))),
        }
    }

    async fn holding(answers: &[Answer]) -> (mpsc::Sender<Answer>, Replies) {
        let (sender, mut replies) = Replies::new();
        for answer in answers {
            sender.send(answer.clone()).await.unwrap();
            replies.hear().await;
        }
        (sender, replies)
    }

    #[tokio::test]
    async fn an_answer_that_meets_nobody_any_more_never_leaves_and_says_what_to_store_instead() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let (late, good) = (answer("late", now + second), answer("good", now + 3 * second));
        let (_sender, mut replies) = holding(&[late.clone(), good.clone()]).await;
        assert_eq!(replies.wake(), Some(now + second));
        assert_eq!(replies.next(now + 2 * second), Some(good.outgoing));
        assert_eq!(replies.next(now + 2 * second), None);
        assert_eq!(replies.overdue(now + 2 * second), [late]);
        assert!(replies.is_empty());
    }

    #[tokio::test]
    async fn answers_leave_in_order_and_a_full_queue_makes_commands_wait() {
        let before = Instant::now() + Duration::from_secs(44);
        let answers: Vec<_> = (0..REPLY_QUEUE).map(|n| answer(&n.to_string(), before)).collect();
        let (sender, mut replies) = holding(&answers).await;
        sender.send(answer("one more", before)).await.unwrap();
        let full = tokio::time::timeout(Duration::from_millis(20), replies.hear()).await;
        assert!(full.is_err(), "more than {REPLY_QUEUE} held");
        assert!(replies.overdue(Instant::now()).is_empty());
        for answer in answers {
            assert_eq!(replies.next(Instant::now()), Some(answer.outgoing));
        }
        replies.hear().await;
        assert_eq!(replies.next(Instant::now()).unwrap().topic, "one more");
    }
}
