//! The arrows and absences of the architecture (README, "The map"), held over `cargo metadata` and
//! the sources.
//!
//! Always true: what is not in a table here is forbidden, and a finding names its file, its line and
//! the arrow. Changing a table is changing the architecture.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use source::Source;

/// Which of our packages may use which. Drivers are one row: they see the SDK and nothing else.
const PACKAGES: &[(&str, &[&str])] = &[
    (
        "sagoo-edge",
        &["sagoo-edge-proto", "sagoo-edge-plugin-host", "sagoo-edge-buffer", "sagoo-edge-package"],
    ),
    ("sagoo-edge-plugin-host", &["sagoo-edge-proto"]),
    ("sagoo-edge-buffer", &[]),
    ("sagoo-edge-package", &[]),
    ("sagoo-edge-proto", &[]),
    ("sagoo-driver-sdk", &["sagoo-edge-proto"]),
    ("driver-*", &["sagoo-driver-sdk"]),
    (
        "bench",
        &["e2e", "sagoo-driver-sdk", "sagoo-edge-buffer", "sagoo-edge-plugin-host", "sagoo-edge-proto"],
    ),
];

/// The tests may use these, and need not: they start the others as processes.
const TESTS_MAY_USE: &[&str] = &["sagoo-driver-sdk", "sagoo-edge-proto"];

/// Crates of others that belong to some rooms only.
const OUTSIDE_CRATES: &[(&str, &[&str])] = &[
    ("rumqttc", &["sagoo-edge", "driver-mqtt", "e2e"]),
    ("tokio-serial", &["driver-modbus", "driver-serial", "e2e"]),
    ("sled", &["sagoo-edge-buffer"]),
    ("axum", &["sagoo-edge"]),
    ("clap", &["sagoo-edge"]),
];

/// Inside the gateway: which module may name which. `app` wires, so it alone names everybody.
///
/// Down the data path: `southbound` (session) → `pipeline` → buffer → `northbound` (forwarder, sagoo);
/// `northbound` and `control` send requests through `commands`. The words they all speak are `row`,
/// `class`, `status`, `commands` and `config`, which name nobody above them. Of two rows the longer one holds.
const GATEWAY: &[(&str, &[&str])] = &[
    ("main", &["app", "cli", "config", "heap", "log", "southbound"]),
    ("cli", &["commands", "config", "control", "status"]),
    ("control", &["commands", "config", "status"]),
    ("status/board", &["config", "control", "pipeline", "row", "status"]),
    ("southbound", &["commands", "config", "pipeline", "row", "state", "status"]),
    ("pipeline", &["class", "config", "row", "state", "status"]),
    ("northbound", &["class", "commands", "config", "pipeline", "row", "state", "status"]),
    ("commands", &["config", "row", "state"]),
    ("metrics", &["class", "status"]),
    ("config", &["class", "row"]),
    ("state", &[]),
    ("status", &["class"]),
    ("row", &[]),
    ("heap", &[]),
    ("log", &[]),
    ("class", &[]),
];

/// Rooms and the words that must not be in their code.
const ABSENCES: &[Absence] = &[
    Absence {
        says: "the gateway never names a register",
        folder: "gateway/src",
        words: &["register", "registers", "coil", "coils", "holding"],
        strings: true,
    },
    Absence {
        says: "the gateway knows no field protocol (a message may give one as an example)",
        folder: "gateway/src",
        words: &["modbus", "rtu"],
        strings: false,
    },
    Absence {
        says: "a driver never names a topic",
        folder: "drivers",
        words: &["topic", "topics", "mqtt", "rumqttc"],
        strings: true,
    },
    Absence {
        says: "the buffer never sees a sample, only bytes, a sequence number and a class",
        folder: "gateway/buffer/src",
        words: &["sample", "samples", "device", "devices", "point", "points"],
        strings: false,
    },
    Absence {
        says: "a package is files and signatures, whatever the driver speaks",
        folder: "gateway/package/src",
        words: &["device", "devices", "sample", "samples", "modbus"],
        strings: false,
    },
    Absence {
        says: "the plugin host never sees a device, only processes and channels",
        folder: "gateway/plugin-host/src",
        words: &["device", "devices", "sample", "samples", "point", "points"],
        strings: false,
    },
];

/// Help texts teach with an example, and the example names a device of the field.
const HELP_TEXTS: &str = "gateway/src/cli";

/// Names of the standard library that hold such a word and mean nothing by it.
const NOT_MEANT: &[&str] = &["partition_point"];

/// Where sources are.
const FOLDERS: &[&str] = &["proto", "gateway", "drivers", "tests"];
const MOST_LINES: usize = 400;
const MOST_FUNCTION_LINES: usize = 70;
/// Flat tables and generated code, which may be long.
const MAY_BE_LONG: &[&str] = &["proto/src/generated/plugin.rs", "proto/src/generated/sagoo.driver.v1.rs"];

/// Words a room has no use for.
struct Absence {
    says: &'static str,
    folder: &'static str,
    words: &'static [&'static str],
    strings: bool,
}

