//! What people are told of a driver: its problems in the log, everything else in status.

use sagoo_edge_plugin_host::Lack;
use sagoo_edge_proto::driver as wire;

use super::{Member, Shell};
use crate::southbound::check;
use crate::status::{DriverStatus, StandbyStatus};

/// Problems of a configuration that are remembered as said.
const SAID: usize = 1000;
/// A driver that says nothing of its rights.
const NO_RIGHTS: &str =
    "network: the driver does not say which ports it needs, so that it may use all; update the driver";

impl Shell {
    /// Each problem is said once in a round, whichever process has it.
    pub(super) fn say(&mut self, problems: Vec<wire::Problem>) {
        let driver = &self.context.driver;
        let mut fresh = Vec::new();
        for problem in problems {
            if self.problems.len() < SAID
                && self.problems.insert((problem.path.clone(), problem.message.clone()))
            {
                fresh.push(check::found(problem));
            }
        }
        for problem in self.sources.problems(fresh) {
            // as a text it is escaped: the words are the driver's
            let shown = problem.to_string();
            if problem.warning {
                tracing::warn!(%driver, problem = shown, "driver warns about its configuration");
            } else {
                tracing::error!(%driver, problem = shown, "driver refuses part of its configuration; the rest runs");
            }
        }
    }

    pub(super) fn show(&self) {
        let shown = self.life.shown();
        let active = shown.active.and_then(|number| self.instances.get(&number));
        let standby = shown.standby.map(|(number, word)| StandbyStatus {
            pid: self.instances.get(&number).map(|member| member.facts.pid).filter(|pid| *pid > 0),
            state: word.to_owned(),
        });
        let found =
            self.build.as_ref().map(|build| (build.program.display().to_string(), build.signed.is_some()));
        self.status.send_if_modified(|status| {
            let before = status.clone();
            status.state = shown.state.to_owned();
            status.restarts = shown.restarts;
            status.last_error = shown.last_error;
            status.last_lines = shown.last_lines;
            status.update = shown.update;
            status.standby = standby;
            status.lines = self.wires.shown();
            status.lines.extend(self.refused_lines());
            status.pid = active.map(|member| member.facts.pid).filter(|pid| *pid > 0);
            match active {
                Some(member) => member.show(status),
                None => {
                    // what is said of a process goes with it
                    (status.program, status.signed) = found.unwrap_or_default();
                    status.reattached = false;
                    status.lacks.clear();
                    if status.state == "missing" {
                        (status.version, status.program, status.signed) = Default::default();
                    }
                }
            }
            *status != before
        });
    }
}

impl Member {
    fn show(&self, status: &mut DriverStatus) {
        let Self { facts, note, .. } = self;
        status.program.clone_from(&note.program);
        status.signed = note.signed;
        status.reattached = facts.reattached;
        status.version.clone_from(if note.kind.version.is_empty() {
            &facts.version
        } else {
            &note.kind.version
        });
        let lacks = facts.lacks.iter().map(|Lack { what, why }| format!("{what}: {why}"));
        let unlimited = note.kind.rights.is_none();
        status.lacks = lacks.chain(unlimited.then(|| NO_RIGHTS.to_owned())).collect();
    }
}
