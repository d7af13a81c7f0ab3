//! What can be typed below `driver`, and what is printed for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use clap::{CommandFactory as _, Parser as _};

use super::*;
use crate::cli::Cli;

/// A key as `minisign -G -W` wrote it, and its public half. It signs nothing but tests.
const SECRET: &str = "untrusted comment: minisign encrypted secret key\n\
    RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAClK+MYaNeKsVrmj6yNUXMxIvjhcwTLBhHO+Gk4Z6JJ9O+hWtPfzLdAGYxutLHnLHDtjHcH/xpPvOMmcC9KgJbVTAYv2ycapuAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
const PUBLIC: &str = "untrusted comment: minisign public key AB788D8631BE520A\n\
    RWQKUr4xho14qwGYxutLHnLHDtjHcH/xpPvOMmcC9KgJbVTAYv2ycapu\n";

/// A place with a key, a configuration and a driver to pack.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        for name in ["keys", "drivers", "config", "work"] {
            fs::create_dir(site.at(name)).unwrap();
            fs::set_permissions(site.at(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        for (name, text) in [("keys/alice.pub", PUBLIC), ("alice.key", SECRET)] {
            fs::write(site.at(name), text).unwrap();
            fs::set_permissions(site.at(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let (dirs, keys) = (site.at("drivers"), site.at("keys"));
        let toml = format!("[drivers]\ndirs = [{dirs:?}]\ntrusted_keys = {keys:?}\n");
        fs::write(site.at("config/gateway.toml"), toml).unwrap();
        fs::copy("/bin/true", site.at("work/driver-tester")).unwrap();
        site.version("1.0.0");
        fs::write(
            site.at("work/schema.json"),
            r#"{ "$defs": { "device": { "properties": { "unit": {} } } } }"#,
        )
        .unwrap();
        site
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn version(&self, version: &str) {
        let info = json!({
            "types": "driver", "handleType": "tester", "name": "tester", "title": "Tester\u{1b}[2J",
            "version": version, "command": "driver-tester", "args": ["--quiet"],
        });
        fs::write(self.at("work/info.json"), info.to_string()).unwrap();
    }

    /// Packs that version.
    fn packed(&self, version: &str) -> PathBuf {
        self.version(version);
        self.run(&format!(
            "pack {} --key {} --out {}",
            self.shown("work"),
            self.shown("alice.key"),
            self.shown("")
        ));
        let arch = sagoo_edge_package::Arch::of_this_machine().unwrap();
        self.at(&format!("driver-tester-{version}-{arch}.zip"))
    }

    fn shown(&self, path: &str) -> String {
        self.at(path).display().to_string()
    }

    /// What was typed below `driver`; whether it was done.
    fn run(&self, line: &str) -> bool {
        self.run_asking(line, Err("nobody was to be asked".to_owned()))
    }

    fn run_asking(&self, line: &str, answer: Result<DescribeResponse, String>) -> bool {
        let needs_none = ["pack", "new"].iter().any(|command| line.starts_with(command));
        let config = if needs_none { String::new() } else { format!(" --config {}", self.shown("config")) };
        let args = typed(&format!("{line}{config}"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let code = runtime.block_on(driver(&args, async |_: &DriversConfig, _: &Installed| answer.clone()));
        format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS)
    }

    fn listed(&self) -> String {
        let drivers = Common { config: self.at("config"), json: false }.drivers().unwrap();
        let text = list::text(&store(&drivers).list(None), &drivers, false);
        text.replace(&self.shown("drivers"), "DIR")
    }
}

fn typed(line: &str) -> DriverArgs {
    let words = ["sagoo-edge", "driver"].into_iter().chain(line.split(' '));
    match Cli::try_parse_from(words).unwrap().command {
        crate::cli::Command::Driver(args) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_command_below_driver_teaches_with_examples() {
    let mut cli = Cli::command();
    let driver = cli.find_subcommand_mut("driver").unwrap();
    for command in driver.get_subcommands_mut() {
        let name = command.get_name().to_owned();
        let help = command.render_long_help().to_string();
        assert!(
            help.contains("Examples:\n  ") && help.contains(&format!("sagoo-edge driver {name}")),
            "{help}"
        );
    }
}

#[test]
fn a_package_is_packed_checked_installed_listed_and_removed() {
    let site = Site::new();
    let package = site.packed("1.0.0");
    let shown = package.display();
    assert!(site.run(&format!("verify {shown}")));
    assert!(site.run(&format!("install {shown}")));
    assert!(site.run(&format!("install {shown} --json")));
    assert!(site.run(&format!("install {}", site.packed("1.1.0").display())));
    assert!(!site.run(&format!("install {shown}")), "older");
    let arch = sagoo_edge_package::Arch::of_this_machine().unwrap();
    let listed = site.listed();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.contains(&format!("tester  1.1.0    in use  {arch}")), "{listed}");
    assert!(listed.contains("alice (AB788D8631BE520A)  DIR\n        1.0.0    kept"), "{listed}");
    assert!(site.run("list tester --json"));
    assert!(!site.run("list other"));
    assert!(!site.run("remove tester --version 1.1.0"), "in use");
    assert!(site.run("remove tester --version 1.0.0"));
    assert!(site.run("remove tester"));
    assert!(!site.run("remove tester"), "gone");
    assert_eq!(site.listed(), "no driver is installed in DIR\n");
}

#[test]
fn a_driver_that_does_not_run_stands_out_in_the_list() {
    let site = Site::new();
    site.run(&format!("install {}", site.packed("1.0.0").display()));
    fs::write(site.at("drivers/tester/1.0.0/driver-tester"), "changed").unwrap();
    fs::copy("/bin/true", site.at("drivers/driver-alone")).unwrap();
    let listed = site.listed();
    assert!(listed.contains("alone   -        refused"), "{listed}");
    assert!(listed.contains("tester  1.0.0    refused"), "{listed}");
    assert!(listed.contains("driver-tester was changed\n"), "{listed}");
}

#[test]
fn an_unsigned_package_needs_to_be_allowed() {
    let site = Site::new();
    let arch = sagoo_edge_package::Arch::of_this_machine().unwrap();
    assert!(site.run(&format!("pack {} --unsigned --out {}", site.shown("work"), site.shown(""))));
    let package = site.shown(&format!("driver-tester-1.0.0-{arch}.zip"));
    assert!(!site.run(&format!("verify {package}")));
    assert!(!site.run(&format!("install {package}")));
    let toml = fs::read_to_string(site.at("config/gateway.toml")).unwrap();
    fs::write(site.at("config/gateway.toml"), toml + "allow_unsigned = [\"tester\"]\n").unwrap();
    assert!(site.run(&format!("verify {package}")));
    assert!(site.run(&format!("install {package}")));
    assert!(site.listed().contains("in use"), "{}", site.listed());
}

#[test]
fn who_signs_a_package_has_to_be_said() {
    let site = Site::new();
    let DriverCommand::Pack(args) = typed(&format!("pack {}", site.shown("work"))).command else { panic!() };
    let error = pack::packed(&args).unwrap_err();
    assert!(error.contains("--key FILE") && error.contains("--unsigned"), "{error}");
}

#[test]
fn a_folder_of_keys_that_was_named_holds_some() {
    let site = Site::new();
    let package = site.packed("1.0.0").display().to_string();
    let error = |keys: &str| {
        let line = format!("verify {package} --config {} --keys {}", site.shown("config"), site.shown(keys));
        let DriverCommand::Verify(args) = typed(&line).command else { panic!() };
        verify::checked(&args).map(drop)
    };
    assert_eq!(error("keys"), Ok(()));
    assert!(error("nowhere").unwrap_err().contains("nowhere: there is no such folder"));
    assert!(error("drivers").unwrap_err().contains("drivers: no key is trusted: there is no *.pub file"));
    fs::write(site.at("config/no.pub"), "no key").unwrap();
    let wrong = error("config").unwrap_err();
    assert!(wrong.contains("no.pub: left out: no public key of minisign"), "{wrong}");
}

#[test]
fn no_line_of_a_description_ends_in_a_blank() {
    let info = json!({
        "types": "driver", "handleType": "x", "name": "x", "title": "X", "version": "1.0.0", "command": "driver-x",
    });
    let info = sagoo_edge_package::info::Info::parse(info.to_string().as_bytes()).unwrap();
    let text = describe::About { info: Some(info), ..Default::default() }.text(true);
    assert!(text.contains("driver-x") && !text.contains("driver-x "), "{text:?}");
}

#[test]
fn a_driver_is_described_by_its_files_and_by_itself() {
    let site = Site::new();
    let package = site.packed("1.0.0");
    assert!(site.run(&format!("describe {}", package.display())), "a package file is never started");
    assert!(site.run(&format!("install {}", package.display())));
    assert!(!site.run("describe tester"), "it did not answer");
    assert!(site.run("describe tester --no-start --schema"));
    assert!(!site.run("describe teste"));
    let said = DescribeResponse {
        name: "tester".into(),
        version: "1.0.0".into(),
        title: "T".into(),
        abilities: vec!["write".into(), "scan".into()],
        config_schema: r#"{"properties": {"connection": {"properties": {"tcp": {}}}}}"#.into(),
    };
    assert!(site.run_asking("describe tester", Ok(said.clone())));
    let about =
        describe::About { said: Some(Ok(said)), doubt: Some("not signed".into()), ..Default::default() };
    let expected = "\
trusted    no: not signed
it says    tester 1.0.0, T
abilities  write, scan
settings   connection: tcp
";
    assert_eq!(about.text(false), expected);
}

#[test]
fn a_mistake_in_the_configuration_is_told_with_its_place() {
    let site = Site::new();
    fs::write(site.at("config/gateway.toml"), "[drivers]\ndirz = []\n").unwrap();
    let error = Common { config: site.at("config"), json: false }.drivers().unwrap_err();
    assert!(error.contains("gateway.toml:2:1: unknown key \"dirz\""), "{error}");
    let missing = Common { config: site.at("nowhere"), json: false }.drivers().unwrap_err();
    assert!(missing.contains("gateway.toml"), "{missing}");
    fs::write(site.at("config/gateway.toml"), "[sagoo]\nbroker = 5\n").unwrap();
    assert!(Common { config: site.at("config"), json: false }.drivers().is_ok(), "not of drivers");
}

#[test]
fn a_key_that_cannot_be_read_is_told_with_the_remedy() {
    let site = Site::new();
    let error = |path: &str| password::open(&site.at(path), None).err().unwrap();
    assert!(error("nowhere.key").contains("make a key with: minisign -G"), "{}", error("nowhere.key"));
    assert!(error("keys/alice.pub").contains("no secret key of minisign"), "{}", error("keys/alice.pub"));
    assert!(password::open(&site.at("alice.key"), None).is_ok());
    let file = password::open(&site.at("alice.key"), Some(&site.at("nowhere"))).err().unwrap();
    assert!(file.contains("nowhere: No such file"), "{file}");
}
