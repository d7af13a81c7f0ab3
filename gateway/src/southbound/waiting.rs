//! Commands whose line is on its way from one process to another.
//!
//! Always true: at most [`WAITING`] wait, more are refused; a command that waits until its deadline is
//! expired and was never sent anywhere.

use std::time::Duration;

use sagoo_edge_proto::clock;
use tokio::time::Instant;

use crate::commands::{Dispatch, Outcome, Verdict};

/// Most commands that wait for lines of one driver.
pub const WAITING: usize = 16;
/// Longest time between two looks at deadlines: they are boot time, which goes on through a suspend.
const LOOK: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub struct Waiting {
    commands: Vec<Dispatch>,
}

impl Waiting {
    /// One more, or none.
    pub fn add(&mut self, dispatch: Dispatch) {
        if self.commands.len() < WAITING {
            return self.commands.push(dispatch);
        }
        let message = format!("{WAITING} commands wait for lines that are being handed over; try again");
        let _ = dispatch.reply.send(Outcome::failed(Verdict::Refused, message));
    }

    /// All that are still in time, to be sent or to wait on.
    pub fn take(&mut self) -> Vec<Dispatch> {
        let (late, in_time) = std::mem::take(&mut self.commands)
            .into_iter()
            .filter(|dispatch| !dispatch.reply.is_closed())
            .partition(|dispatch| dispatch.request.deadline_boot_ns <= clock::boot_ns());
        let late: Vec<Dispatch> = late;
        for dispatch in late {
            let message = "its deadline passed while its line was handed over";
            let _ = dispatch.reply.send(Outcome::failed(Verdict::Expired, message));
        }
        in_time
    }

    /// When to look at deadlines.
    pub fn due(&self) -> Option<Instant> {
        let next = self.commands.iter().map(|dispatch| dispatch.request.deadline_boot_ns).min()?;
        let left = Duration::from_nanos(next.saturating_sub(clock::boot_ns()));
        Some(Instant::now() + left.min(LOOK))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::commands::{Action, Request};

    fn dispatch(left: Duration) -> (Dispatch, oneshot::Receiver<Outcome>) {
        let (reply, answer) = oneshot::channel();
        let deadline_boot_ns = clock::boot_ns() + left.as_nanos() as u64;
        let (id, device) = ("1".to_owned(), "boiler".to_owned());
        let request = Request { id, device, deadline_boot_ns, action: Action::Read(Vec::new()) };
        (Dispatch { request, reply }, answer)
    }

    #[tokio::test]
    async fn what_waits_too_long_is_expired_and_what_does_not_fit_is_refused() {
        let mut waiting = Waiting::default();
        let (late, said) = dispatch(Duration::ZERO);
        waiting.add(late);
        let mut answers: Vec<_> = (1..WAITING)
            .map(|_| {
                let (one, answer) = dispatch(Duration::from_secs(60));
                waiting.add(one);
                answer
            })
            .collect();
        let (more, refused) = dispatch(Duration::from_secs(60));
        waiting.add(more);
        assert_eq!(refused.await.unwrap().verdict, Verdict::Refused);
        assert!(waiting.due().is_some());
        // somebody who does not wait any more is not asked for
        answers.pop();
        assert_eq!(waiting.take().len(), WAITING - 2);
        assert_eq!(said.await.unwrap().verdict, Verdict::Expired);
        assert!(waiting.due().is_none());
    }
}
