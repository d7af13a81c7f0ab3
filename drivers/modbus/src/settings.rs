//! Reads one table of settings key by key and collects every mistake with its place.
//!
//! Always true: a mistake never hides another one; a key nobody reads is a mistake with "did you
//! mean"; a value of the wrong type is reported once, at the table that wrote it (a device's
//! override or its model).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use sagoo_driver_sdk::{Problem, did_you_mean};
use serde_json::Value as Json;

/// A place in the TOML.
pub(crate) type Path = Vec<String>;

/// Every mistake found so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) problems: Vec<Problem>,
}

impl Report {
    /// A mistake that keeps its device from running. The same mistake is told once: a model's
    /// points are read again for each device that overrides something.
    pub(crate) fn error(&mut self, path: Path, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Problem { path, message: message.into(), hint: hint.into(), warning: false });
    }

    /// Something odd that runs all the same.
    pub(crate) fn warning(&mut self, path: Path, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Problem { path, message: message.into(), hint: hint.into(), warning: true });
    }

    fn add(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// How many mistakes there are, warnings left out.
    pub(crate) fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| !problem.warning).count()
    }
}

/// `path` with one more step.
pub(crate) fn step(path: &[String], key: &str) -> Path {
    let mut path = path.to_vec();
    path.push(key.to_owned());
    path
}

/// A place from words.
pub(crate) fn path<const N: usize>(steps: [&str; N]) -> Path {
    steps.iter().map(|step| (*step).to_owned()).collect()
}

/// The hint for a word that is none of `words`.
pub(crate) fn suggest(word: &str, words: &[&str]) -> String {
    did_you_mean(word, words.iter().copied()).unwrap_or_else(|| format!("known here: {}", words.join(", ")))
}

/// What this driver will understand one day: a plain answer is better than "unknown key".
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotYet {
    /// The key.
    pub(crate) key: &'static str,
    /// What is not supported, and is plural.
    pub(crate) what: &'static str,
    /// What to do instead.
    pub(crate) hint: &'static str,
}

/// One table, perhaps with another one over it.
#[derive(Debug, Clone)]
pub(crate) struct Settings<'a> {
    path: Path,
    /// Where the overriding table is.
    over: Option<Path>,
    entries: BTreeMap<&'a str, Entry<'a>>,
    /// Keys that are none.
    unknown: Vec<&'a str>,
    keys: &'static [&'static str],
    not_yet: &'static [NotYet],
}

#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    value: &'a Json,
    overridden: bool,
}

