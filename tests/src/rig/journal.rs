//! The gateway's log, read for surprises: errors and warnings that the case has not named.
//!
//! Always true: pure; a panic is a surprise in every case; what is allowed may come
//! [`MOST_REPEATS`] times in the life of a gateway, and once for each trouble the case makes, since a log that repeats itself fills the disk of a
//! small box.

/// Lines with the same allowed words for each start of the gateway.
const MOST_REPEATS: usize = 30;
/// What each start says.
const START: &str = "gateway starts";

/// Errors and warnings a case has reason to expect.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    /// Words of lines that must be there.
    pub must: Vec<String>,
    /// Words of lines that may be there.
    pub may: Vec<String>,
    /// How often the case does something to the gateway, each of which may be told once more.
    pub troubles: usize,
}

impl Journal {
    /// What is wrong with the log; empty when all is well.
    pub(super) fn surprises(&self, log: &str) -> Vec<String> {
        let told: Vec<&str> = log.lines().filter(|line| is_told(line)).collect();
        let has = |words: &String| told.iter().filter(|line| line.contains(words.as_str())).count();
        let named = || self.must.iter().chain(&self.may);
        let unnamed = told.iter().filter(|line| !named().any(|words| line.contains(words.as_str())));
        let missing = self.must.iter().filter(|words| has(words) == 0);
        let starts = log.lines().filter(|line| line.contains(START)).count();
        let most = MOST_REPEATS * starts.max(1) + self.troubles;
        let repeated = named().filter(|words| has(words) > most);
        unnamed
            .map(|line| format!("no case expects: {line}"))
            .chain(missing.map(|words| format!("nothing was said of: {words}")))
            .chain(repeated.map(|words| format!("said more than {most} times: {words}")))
            .collect()
    }
}

/// `2026-01-31T12:00:00.000000Z  WARN target: …`, or a panic of either process.
fn is_told(line: &str) -> bool {
    matches!(line.split_whitespace().nth(1), Some("ERROR" | "WARN")) || line.contains("panicked at")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-11-22T20:24:52.9Z  INFO app: gateway starts\n\
                       2026-11-22T20:24:53.2Z  WARN link: the broker is not reachable\n\
                       2026-11-22T20:24:54.2Z ERROR app: driver is down driver=a\n";

    fn journal(must: &[&str], may: &[&str]) -> Journal {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Journal { must: own(must), may: own(may), troubles: 0 }
    }

    #[test]
    fn what_the_case_names_is_no_surprise_and_everything_else_is() {
        assert_eq!(journal(&["not reachable"], &["driver is down"]).surprises(LOG), Vec::<String>::new());
        let surprises = journal(&[], &["not reachable"]).surprises(LOG);
        assert!(surprises.len() == 1 && surprises[0].contains("driver=a"), "{surprises:?}");
        assert_eq!(journal(&["gateway starts"], &[]).surprises(LOG).len(), 3, "INFO tells nothing");
    }

    #[test]
    fn panics_missing_lines_and_floods_are_surprises() {
        let panicked = "thread 'tokio-rt-worker' panicked at src/app.rs:1:2:\n";
        assert_eq!(journal(&[], &[]).surprises(panicked).len(), 1);
        assert!(journal(&["torn"], &[]).surprises("")[0].contains("nothing was said of: torn"));
        let again = LOG.repeat(31);
        assert_eq!(
            journal(&[], &["not reachable", "driver is down"]).surprises(&again),
            Vec::<String>::new()
        );
        let flood = again.replacen("gateway starts", "gateway", 30);
        let named = journal(&[], &["not reachable", "driver is down"]);
        assert_eq!(named.surprises(&flood).len(), 2);
        assert_eq!(Journal { troubles: 1, ..named }.surprises(&flood), Vec::<String>::new());
    }
}
