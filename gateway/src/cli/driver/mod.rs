//! `sagoo-edge driver`: packages of drivers, made, checked, installed, listed and removed.
//!
//! Always true: no running gateway is needed; one that runs sees what changed by watching its
//! directories. Nothing of a package that is not installed is ever executed.
//!
//! In reading order: [`pack`], [`verify`], [`install`], [`list`], [`describe`], [`remove`], [`new`];
//! below them [`password`] (of a key).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use sagoo_edge_package::{Installed, KeyId, Package, Store};
use sagoo_edge_proto::driver::DescribeResponse;
use serde_json::{Value as Json, json};

use super::print;
use super::typed::CONFIG_DIR;
use crate::config::types::DriversConfig;
use crate::config::{self, did_you_mean};

mod describe;
mod install;
mod list;
mod new;
mod pack;
mod password;
mod remove;
#[cfg(test)]
mod tests;
mod verify;

/// `driver`
#[derive(Debug, Args)]
pub struct DriverArgs {
    /// What to do with drivers.
    #[command(subcommand)]
    command: DriverCommand,
}

/// The subcommands of `driver`.
#[derive(Debug, Subcommand)]
enum DriverCommand {
    /// Make a signed package of a folder.
    ///
    /// The folder holds info.json (who the driver is, and how it is started), schema.json (the JSON
    /// Schema of its settings) and its files. Hidden files are left out. The package is called
    /// driver-ID-VERSION-ARCH.zip; ARCH is read from the program, or is `any` for a script that
    /// python3, node, ruby, perl or lua runs.
    #[command(after_long_help = "\
Examples:
  sagoo-edge driver pack ./package --key ~/.minisign/minisign.key
  sagoo-edge driver pack ./package --key release.key --password-file pass --out dist
  sagoo-edge driver pack ./package --unsigned

A key is made once with `minisign -G`. Its password is asked for in a terminal, or taken from
SAGOO_EDGE_KEY_PASSWORD or --password-file. Whoever installs the package needs the .pub file.")]
    Pack(PackArgs),

    /// Check a package to the last byte, and who signed it.
    ///
    /// Nothing in it is executed, and nothing is written.
    #[command(after_long_help = "\
Examples:
  sagoo-edge driver verify driver-modbus-1.2.0-aarch64.zip
  sagoo-edge driver verify driver-modbus-1.2.0-aarch64.zip --keys ./trusted-keys
  sagoo-edge driver verify driver-modbus-1.2.0-aarch64.zip --json | jq .signed

Exit code 0 only when a trusted key signed it, or drivers.allow_unsigned names its id. A package for
another machine is fine.")]
    Verify(VerifyArgs),

    /// Install a package and put it to use.
    ///
    /// Everything is checked first, and nothing is half-installed, whatever happens. A running gateway
    /// notices, tries the new version beside the old one, and goes back by itself if it fails.
    #[command(after_long_help = "\
Examples:
  sagoo-edge driver install driver-modbus-1.2.0-aarch64.zip
  sagoo-edge driver install driver-modbus-1.1.0-aarch64.zip --allow-downgrade
  sagoo-edge driver install driver-modbus-1.2.0-aarch64.zip --dir /srv/drivers

Exit code 0 when that version is installed, also when it was already.")]
    Install(InstallArgs),

    /// Show which drivers are installed, in which versions, and who signed them.
    ///
    /// Every file is compared with what was signed.
    #[command(after_long_help = "\
Examples:
  sagoo-edge driver list
  sagoo-edge driver list modbus
  sagoo-edge driver list --json | jq -r '.drivers[] | select(.in_use) | .id'")]
    List(ListArgs),

    /// Take a driver out of use and delete it.
    ///
    /// A running gateway releases the devices first and stops the driver; the files go when nothing
    /// runs from them any more.
    #[command(after_long_help = "\
Examples:
  sagoo-edge driver remove modbus
  sagoo-edge driver remove modbus --version 1.1.0")]
    Remove(RemoveArgs),

    /// Show who a driver is: info, settings, abilities.
    ///
    /// An installed driver that may run is started for a moment, confined and without network, and
    /// asked. Of a package file nothing is ever executed.
    #[command(after_long_help = "\
Examples:
  sagoo-edge driver describe modbus
  sagoo-edge driver describe modbus --schema > modbus.schema.json
  sagoo-edge driver describe driver-modbus-1.2.0-aarch64.zip")]
    Describe(DescribeArgs),

    /// Begin a driver of one's own: a small project that works and has a test.
    #[command(after_long_help = "\
Examples:
  sagoo-edge driver new pump --lang rust --sdk ../sagoo-edge/drivers/sdk
  sagoo-edge driver new pump --lang python

Then read README.md in the new folder.")]
    New(NewArgs),
}

