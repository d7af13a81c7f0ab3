//! How a session, or the whole process, comes to its end.
//!
//! Always true: lines are closed before the last batch is made, and everything has a limit: lines
//! [`STOP_GRACE`](super::STOP_GRACE) or [`END_GRACE`], the gateway [`DRAIN_GRACE`](super::DRAIN_GRACE).

use sagoo_edge_proto::driver::driver_message::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::info;

use super::{END_GRACE, Session};
use crate::connection::Report;
use crate::driver::Driver;

impl<D: Driver> Session<D> {
    pub(super) fn cut_off(&mut self) {
        self.lines.tasks.abort_all();
        for refused in self.waiting.give_up() {
            self.report(Report::Done(refused));
        }
        for result in self.memory.give_up("its line was cut off while it ran") {
            self.say(Some(Message::CommandResult(result)));
        }
    }

    /// After `Stop`: when every line is closed and everything is sent, the stream ends.
    pub(super) fn finish_stop(&mut self) {
        if self.stop_at.is_none() || !self.lines.tasks.is_empty() {
            return;
        }
        self.flush();
        self.pump();
        if !self.backlog() {
            info!("stopped");
            self.stop_at = None;
            self.drop_link();
            self.wait_for_another();
        }
    }

    /// The process is to end: lines are closed, what the transport takes at once is sent.
    pub(super) async fn wind_down(&mut self, told: &mut mpsc::Receiver<Report>) {
        self.lines.stop_all();
        let until = Instant::now() + END_GRACE;
        while !self.lines.tasks.is_empty() {
            let step = async {
                tokio::select! {
                    biased;
                    Some(report) = told.recv() => Some(report),
                    Some(_) = self.lines.tasks.join_next() => None,
                }
            };
            match timeout_at(until, step).await {
                Ok(Some(report)) => self.report(report),
                Ok(None) => {}
                Err(_) => {
                    self.cut_off();
                    break;
                }
            }
        }
        while let Ok(report) = told.try_recv() {
            self.report(report);
        }
        self.flush();
        self.pump();
        self.drop_link();
    }
}
