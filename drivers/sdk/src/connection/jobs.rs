//! One command: what its device is asked for, and its one result.
//!
//! Always true: a command is not started on a line that is given up, or past its deadline, and its
//! line is told the deadline of one that is.

use sagoo_edge_proto::driver::{CommandResult, Status};
use tokio::time::Instant;
use tracing::debug;

use super::{Device, Job, Mode, ON_HOLD, Report, Task, guard};
use crate::commands::{self, Work, result};
use crate::driver::{Driver, Line, LineError, Readings, Steps};

impl<D: Driver> Task<D> {
    pub(super) async fn execute(&mut self, job: Box<Job>, mode: Mode) {
        let done = self.work(&job, mode).await;
        debug!(connection = self.name, command_id = job.id, status = ?done.status(), "command finished");
        self.report(Report::Done(done)).await;
    }

    async fn work(&mut self, job: &Job, mode: Mode) -> CommandResult {
        let refused = |message: String| result(&job.id, Status::Refused, message);
        match mode {
            Mode::Run => {}
            Mode::Held => return refused(format!("connection {:?} is {ON_HOLD}", self.name)),
            Mode::Released | Mode::Stopped => {
                return refused(format!("connection {:?} is released", self.name));
            }
        }
        let Some(assigned) = self.devices.iter().find(|one| one.device.name == job.device).cloned() else {
            let known = self.devices.iter().map(|one| one.device.name.as_str());
            return refused(commands::unknown("device", &job.device, known));
        };
        let device = &assigned.device;
        let work = match commands::resolve(&job.id, job.action.clone(), &device.points) {
            Ok(work) => work,
            Err(refused) => return refused,
        };
        if job.deadline.passed() {
            return result(&job.id, Status::Expired, "its deadline passed while it waited".to_owned());
        }
        match self.run(job, device, work).await {
            Some(result) => result,
            None => {
                self.start_anew(&format!("executing a command for device {:?}", device.name));
                self.fail_paused(&guard::stood_still()).await;
                result(&job.id, Status::Unknown, guard::stood_still())
            }
        }
    }

    /// Makes the request; `None` when the line stood still in it.
    async fn run(&mut self, job: &Job, device: &Device<D>, work: Work) -> Option<CommandResult> {
        // It may take its time until its deadline, and then as long as any request.
        let due = Instant::now() + job.deadline.left();
        Some(match work {
            Work::Write(values) => {
                let written = self.line.write(&device.settings, &values, job.deadline);
                let outcomes = self.guard.watch(due, None, written).await?;
                commands::written(&job.id, &device.points, &values, outcomes)
            }
            Work::Read(points) => {
                let steps = Steps::default();
                let mut out = Readings::counted(&steps);
                let read = self.line.read(&device.settings, &points, &mut out);
                let error = self.guard.watch(due, Some(&steps), read).await?.err();
                match &error {
                    None | Some(LineError::Silent(_) | LineError::Postponed(_)) => self.told.open(),
                    Some(LineError::Broken(reason)) => {
                        self.told.closed(reason);
                        self.close().await;
                    }
                }
                commands::read(&job.id, &device.points, &points, out, error)
            }
            Work::Invoke(function, input) => {
                let invoked = self.line.invoke(&device.settings, &function, &input, job.deadline);
                let outcome = self.guard.watch(due, None, invoked).await?;
                commands::invoked(&job.id, outcome)
            }
        })
    }

    pub(super) async fn refuse_waiting(&mut self) {
        self.jobs.close();
        while let Some(job) = self.jobs.recv().await {
            if !job.claim.take() {
                continue;
            }
            let message = format!("connection {:?} was stopped before the command's turn", self.name);
            self.report(Report::Done(result(&job.id, Status::Refused, message))).await;
        }
    }
}