impl Absence {
    fn broken_by(&self, source: &Source) -> Vec<String> {
        let help = source.path.starts_with(HELP_TEXTS);
        let text = if self.strings && !help { &source.code_and_strings } else { &source.code };
        let meant = NOT_MEANT.iter().fold(text.clone(), |text, name| text.replace(name, ""));
        source::words(&meant)
            .into_iter()
            .filter(|(_, word)| self.words.contains(&word.as_str()))
            .map(|(line, word)| format!("{}:{line}: \"{word}\", but {}", source.path, self.says))
            .collect()
    }
}

#[test]
fn packages_use_each_other_only_along_the_arrows() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.keys().map(String::as_str).collect();
    let mut findings = Vec::new();
    for (package, uses) in &packages {
        let used: BTreeSet<&str> =
            uses.iter().map(String::as_str).filter(|name| ours.contains(name)).collect();
        findings.extend(wrong_package_arrows(package, &used));
    }
    report(findings);
}

#[test]
fn outside_crates_stay_in_the_rooms_they_belong_to() {
    let mut findings = Vec::new();
    for (package, uses) in packages() {
        for (outside, homes) in OUTSIDE_CRATES {
            if uses.contains(*outside) && !homes.contains(&package.as_str()) {
                findings.push(format!("{package} → {outside}: it belongs to {} only", homes.join(", ")));
            }
        }
    }
    report(findings);
}

#[test]
fn inside_the_gateway_only_app_names_everybody() {
    let sources = source::read(&root(), "gateway/src");
    for (module, _) in GATEWAY {
        let there = sources.iter().any(|s| is_in(inside_gateway(s), module));
        assert!(there, "tests/cases/layout.rs has a row for {module}, and there is no such module");
    }
    report(sources.iter().filter(|s| !s.is_test()).flat_map(wrong_gateway_arrows).collect());
}

#[test]
fn the_absences_hold() {
    let mut findings = Vec::new();
    for absence in ABSENCES {
        let sources = source::read(&root(), absence.folder);
        findings.extend(sources.iter().filter(|s| !s.is_test()).flat_map(|s| absence.broken_by(s)));
    }
    report(findings);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |s: &&Source| !s.text.starts_with("//!") && !MAY_BE_LONG.contains(&s.path.as_str());
    let name =
        |s: &Source| format!("{}:1: does not open with //!, what it is for and what is always true", s.path);
    report(all_sources().iter().filter(silent).map(name).collect());
}

#[test]
fn files_and_functions_stay_small() {
    let mut findings = Vec::new();
    for source in all_sources().iter().filter(|s| !MAY_BE_LONG.contains(&s.path.as_str()) && !s.is_test()) {
        if source.lines() >= MOST_LINES {
            findings.push(format!(
                "{}: {} lines without tests, {MOST_LINES} are too many",
                source.path,
                source.lines()
            ));
        }
        for (line, name, length) in source::functions(&source.code) {
            if length >= MOST_FUNCTION_LINES {
                let path = &source.path;
                findings.push(format!(
                    "{path}:{line}: {name} has {length} lines, {MOST_FUNCTION_LINES} are too many"
                ));
            }
        }
    }
    report(findings);
}

fn wrong_package_arrows(package: &str, used: &BTreeSet<&str>) -> Vec<String> {
    let row = if package.starts_with("driver-") { "driver-*" } else { package };
    let allowed: BTreeSet<&str> = if package == "e2e" {
        used.intersection(&TESTS_MAY_USE.iter().copied().collect()).copied().collect()
    } else {
        match PACKAGES.iter().find(|(name, _)| *name == row) {
            Some((_, uses)) => uses.iter().copied().collect(),
            None => return vec![format!("{package}: a package without a row in tests/cases/layout.rs")],
        }
    };
    let extra =
        used.difference(&allowed).map(|to| format!("{package} → {to}: not an arrow of the architecture"));
    let gone = allowed.difference(used).map(|to| format!("{package} → {to}: an arrow nobody uses any more"));
    extra.chain(gone).collect()
}

fn wrong_gateway_arrows(source: &Source) -> Vec<String> {
    let inside = inside_gateway(source);
    if is_in(inside, "app") {
        return Vec::new();
    }
    let rows = GATEWAY.iter().filter(|(module, _)| is_in(inside, module));
    let Some((row, allowed)) = rows.max_by_key(|(module, _)| module.len()) else {
        return vec![format!("{}: a module without a row in tests/cases/layout.rs", source.path)];
    };
    let own = row.split('/').next().expect("never empty");
    let modules: BTreeSet<&str> = GATEWAY.iter().map(|(module, _)| *module).chain(["app"]).collect();
    let mut named = source::crate_rooms(&source.code);
    if own == "main" {
        named.extend(modules.iter().flat_map(|module| source::rooms_of_the_root(&source.code, module)));
    }
    let at_root = source::supers(&source.code).into_iter().filter(|(_, supers)| *supers >= depth(inside));
    let hidden = at_root
        .map(|(line, _)| format!("{}:{line}: super reaches the crate's root, write crate::", source.path));
    named
        .into_iter()
        .filter(|(_, to)| to != own && modules.contains(to.as_str()) && !allowed.contains(&to.as_str()))
        .map(|(line, to)| format!("{}:{line}: {row} → {to}: not an arrow inside the gateway", source.path))
        .chain(hidden)
        .collect()
}

