//! The templates: they are written, they work, and their own tests pass.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use sagoo_edge_package::pack::{Pack, pack};
use sagoo_edge_package::store::Install;
use sagoo_edge_package::{Package, Store, Trust};

use super::*;
use crate::config::{self, Loaded};
use crate::southbound;

/// Bytes of base64 in a line.
const LINE: usize = 100;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("gateway/ is below the workspace")
}

fn args(name: &str, lang: Language, dir: &Path) -> NewArgs {
    let sdk = (lang == Language::Rust).then(|| root().join("drivers/sdk"));
    NewArgs { name: name.into(), lang, dir: Some(dir.to_owned()), sdk, json: false }
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}\n{said}");
    said
}

#[test]
fn an_id_becomes_the_name_of_a_type() {
    let names = ["pump", "pump-station_2", "7seg"].map(type_name);
    assert_eq!(names, ["Pump", "PumpStation2", "Driver7seg"]);
}

#[test]
fn what_is_there_is_never_overwritten_and_a_wrong_name_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let there = written(&args("pump", Language::Python, dir.path())).unwrap_err();
    assert!(there.contains("is there already; choose another with --dir"), "{there}");
    let name = written(&args("../x", Language::Python, &dir.path().join("new"))).unwrap_err();
    assert!(name.contains("cannot be a driver's id"), "{name}");
    let wrong =
        NewArgs { sdk: Some(dir.path().into()), ..args("x", Language::Rust, &dir.path().join("new")) };
    let sdk = written(&wrong).unwrap_err();
    assert!(sdk.contains("is not sagoo-driver-sdk; --sdk is the folder drivers/sdk"), "{sdk}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Compiled with what the workspace has compiled already: the same lock file, target and profile.
#[test]
fn a_new_driver_in_rust_compiles_and_its_tests_pass() {
    let dir = tempfile::tempdir().unwrap();
    let project = written(&args("pump-station", Language::Rust, &dir.path().join("project"))).unwrap();
    std::fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--offline", "--quiet", "--target-dir"]).arg(root().join("target"));
    cargo.args(["--config", "profile.dev.debug=\"line-tables-only\""]);
    cargo.args(["--config", "profile.dev.package.\"*\".debug=false"]);
    let said = succeeds(cargo.current_dir(&project));
    assert!(!said.contains("warning"), "{said}");
}

/// What the README has to put into gateway.toml, next to what every gateway has.
fn site_of_the_readme(project: &Path) -> (tempfile::TempDir, Loaded) {
    let dir = tempfile::tempdir().unwrap();
    let readme = std::fs::read_to_string(project.join("README.md")).unwrap();
    let example = readme.lines().skip_while(|line| line.trim() != "[connection.here]");
    let example = example.take_while(|line| line.is_empty() || line.starts_with("       "));
    let example: Vec<&str> = example.map(str::trim).collect();
    let toml = format!(
        "[gateway]\nproduct_key = \"gw\"\ndevice_key = \"gw-1\"\n[sagoo]\nbroker = \"mqtts://b\"\n\
         [drivers]\ndirs = [{:?}]\nrun_dir = {:?}\nallow_unsigned = [\"pump-station\"]\n{}\n",
        dir.path().join("drivers"),
        dir.path().join("run"),
        example.join("\n"),
    );
    std::fs::write(dir.path().join("gateway.toml"), toml).unwrap();
    let loaded = config::load(dir.path());
    (dir, loaded)
}

#[test]
fn the_example_in_the_readme_is_a_valid_configuration_with_all_points_of_the_driver() {
    let dir = tempfile::tempdir().unwrap();
    for lang in [Language::Rust, Language::Python] {
        let project = written(&args("pump-station", lang, &dir.path().join(format!("{lang:?}")))).unwrap();
        let (_site, loaded) = site_of_the_readme(&project);
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, [] as [String; 0], "{lang:?}");
        let config = loaded.config.unwrap();
        assert_eq!(config.connections["here"].driver, "pump-station");
        let points: Vec<&str> = config.devices["one"].points.keys().map(String::as_str).collect();
        assert_eq!(points, ["height", "wave"], "{lang:?}");
        let readme = std::fs::read_to_string(project.join("README.md")).unwrap();
        assert!(readme.contains("sagoo-edge write one height 2"), "{readme}");
    }
}

#[tokio::test]
async fn a_new_driver_in_python_passes_its_tests_and_can_be_packed() {
    let dir = tempfile::tempdir().unwrap();
    let project = written(&args("pump-station", Language::Python, &dir.path().join("project"))).unwrap();
    let mut python = Command::new("/usr/bin/python3");
    succeeds(python.args(["-B", "-m", "unittest"]).current_dir(&project));
    let how = Pack { dir: &project.join("package"), out: dir.path(), key: None };
    let packed = pack(how, &mut |_, _| {}).unwrap();
    assert_eq!(packed.path, dir.path().join("driver-pump-station-0.1.0-any.zip"));
    let (site, mut loaded) = site_of_the_readme(&project);
    let config = loaded.config.take().unwrap();
    let package = Package::open(&packed.path, &Trust::default()).unwrap();
    let drivers = config.drivers.clone();
    let store = Store::new(drivers.dirs, drivers.trusted_keys, drivers.allow_unsigned);
    store.install(&package, Install::default(), &mut |_| {}).unwrap();
    assert_eq!(southbound::check::check(&config).await, [], "what the README says is right for the driver");
    drop(site);
}

/// `UPDATE=1 cargo test -p sagoo-edge contract_of_the_python` writes it anew.
#[test]
fn the_contract_of_the_python_template_is_fresh() {
    let mut compiler = protox::Compiler::new([root().join("proto")]).unwrap();
    let mut files = compiler.open_file("driver/v1/driver.proto").unwrap().file_descriptor_set();
    let mut file = files.file.pop().expect("it imports nothing");
    file.source_code_info = None;
    let text = STANDARD.encode(file.encode_to_vec());
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(LINE)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    let path = root().join("gateway/src/cli/driver/new/python/contract.py");
    let kept = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = kept.split_once("b64decode(\"\"\"\n").unwrap();
    let (_, tail) = rest.split_once("\"\"\")\n").unwrap();
    let made = format!("{head}b64decode(\"\"\"\n{}\n\"\"\")\n{tail}", lines.join("\n"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert!(
        made == std::fs::read_to_string(&path).unwrap(),
        "contract.py is stale: UPDATE=1 cargo test -p sagoo-edge contract_of_the_python, and commit it"
    );
}
