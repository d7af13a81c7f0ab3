//! What is logged, to stderr, for people or journald.
//!
//! Always true: what `SAGOO_LOG` says is taken as far as it can be understood, and the rest of it is
//! complained about; nothing that is typed there can silence the gateway by mistake.

use std::io::{IsTerminal, stderr};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// The environment variable with the level (`debug`), or levels (`sagoo_edge::northbound=debug,info`).
const VARIABLE: &str = "SAGOO_LOG";
/// When nothing else is wanted.
const DEFAULT: LevelFilter = LevelFilter::INFO;

/// Begins; before the first thing that is worth a line.
pub fn begin() {
    let wanted = std::env::var_os(VARIABLE).unwrap_or_default();
    let wanted = wanted.to_string_lossy();
    let (targets, wrong) = targets(&wanted);
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(stderr);
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
    for part in wrong {
        tracing::warn!(
            part,
            remedy = "a level is off, error, warn, info, debug or trace; for one module, MODULE=LEVEL",
            "{VARIABLE} cannot be understood and is left out"
        );
    }
}

/// What is logged, and the parts of `wanted` that say nothing.
fn targets(wanted: &str) -> (Targets, Vec<&str>) {
    let (mut targets, mut wrong) = (Targets::new().with_default(DEFAULT), Vec::new());
    for part in wanted.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (module, level) =
            part.split_once('=').map_or((None, part), |(module, level)| (Some(module), level));
        // as words only: a number and nothing at all would be levels as well
        let level =
            level.parse::<LevelFilter>().ok().filter(|_| level.contains(|c: char| c.is_ascii_alphabetic()));
        targets = match (module, level) {
            (None, Some(level)) => targets.with_default(level),
            (Some(module), Some(level)) if !module.is_empty() => targets.with_target(module, level),
            _ => {
                wrong.push(part);
                targets
            }
        };
    }
    (targets, wrong)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_level_and_levels_of_modules_are_understood() {
        let (targets, wrong) = targets("sagoo_edge::northbound=debug, rumqttc=off,warn");
        assert!(wrong.is_empty());
        assert_eq!(targets.default_level(), Some(LevelFilter::WARN));
        assert!(targets.would_enable("sagoo_edge::northbound::sagoo", &Level::DEBUG));
        assert!(!targets.would_enable("sagoo_edge::pipeline", &Level::INFO));
        assert!(!targets.would_enable("rumqttc", &Level::ERROR));
    }

    #[test]
    fn what_is_no_level_silences_nothing_and_is_named() {
        for (wanted, wrong) in
            [("dbug", vec!["dbug"]), ("=debug", vec!["=debug"]), ("debug=", vec!["debug="])]
        {
            assert_eq!(targets(wanted).1, wrong, "{wanted}");
            assert!(targets(wanted).0.would_enable("sagoo_edge", &Level::INFO), "{wanted}");
        }
        let (targets, wrong) = targets("debug,mqtt=loud,3,,");
        assert_eq!(wrong, ["mqtt=loud", "3"]);
        assert!(targets.would_enable("sagoo_edge", &Level::DEBUG), "the rest is taken");
    }
}
