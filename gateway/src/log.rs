//! What is logged, to stderr, for people or journald.
//!
//! Always true: what `SAGOO_LOG` says is taken as far as it can be understood, and the rest of it is
//! complained about; nothing that is typed there can silence the gateway by mistake.

use std::io::{IsTerminal, stderr};

use sagoo_edge_proto::levels::{Levels, VARIABLE};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Begins; before the first thing that is worth a line.
pub fn begin() {
    let wanted = std::env::var_os(VARIABLE).unwrap_or_default();
    let wanted = wanted.to_string_lossy();
    let levels = Levels::parse(&wanted);
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(stderr);
    tracing_subscriber::registry().with(lines.with_filter(targets(&levels))).init();
    for part in levels.wrong {
        tracing::warn!(
            part,
            remedy = "a level is off, error, warn, info, debug or trace; for one module, MODULE=LEVEL",
            "{VARIABLE} cannot be understood and is left out"
        );
    }
}

fn targets(levels: &Levels<'_>) -> Targets {
    let targets = Targets::new().with_default(levels.default);
    targets.with_targets(levels.modules.iter().copied())
}

#[cfg(test)]
mod tests {
    use tracing::Level;
    use tracing::level_filters::LevelFilter;

    use super::*;

    #[test]
    fn a_level_and_levels_of_modules_are_used() {
        let targets = targets(&Levels::parse("sagoo_edge::northbound=debug, rumqttc=off,warn"));
        assert_eq!(targets.default_level(), Some(LevelFilter::WARN));
        assert!(targets.would_enable("sagoo_edge::northbound::sagoo", &Level::DEBUG));
        assert!(!targets.would_enable("sagoo_edge::pipeline", &Level::INFO));
        assert!(!targets.would_enable("rumqttc", &Level::ERROR));
    }

    #[test]
    fn what_is_no_level_silences_nothing() {
        for wanted in ["", "dbug", "=debug", "debug=", "mqtt=loud"] {
            assert!(targets(&Levels::parse(wanted)).would_enable("sagoo_edge", &Level::INFO), "{wanted}");
        }
    }
}
