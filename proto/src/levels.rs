//! What is logged, as `SAGOO_LOG` says it to the gateway and, passed on, to its drivers.
//!
//! Always true: it is taken as far as it can be understood, and the rest is named; nothing that is typed
//! there means silence by mistake.

use tracing::level_filters::LevelFilter;

/// The environment variable with the level (`debug`), or levels (`driver_modbus=trace,info`).
pub const VARIABLE: &str = "SAGOO_LOG";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Levels<'a> {
    /// Of all that `modules` do not name; [`LevelFilter::INFO`] where nothing else was said.
    pub default: LevelFilter,
    /// Of single modules.
    pub modules: Vec<(&'a str, LevelFilter)>,
    /// Parts that say nothing.
    pub wrong: Vec<&'a str>,
}

impl<'a> Levels<'a> {
    /// Reads `LEVEL` and `MODULE=LEVEL`, with commas between them; the last of two counts.
    #[must_use]
    pub fn parse(wanted: &'a str) -> Self {
        let mut levels = Self { default: LevelFilter::INFO, modules: Vec::new(), wrong: Vec::new() };
        for part in wanted.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (module, level) = match part.split_once('=') {
                Some((module, level)) => (Some(module), level),
                None => (None, part),
            };
            // as words only: a number and nothing at all would be levels as well
            let is_word = level.contains(|c: char| c.is_ascii_alphabetic());
            match (module, level.parse().ok().filter(|_| is_word)) {
                (None, Some(level)) => levels.default = level,
                (Some(module), Some(level)) if !module.is_empty() => levels.modules.push((module, level)),
                _ => levels.wrong.push(part),
            }
        }
        levels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_and_levels_of_modules_are_understood() {
        let levels = Levels::parse("sagoo_edge::northbound=debug, rumqttc=off,warn");
        let modules = vec![("sagoo_edge::northbound", LevelFilter::DEBUG), ("rumqttc", LevelFilter::OFF)];
        assert_eq!(levels, Levels { default: LevelFilter::WARN, modules, wrong: vec![] });
        assert_eq!(Levels::parse(" "), Levels { default: LevelFilter::INFO, modules: vec![], wrong: vec![] });
    }

    #[test]
    fn what_is_no_level_is_named_and_the_rest_is_taken() {
        for wanted in ["dbug", "=debug", "debug=", "3", "mqtt=loud"] {
            assert_eq!(Levels::parse(wanted), Levels { wrong: vec![wanted], ..Levels::parse("") });
        }
        let levels = Levels::parse("debug,mqtt=loud,3,,");
        assert_eq!((levels.default, levels.wrong), (LevelFilter::DEBUG, vec!["mqtt=loud", "3"]));
    }
}