impl<'a> Settings<'a> {
    /// Opens the table at `path`; what is not one of `keys` is reported.
    pub(crate) fn open(
        value: &'a Json,
        path: Path,
        keys: &'static [&'static str],
        not_yet: &'static [NotYet],
        report: &mut Report,
    ) -> Option<Self> {
        let mut settings =
            Self { path, over: None, entries: BTreeMap::new(), unknown: Vec::new(), keys, not_yet };
        let place = settings.path.clone();
        settings.lay(value, &place, false, report).then_some(settings)
    }

    /// The same table with `value` laid over it, key by key.
    pub(crate) fn overridden(&self, value: &'a Json, path: Path, report: &mut Report) -> Option<Self> {
        let mut settings = self.clone();
        let laid = settings.lay(value, &path, true, report);
        settings.over = Some(path);
        laid.then_some(settings)
    }

    fn lay(&mut self, value: &'a Json, place: &[String], overridden: bool, report: &mut Report) -> bool {
        let Some(object) = value.as_object() else {
            report.error(
                place.to_vec(),
                format!("{} where a table belongs", kind(value)),
                "a table is { key = value, … }",
            );
            return false;
        };
        for (key, value) in object {
            if self.keys.contains(&key.as_str()) {
                self.entries.insert(key, Entry { value, overridden });
            } else if let Some(word) = self.not_yet.iter().find(|word| word.key == key) {
                let message = format!("{} are not supported by this driver version yet", word.what);
                report.error(step(place, key), message, word.hint);
            } else {
                report.error(step(place, key), format!("unknown key {key:?}"), suggest(key, self.keys));
                self.unknown.push(key);
            }
        }
        true
    }

    /// One entry of a table whose keys the user chooses.
    pub(crate) fn chosen(key: &'a str, value: &'a Json, path: Path) -> Self {
        let entries = BTreeMap::from([(key, Entry { value, overridden: false })]);
        Self { path, over: None, entries, unknown: Vec::new(), keys: &[], not_yet: &[] }
    }

    /// Where the table is.
    pub(crate) fn path(&self) -> &[String] {
        &self.path
    }

    /// Where `key` was written: in the overriding table or in this one.
    pub(crate) fn path_of(&self, key: &str) -> Path {
        match (&self.over, self.entries.get(key)) {
            (Some(over), Some(entry)) if entry.overridden => step(over, key),
            (_, Some(_)) => step(&self.path, key),
            (_, None) => self.path.clone(),
        }
    }

    /// Where to look for a contradiction between keys: an override is the likelier mistake.
    pub(crate) fn blame(&self, keys: &[&str]) -> Path {
        let overridden = |key: &&&str| self.entries.get(**key).is_some_and(|entry| entry.overridden);
        let present = |key: &&&str| self.entries.contains_key(**key);
        let key = keys.iter().find(overridden).or_else(|| keys.iter().find(present));
        key.map_or_else(|| self.path.clone(), |key| self.path_of(key))
    }

    /// Whether `key` is there under a name that was reported as a slip of the pen: then it is not
    /// missing as well.
    pub(crate) fn misspelt(&self, key: &str) -> bool {
        let meant = did_you_mean(key, [key]);
        self.unknown.iter().any(|word| did_you_mean(word, self.keys.iter().copied()) == meant)
    }

    /// The value as it is.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Json> {
        debug_assert!(self.keys.is_empty() || self.keys.contains(&key), "{key} is not a key of this table");
        self.entries.get(key).map(|entry| entry.value)
    }

    /// Reports a mistake at `key`.
    pub(crate) fn error(
        &self,
        key: &str,
        report: &mut Report,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        report.error(self.path_of(key), message, hint);
    }

    fn wrong(&self, key: &str, report: &mut Report, value: &Json, wanted: &str) {
        self.error(key, report, format!("{key} is {}, not {wanted}", kind(value)), "");
    }

    /// A text.
    pub(crate) fn text(&self, key: &str, report: &mut Report) -> Option<&'a str> {
        let value = self.get(key)?;
        if value.as_str().is_none() {
            self.wrong(key, report, value, "a text in quotes");
        }
        value.as_str()
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, key: &str, report: &mut Report) -> Option<bool> {
        let value = self.get(key)?;
        if value.as_bool().is_none() {
            self.wrong(key, report, value, "true or false");
        }
        value.as_bool()
    }

    /// A finite number.
    pub(crate) fn number(&self, key: &str, report: &mut Report) -> Option<f64> {
        let value = self.get(key)?;
        let number = value.as_f64().filter(|number| number.is_finite());
        if number.is_none() {
            self.wrong(key, report, value, "a number");
        }
        number
    }

    /// A whole number within `range`.
    pub(crate) fn integer(&self, key: &str, range: RangeInclusive<i64>, report: &mut Report) -> Option<i64> {
        let value = self.get(key)?;
        let Some(integer) = value.as_i64() else {
            self.wrong(key, report, value, "a whole number");
            return None;
        };
        if !range.contains(&integer) {
            let message = format!("{key} = {integer} is out of range");
            self.error(key, report, message, format!("{} to {}", range.start(), range.end()));
            return None;
        }
        Some(integer)
    }

    /// A duration such as `"300ms"` within `range`.
    pub(crate) fn duration(
        &self,
        key: &str,
        range: RangeInclusive<Duration>,
        report: &mut Report,
    ) -> Option<Duration> {
        let text = match self.get(key)? {
            Json::Number(number) => {
                let hint = format!("write {key} = \"{number}s\" or \"{number}ms\"");
                self.error(key, report, format!("{key} has no unit"), hint);
                return None;
            }
            _ => self.text(key, report)?,
        };
        let Some(duration) = parse_duration(text) else {
            let message = format!("{text:?} is not a duration");
            self.error(key, report, message, "like \"300ms\", \"5s\", \"1m30s\", \"1h\"");
            return None;
        };
        if !range.contains(&duration) {
            let hint = format!("{:?} to {:?}", range.start(), range.end());
            self.error(key, report, format!("{key} = {text:?} is out of range"), hint);
            return None;
        }
        Some(duration)
    }
}