fn inside_gateway(source: &Source) -> &str {
    source.path.strip_prefix("gateway/src/").expect("a source of the gateway")
}

/// Whether a file of the gateway belongs to a module.
fn is_in(inside: &str, module: &str) -> bool {
    inside.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// How many modules deep a file of the gateway is.
fn depth(inside: &str) -> usize {
    inside.split('/').count() - usize::from(inside.ends_with("/mod.rs"))
}

/// Our packages, each with everything it depends on by name.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    list(&metadata["packages"])
        .iter()
        .map(|package| (name(package), list(&package["dependencies"]).iter().map(name).collect()))
        .collect()
}

fn all_sources() -> Vec<Source> {
    FOLDERS.iter().flat_map(|folder| source::read(&root(), folder)).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is below the workspace").to_owned()
}

fn report(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n\n{}\n", findings.join("\n"));
}

/// The tests above pass when nothing is found, so these show that something would be.
mod finds {
    use super::*;

    #[test]
    fn a_package_arrow_that_is_not_in_the_table() {
        let used = BTreeSet::from(["sagoo-edge-buffer"]);
        let findings = wrong_package_arrows("driver-modbus", &used);
        assert_eq!(
            findings,
            [
                "driver-modbus → sagoo-edge-buffer: not an arrow of the architecture",
                "driver-modbus → sagoo-driver-sdk: an arrow nobody uses any more",
            ]
        );
        assert_eq!(wrong_package_arrows("e2e", &used).len(), 1);
        assert_eq!(wrong_package_arrows("shared-things", &used).len(), 1);
    }

    #[test]
    fn northbound_naming_southbound_in_each_way_of_writing_it() {
        for line in [
            "use crate::southbound::Session;",
            "use crate::{row::{Row, Cell}, southbound};",
            "fn f() { crate::southbound::stop() }",
            "use crate::{\n    southbound,\n};",
        ] {
            let source = Source::new("gateway/src/northbound/sagoo.rs", &format!("//! Doc.\n{line}\n"));
            let findings = wrong_gateway_arrows(&source);
            let expected =
                "gateway/src/northbound/sagoo.rs:2: northbound → southbound: not an arrow inside the gateway";
            assert_eq!(findings, [expected], "{line}");
        }
    }

    #[test]
    fn what_main_names_at_the_root() {
        let source =
            Source::new("gateway/src/main.rs", "mod row;\nfn main() { northbound::run(config::load()) }\n");
        assert_eq!(
            wrong_gateway_arrows(&source),
            ["gateway/src/main.rs:2: main → northbound: not an arrow inside the gateway"]
        );
    }

    #[test]
    fn a_way_around_the_arrows_by_super() {
        for (path, findings) in
            [("northbound/sagoo/x.rs", 0), ("northbound/sagoo.rs", 1), ("northbound/mod.rs", 1)]
        {
            let source = Source::new(&format!("gateway/src/{path}"), "use super::super::southbound;\n");
            assert_eq!(wrong_gateway_arrows(&source).len(), findings, "{path}");
        }
    }

    #[test]
    fn a_word_in_code_and_strings_but_not_in_comments_or_tests() {
        let text = "//! A register.\nfn read() {\n    /* coil */\n    let holdingRegister = \"coils\"; // coil\n}\n\
                    #[cfg(test)]\nmod tests {\n    fn coil() {}\n}\n";
        let source = Source::new("gateway/src/app.rs", text);
        let found: Vec<String> = ABSENCES[0].broken_by(&source);
        let ends = found.iter().map(|f| f.split(',').next().expect("never empty")).collect::<Vec<_>>();
        let line = "gateway/src/app.rs:4: ";
        assert_eq!(ends, ["holding", "register", "coils"].map(|word| format!("{line}\"{word}\"")));
    }

    #[test]
    fn a_function_with_its_length() {
        let code = "impl A {\n    pub(crate) async fn long(\n        a: u8,\n    ) {\n        a;\n    }\n\n    fn one() {}\n}\n\
                    trait B {\n    fn declared(\n        &self,\n    );\n}\n";
        let found = source::functions(code);
        let expected = [(2, "long", 5), (8, "one", 1), (11, "declared", 3)];
        assert_eq!(found, expected.map(|(line, name, length)| (line, name.to_owned(), length)));
    }

    #[test]
    fn literals_that_look_like_comments_are_not() {
        let source = Source::new(
            "a.rs",
            "let a = \"// no\"; let c = '\"'; let r = r#\"\"coil\"\"#; let l: &'a str;\n",
        );
        assert_eq!(
            source.code.trim_end(),
            "let a =        ; let c =    ; let r =            ; let l: &'a str;"
        );
    }
}
