//! A new configuration before it runs: read, checked by the gateway and by the drivers, compared.
//!
//! Always true: nothing that runs is touched here; what has a mistake never becomes [`Verdict::Run`].

use std::path::Path;

use crate::config::change::{changes, later};
use crate::config::{self, Config, Loaded, Problem, Sources};
use crate::control::message::{ReloadReply, Reloaded};
use crate::southbound::check;

/// Words of warning and mistakes that the log names one by one; the rest is counted.
const LOGGED: usize = 20;

/// What is to be done with the files as they are now.
#[derive(Debug)]
pub enum Verdict {
    /// Run it; the reply is what is said once it does.
    Run(Box<(Config, Sources)>, ReloadReply),
    /// Go on as before.
    Stay(ReloadReply),
}

/// Reads the files in `dir` and asks the drivers, whose processes for that end with the answer.
pub async fn look(dir: &Path, running: &Config) -> Verdict {
    let mut loaded = config::load(dir);
    if let Some(draft) = &loaded.draft {
        let found = check::check(draft).await;
        loaded.add(found);
    }
    let mistakes = loaded.mistakes().count();
    log(&loaded);
    let reply = |result, message: String, changes, loaded: &Loaded| ReloadReply {
        result,
        message,
        changes,
        problems: loaded.problems.iter().map(Problem::to_json).collect(),
        text: loaded.problems.iter().map(|problem| problem.picture(&loaded.sources, false)).collect(),
    };
    match loaded.config.take() {
        Some(config) if mistakes == 0 => {
            let changed = changes(running, &config);
            if changed.is_empty() {
                let message = "nothing changed: the files say what runs".to_owned();
                return Verdict::Stay(reply(Reloaded::Unchanged, message, changed, &loaded));
            }
            let mut message = format!("the new configuration runs: {}", config.summary());
            for note in later(running, &config) {
                message += &format!("; {note}");
            }
            let reply = reply(Reloaded::Applied, message, changed, &loaded);
            Verdict::Run(Box::new((config, loaded.sources)), reply)
        }
        _ => {
            let plural = if mistakes == 1 { "mistake" } else { "mistakes" };
            let message = format!("{mistakes} {plural}; nothing changed, the gateway runs as before");
            Verdict::Stay(reply(Reloaded::Refused, message, Vec::new(), &loaded))
        }
    }
}

/// A reload by a signal has nobody else to tell.
fn log(loaded: &Loaded) {
    for problem in loaded.problems.iter().take(LOGGED) {
        match problem.warning {
            true => tracing::warn!(%problem, "configuration"),
            false => tracing::error!(%problem, "the new configuration has a mistake"),
        }
    }
    if let Some(more) = loaded.problems.len().checked_sub(LOGGED).filter(|more| *more > 0) {
        tracing::error!(more, "the new configuration has more; `sagoo-edge check` shows them all");
    }
}
