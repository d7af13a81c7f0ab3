//! Lines that need more than all of their wire: no process opens them, the others run.
//!
//! Always true: what is refused is said once, with the arithmetic, and its devices show why they are
//! not read.

use sagoo_edge_proto::driver as wire;

use super::Shell;
use crate::southbound::check::strained;
use crate::southbound::instance::Order;
use crate::southbound::life::seat::Lines;
use crate::southbound::life::{Known, Number};
use crate::status::LineStatus;

impl Shell {
    /// Lines that this process must not open, by what its files say.
    pub(super) fn refused(&self, number: Number) -> Lines {
        self.known_of(number).map(full).unwrap_or_default()
    }

    /// What status shows of lines that the process at work must not open.
    pub(super) fn refused_lines(&self) -> Vec<(String, LineStatus)> {
        let active = self.life.shown().active;
        let known = active.and_then(|number| self.known_of(number));
        let full = known.into_iter().flat_map(|known| known.strains.iter().filter(|(_, one)| one.refused));
        let shown = full.map(|(line, strain)| {
            let reason = format!("refused: {}", strain.message);
            (line.clone(), LineStatus { reason, ..LineStatus::default() })
        });
        shown.collect()
    }

    fn known_of(&self, number: Number) -> Option<&Known> {
        let kind = &self.instances.get(&number)?.note.kind;
        self.said.iter().find(|known| known.kind.is(kind))
    }

    /// Files were asked: what they say of full wires holds for processes made of them, those that run
    /// already, too.
    pub(super) fn strained(&mut self, known: &Known) {
        let strains = known.strains.iter();
        let problems: Vec<wire::Problem> =
            strains.map(|(line, strain)| strained(line, strain.clone())).collect();
        self.say(problems);
        let lines = full(known);
        if lines.is_empty() {
            return;
        }
        let running = self.instances.iter().filter(|(_, member)| member.note.kind.is(&known.kind));
        let running: Vec<Number> = running.map(|(number, _)| *number).collect();
        for number in running {
            self.order(number, Order::Release(lines.clone()));
        }
        for (device, line) in self.context.owners.iter().filter(|(_, line)| lines.contains(*line)) {
            let context = self.context.clone();
            let (device, reason) =
                (device.clone(), format!("{line} is refused: {}", known.strains[line].message));
            self.tasks.spawn(async move {
                context.online.send_if_modified(|online| online.remove(&device));
                // a pipeline that has ended shows nothing
                let _ = context.pipeline.link(device.as_str().into(), false, reason).await;
            });
        }
    }
}

fn full(known: &Known) -> Lines {
    known.strains.iter().filter(|(_, strain)| strain.refused).map(|(line, _)| line.clone()).collect()
}
