//! `sagoo-edge check`: every mistake at once, the gateway's and the drivers'.
//!
//! Always true: a mistake in the gateway's part does not hide those in the drivers' parts, unless a
//! file could not be read to its end.

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use crate::config::{self, Config, DriverProblem, Loaded, Problem};

use super::CheckArgs;
use super::print::{self, Tone};

/// Checks the configuration; `drivers_check` asks the drivers about their part of it. What it is given
/// may lack what is wrong: it must not be run.
pub async fn check(args: &CheckArgs, drivers_check: impl AsyncFn(&Config) -> Vec<DriverProblem>) -> ExitCode {
    let mut loaded = config::load(&args.config);
    let found = match &loaded.draft {
        Some(draft) => drivers_check(draft).await,
        None => Vec::new(),
    };
    loaded.add(found);
    let valid = loaded.mistakes().next().is_none();
    match args.json {
        true => print::json(&document(&loaded), valid),
        false => print::out(&text(&loaded, print::colours()), valid),
    }
}

/// `run` with mistakes in the configuration: shows them, the drivers' too, on stderr and does not start.
pub async fn refuse(
    mut loaded: Loaded,
    drivers_check: impl AsyncFn(&Config) -> Vec<DriverProblem>,
) -> ExitCode {
    let found = match &loaded.draft {
        Some(draft) => drivers_check(draft).await,
        None => Vec::new(),
    };
    loaded.add(found);
    print::error(&text(&loaded, print::error_colours()))
}

/// The last line: `3 mistakes in 2 files`.
fn verdict(loaded: &Loaded) -> String {
    let wrong = loaded.mistakes().count();
    let files: BTreeSet<_> = loaded.mistakes().map(|problem| problem.place.file.as_str()).collect();
    let warned = match loaded.problems.len() - wrong {
        0 => String::new(),
        count => format!(" ({})", counted(count, "warning")),
    };
    match (&loaded.config, wrong) {
        (Some(config), 0) => format!("configuration is valid: {}{warned}", config.summary()),
        _ => format!("{} in {}{warned}", counted(wrong, "mistake"), counted(files.len(), "file")),
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

pub(super) fn text(loaded: &Loaded, colours: bool) -> String {
    let pictures = loaded.problems.iter().map(|problem| problem.picture(&loaded.sources, colours) + "\n");
    let mut out: String = pictures.collect();
    let valid = loaded.mistakes().next().is_none();
    if !valid && loaded.draft.is_none() {
        out += "drivers have not checked their part: a file could not be read to its end\n";
    }
    let tone = if valid { Tone::Good } else { Tone::Bad };
    out += &tone.paint(&verdict(loaded), colours);
    out.push('\n');
    out
}

pub(super) fn document(loaded: &Loaded) -> Json {
    let wrong = loaded.mistakes().count();
    json!({
        "valid": wrong == 0,
        "config": loaded.sources.dir(),
        "summary": verdict(loaded),
        "mistakes": wrong,
        "warnings": loaded.problems.len() - wrong,
        "drivers_asked": loaded.draft.is_some(),
        "problems": loaded.problems.iter().map(Problem::to_json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const VALID: &str = "[gateway]\nproduct_key = \"p\"\ndevice_key = \"d\"\n[sagoo]\nbroker = \"mqtts://b\"\n\
        [connection.c]\ndriver = \"modbus\"\n[model.m.points]\nx = { scal = 2 }\n\
        [device.a]\nconnection = \"c\"\nmodel = \"m\"\nsagoo = { product_key = \"p\", device_key = \"a\" }\n";

    fn loaded(text: &str) -> Loaded {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("gateway.toml"), text).unwrap();
        config::load(dir.path())
    }

    fn misspelt() -> DriverProblem {
        DriverProblem {
            path: ["model", "m", "points", "x", "scal"].map(str::to_owned).to_vec(),
            message: "unknown key \"scal\"".into(),
            hint: "did you mean \"scale\"?".into(),
            warning: false,
        }
    }

    #[test]
    fn a_valid_configuration_is_counted() {
        let loaded = loaded(VALID);
        assert_eq!(text(&loaded, false), "configuration is valid: 1 connection, 1 device, 1 point\n");
        assert_eq!(document(&loaded)["valid"], true);
    }

    #[test]
    fn mistakes_of_gateway_and_driver_are_shown_together_and_in_order() {
        let mut loaded = loaded(&format!("{VALID}[buffer]\nsync = 5\n"));
        assert!(loaded.draft.is_some());
        loaded.add(vec![misspelt(), misspelt()]);
        let expected = "\
gateway.toml:9:7: unknown key \"scal\"; did you mean \"scale\"?
  |
9 | x = { scal = 2 }
  |       ^^^^^^^^

gateway.toml:15:8: expected a duration like \"1s\", found integer 5; with its unit: \"5s\"
   |
15 | sync = 5
   |        ^

2 mistakes in 1 file
";
        assert_eq!(text(&loaded, false), expected);
        assert_eq!(document(&loaded)["problems"][0]["column"], 7);
        assert_eq!(document(&loaded)["valid"], false);
    }

    #[test]
    fn a_broken_file_says_that_drivers_checked_nothing() {
        let loaded = loaded(&VALID.replace("scal = 2", "scal = "));
        let text = text(&loaded, false);
        assert!(text.contains("drivers have not checked their part"), "{text}");
        assert!(text.ends_with("1 mistake in 1 file\n"), "{text}");
    }

    #[test]
    fn warnings_alone_are_valid() {
        let mut loaded = loaded(VALID);
        loaded.add(vec![DriverProblem { warning: true, ..misspelt() }]);
        let text = text(&loaded, false);
        assert!(text.starts_with("gateway.toml:9:7: warning: unknown key"), "{text}");
        assert!(text.ends_with("valid: 1 connection, 1 device, 1 point (1 warning)\n"), "{text}");
    }
}