/// Where drivers are, and how to answer.
#[derive(Debug, Args)]
struct Common {
    /// Directory with gateway.toml, whose [drivers] says where drivers are and who is trusted.
    #[arg(long, value_name = "DIR", default_value = CONFIG_DIR)]
    config: PathBuf,
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// `driver pack`
#[derive(Debug, Args)]
struct PackArgs {
    /// The folder to pack.
    dir: PathBuf,
    /// Secret key of minisign that signs it.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Sign nothing: it runs only where drivers.allow_unsigned names it.
    #[arg(long, conflicts_with = "key")]
    unsigned: bool,
    /// File whose first line is the key's password.
    #[arg(long, value_name = "FILE", requires = "key")]
    password_file: Option<PathBuf>,
    /// Where the package is put.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// `driver verify`
#[derive(Debug, Args)]
struct VerifyArgs {
    /// The package.
    package: PathBuf,
    /// Trusted keys, instead of drivers.trusted_keys.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// `driver install`
#[derive(Debug, Args)]
struct InstallArgs {
    /// The package.
    package: PathBuf,
    /// Where to install it, instead of the first of drivers.dirs.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Also when a newer version is in use.
    #[arg(long)]
    allow_downgrade: bool,
    /// Also when this version was put aside after it failed here.
    #[arg(long)]
    retry: bool,
    #[command(flatten)]
    common: Common,
}

/// `driver list`
#[derive(Debug, Args)]
struct ListArgs {
    /// Id of a driver; none: all.
    id: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// `driver remove`
#[derive(Debug, Args)]
struct RemoveArgs {
    /// Id of the driver.
    id: String,
    /// Only this version, which must not be the one in use.
    #[arg(long, value_name = "V")]
    version: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// `driver describe`
#[derive(Debug, Args)]
struct DescribeArgs {
    /// Id of an installed driver, or a package file.
    #[arg(value_name = "ID|PACKAGE")]
    driver: String,
    /// Print the JSON Schema of its settings and nothing else.
    #[arg(long)]
    schema: bool,
    /// Do not start it, only read its files.
    #[arg(long)]
    no_start: bool,
    #[command(flatten)]
    common: Common,
}

/// `driver new`
#[derive(Debug, Args)]
struct NewArgs {
    /// Id of the new driver: small letters, digits, _ and -.
    name: String,
    /// What it is written in.
    #[arg(long)]
    lang: new::Language,
    /// The folder, which must not exist; driver-NAME here unless it is said.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Folder of sagoo-driver-sdk, for Rust.
    #[arg(long, value_name = "DIR", required_if_eq("lang", "rust"))]
    sdk: Option<PathBuf>,
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// Does what was typed. `ask` starts an installed driver for a moment and lets it describe itself.
pub async fn driver(
    args: &DriverArgs,
    ask: impl AsyncFn(&DriversConfig, &Installed) -> Result<DescribeResponse, String>,
) -> ExitCode {
    match &args.command {
        DriverCommand::Pack(args) => pack::pack(args),
        DriverCommand::Verify(args) => verify::verify(args),
        DriverCommand::Install(args) => install::install(args),
        DriverCommand::List(args) => list::list(args),
        DriverCommand::Remove(args) => remove::remove(args),
        DriverCommand::Describe(args) => describe::describe(args, ask).await,
        DriverCommand::New(args) => new::new(args),
    }
}

impl Common {
    /// `[drivers]` of the configuration; the defaults on a machine without one.
    fn drivers(&self) -> Result<DriversConfig, String> {
        let dir = self.config.as_path();
        let usual = dir == Path::new(CONFIG_DIR) && !dir.exists();
        config::drivers((!usual).then_some(dir)).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            format!("{}: {}", dir.display(), problems.join("\n"))
        })
    }
}

/// As the gateway sees it, also when root looks and the gateway has a user of its own.
fn store(drivers: &DriversConfig) -> Store {
    own_store(drivers).for_owners()
}

/// As this user sees it: what is started now has to be trusted by whoever starts it.
fn own_store(drivers: &DriversConfig) -> Store {
    Store::new(drivers.dirs.clone(), drivers.trusted_keys.clone(), drivers.allow_unsigned.clone())
}

/// Whether the configuration lets a driver run that nobody vouches for.
fn may_be_unsigned(drivers: &DriversConfig, id: &str) -> bool {
    drivers.allow_unsigned.iter().any(|allowed| allowed == id)
}

/// An id nobody installed, with what was perhaps meant.
fn not_installed(id: &str, drivers: &DriversConfig) -> String {
    let store = store(drivers);
    let ids = store.ids();
    let hint = did_you_mean(id, ids.iter().map(String::as_str));
    let hint = hint.unwrap_or_else(|| "`sagoo-edge driver list` shows what is installed".to_owned());
    format!("no driver {id:?} is installed; {hint}")
}

fn key_json(key: &KeyId) -> Json {
    json!({ "name": key.name, "number": key.number })
}

/// What is known of a package without its content.
fn package_json(package: &Package) -> Json {
    let (manifest, info) = (package.manifest(), package.info());
    json!({
        "path": package.path(),
        "id": manifest.id,
        "version": manifest.version.to_string(),
        "arch": manifest.arch.to_string(),
        "title": info.title,
        "files": manifest.files.len(),
        "bytes": manifest.size(),
        "signed": package.signed().ok().map(key_json),
        "doubt": package.signed().err().map(ToString::to_string),
    })
}

/// A path in a terminal.
fn shown(path: &Path) -> String {
    print::harmless(&path.display().to_string())
}