/// `1m30s` → 90 s. Whole numbers with the units `ms`, `s`, `m`, `h`, `d`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total_ms = 0u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let unit_ms = match unit.trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total_ms = total_ms.checked_add(number.parse::<u64>().ok()?.checked_mul(unit_ms)?)?;
        rest = after;
    }
    Some(Duration::from_millis(total_ms))
}

/// What a value is, in a person's words.
fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "nothing",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEYS: &[&str] = &["timeout", "count", "on"];

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let table = json!({ "timeuot": "1s", "count": 12, "on": "yes", "timeout": 300 });
        let mut report = Report::default();
        let settings = Settings::open(&table, path(["connection", "hall"]), KEYS, &[], &mut report).unwrap();
        assert_eq!(settings.integer("count", 0..=9, &mut report), None);
        assert_eq!(settings.flag("on", &mut report), None);
        let day = Duration::from_secs(86_400);
        assert_eq!(settings.duration("timeout", Duration::ZERO..=day, &mut report), None);
        let told: Vec<_> = report.problems.iter().map(|p| (p.path[2].as_str(), p.hint.as_str())).collect();
        assert_eq!(
            told,
            [
                ("timeuot", "did you mean \"timeout\"?"),
                ("count", "0 to 9"),
                ("on", ""),
                ("timeout", "write timeout = \"300s\" or \"300ms\""),
            ]
        );
    }

    #[test]
    fn an_override_is_blamed_for_what_it_wrote() {
        let (model, device) = (json!({ "count": 1, "on": true }), json!({ "count": "two" }));
        let mut report = Report::default();
        let settings = Settings::open(&model, path(["model", "m"]), KEYS, &[], &mut report).unwrap();
        let settings = settings.overridden(&device, path(["device", "d"]), &mut report).unwrap();
        assert_eq!(settings.path_of("count"), path(["device", "d", "count"]));
        assert_eq!(settings.path_of("on"), path(["model", "m", "on"]));
        assert_eq!(settings.blame(&["on", "count"]), path(["device", "d", "count"]));
        assert_eq!(settings.path_of("timeout"), path(["model", "m"]));
    }

    #[test]
    fn a_misspelt_key_is_not_missing_as_well() {
        let (model, device) = (json!({ "timeuot": "1s", "cuont": 1 }), json!({ "no": true }));
        let mut report = Report::default();
        let settings = Settings::open(&model, path(["model", "m"]), KEYS, &[], &mut report).unwrap();
        assert!(settings.misspelt("timeout") && settings.misspelt("count") && !settings.misspelt("on"));
        let settings = settings.overridden(&device, path(["device", "d"]), &mut report).unwrap();
        assert!(settings.misspelt("count") && settings.misspelt("on"));
        assert_eq!(report.errors(), 3);
    }

    #[test]
    fn durations_are_humane() {
        let ms = |text| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(ms("300ms"), Some(300));
        assert_eq!(ms("1m30s"), Some(90_000));
        assert_eq!(ms("2 h"), Some(7_200_000));
        for wrong in ["", "5", "s", "-1s", "1.5s", "5 parsecs", "99999999999999999999s", "9999999999999999d"]
        {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
    }
}
