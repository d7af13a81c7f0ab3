//! Command ids that were seen, so that a repeated one is never executed again.
//!
//! Always true: at most [`REMEMBERED`] finished commands are kept, the oldest forgotten first;
//! a running one is never forgotten (how many run is bounded by the connections' queues).

use std::collections::{HashMap, VecDeque};

use sagoo_edge_proto::driver::{CommandResult, Status};

use super::result;

/// Most finished commands kept.
pub(crate) const REMEMBERED: usize = 1_024;

/// Every command of this process that a gateway may still ask about.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    states: HashMap<String, State>,
    finished: VecDeque<String>,
}

#[derive(Debug)]
enum State {
    Running,
    Finished(CommandResult),
}

/// What is known about an id.
#[derive(Debug, PartialEq)]
pub(crate) enum Known {
    /// Never seen: it is now counted as running.
    New,
    /// Its one result is still to come.
    Running,
    /// Its one result, again.
    Finished(CommandResult),
}

impl Memory {
    /// Looks an id up, and takes it in when it is new.
    pub(crate) fn meet(&mut self, id: &str) -> Known {
        match self.states.get(id) {
            Some(State::Running) => Known::Running,
            Some(State::Finished(result)) => Known::Finished(result.clone()),
            None => {
                self.states.insert(id.to_owned(), State::Running);
                Known::New
            }
        }
    }

    /// Keeps the result of a command. False when it has one already: the first one stands.
    pub(crate) fn finish(&mut self, result: CommandResult) -> bool {
        let id = result.id.clone();
        if matches!(self.states.get(&id), Some(State::Finished(_))) {
            return false;
        }
        self.states.insert(id.clone(), State::Finished(result));
        self.finished.push_back(id);
        while self.finished.len() > REMEMBERED {
            if let Some(oldest) = self.finished.pop_front() {
                self.states.remove(&oldest);
            }
        }
        true
    }

    /// Ends every command whose line is gone; gives back their results.
    pub(crate) fn give_up(&mut self, reason: &str) -> Vec<CommandResult> {
        let running = self.states.iter().filter(|(_, state)| matches!(state, State::Running));
        let results: Vec<CommandResult> =
            running.map(|(id, _)| result(id, Status::Unknown, reason.to_owned())).collect();
        for result in &results {
            self.finish(result.clone());
        }
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_id_is_never_new_again() {
        let mut memory = Memory::default();
        assert_eq!(memory.meet("a"), Known::New);
        assert_eq!(memory.meet("a"), Known::Running);
        let done = result("a", Status::Applied, String::new());
        assert!(memory.finish(done.clone()));
        assert_eq!(memory.meet("a"), Known::Finished(done.clone()));
        assert!(!memory.finish(result("a", Status::Unknown, "late".to_owned())), "the first result stands");
        assert_eq!(memory.meet("a"), Known::Finished(done));
    }

    #[test]
    fn the_oldest_finished_are_forgotten_and_running_ones_never() {
        let mut memory = Memory::default();
        memory.meet("runs on");
        for id in 0..=REMEMBERED {
            memory.meet(&id.to_string());
            memory.finish(result(&id.to_string(), Status::Applied, String::new()));
        }
        assert_eq!(memory.meet("runs on"), Known::Running);
        assert_eq!(memory.meet("0"), Known::New);
        assert!(matches!(memory.meet("1"), Known::Finished(_)));
        assert_eq!(memory.states.len(), REMEMBERED + 2);
    }
}
