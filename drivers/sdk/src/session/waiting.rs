//! Commands that wait for their line, so that each is answered at its deadline and not later.
//!
//! Always true: only a command whose claim was taken here leaves as expired; one that its line took
//! is forgotten. What is kept is bounded by the lines' own queues.

use std::time::Duration;

use sagoo_edge_proto::driver::{CommandResult, Status};
use tokio::time::Instant;

use crate::commands::result;
use crate::connection::Claim;
use crate::driver::Deadline;

#[derive(Debug, Default)]
pub(crate) struct WaitingCommands {
    waiting: Vec<Waiting>,
    /// When the next one has to be looked at.
    pub(crate) look_at: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    id: String,
    deadline: Deadline,
    claim: Claim,
}

impl WaitingCommands {
    /// A command was handed to its line.
    pub(crate) fn add(&mut self, id: String, deadline: Deadline, claim: Claim) {
        self.waiting.push(Waiting { id, deadline, claim });
        self.settle();
    }

    /// Takes the commands whose deadline has passed from their lines; gives back their results.
    pub(crate) fn expire(&mut self) -> Vec<CommandResult> {
        let expired = self.take(|waiting| waiting.deadline.passed());
        let told = |waiting: Waiting| {
            let message = "its deadline passed while it waited for its line".to_owned();
            result(&waiting.id, Status::Expired, message)
        };
        expired.into_iter().map(told).collect()
    }

    /// Takes all of them from lines that are cut off; gives back their results.
    pub(crate) fn give_up(&mut self) -> Vec<CommandResult> {
        let told = |waiting: Waiting| {
            let message = "its line was cut off before the command's turn".to_owned();
            result(&waiting.id, Status::Refused, message)
        };
        self.take(|_| true).into_iter().map(told).collect()
    }

    fn take(&mut self, wanted: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let over = self.waiting.extract_if(.., |waiting| wanted(waiting));
        let over = over.filter(|waiting| waiting.claim.take()).collect();
        self.settle();
        over
    }

    /// Forgets what lines have taken, and looks for the next deadline.
    fn settle(&mut self) {
        self.waiting.retain(|waiting| !waiting.claim.is_taken());
        let next = self.waiting.iter().map(|waiting| waiting.deadline).min();
        // A deadline too far for the clock is looked at again; so is one that a suspend moved.
        self.look_at = next.map(|next| Instant::now() + next.left().min(LOOK));
    }
}

/// Longest time between two looks at deadlines: they are boot time, which goes on through a
/// suspend, and the timer's clock does not.
const LOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn past() -> Deadline {
        Deadline::at_boot_ns(1)
    }

    fn far() -> Deadline {
        Deadline::after(Duration::from_secs(3_600))
    }

    fn ids(results: &[CommandResult]) -> Vec<(&str, Status)> {
        results.iter().map(|result| (result.id.as_str(), result.status())).collect()
    }

    #[tokio::test]
    async fn what_a_line_took_is_never_called_expired() {
        let mut commands = WaitingCommands::default();
        let [started, waits, later] = [Claim::default(), Claim::default(), Claim::default()];
        commands.add("started".into(), past(), started.clone());
        commands.add("waits".into(), past(), waits.clone());
        commands.add("later".into(), far(), later.clone());
        assert!(started.take());
        assert_eq!(ids(&commands.expire()), [("waits", Status::Expired)]);
        assert!(!waits.take(), "its line cannot start it any more");
        assert_eq!(ids(&commands.expire()), [], "it is said once");
        assert!(commands.look_at.is_some());
        assert_eq!(ids(&commands.give_up()), [("later", Status::Refused)]);
        assert!(!later.take());
        assert_eq!((commands.waiting.len(), commands.look_at), (0, None));
    }

    #[tokio::test]
    async fn started_commands_are_not_kept() {
        let mut commands = WaitingCommands::default();
        for id in 0..1_000 {
            let claim = Claim::default();
            commands.add(id.to_string(), far(), claim.clone());
            assert!(claim.take());
        }
        assert_eq!(commands.waiting.len(), 1);
    }
}
