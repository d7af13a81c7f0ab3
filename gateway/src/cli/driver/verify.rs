//! `sagoo-edge driver verify`

use std::path::Path;
use std::process::ExitCode;

use sagoo_edge_package::{Package, Trust};

use super::{VerifyArgs, may_be_unsigned, package_json, shown};
use crate::cli::human::bytes;
use crate::cli::print::{self, Tone};
use crate::cli::progress::Progress;

/// Checks and shows.
pub(super) fn verify(args: &VerifyArgs) -> ExitCode {
    match checked(args) {
        Ok((package, _)) if args.common.json => print::json(&package_json(&package), true),
        Ok((package, trust)) => print::out(&text(&package, &trust, print::colours()), true),
        Err(error) => print::failure(&error, args.common.json),
    }
}

pub(super) fn checked(args: &VerifyArgs) -> Result<(Package, Trust), String> {
    let drivers = args.common.drivers()?;
    let trust = match &args.keys {
        Some(dir) => given(dir)?,
        None => Trust::read(&drivers.trusted_keys),
    };
    let refused = |error: sagoo_edge_package::Refused| error.to_string();
    let package = Package::open(&args.package, &trust).map_err(refused)?;
    let (id, total) = (&package.manifest().id, package.manifest().size());
    package.require_signature(&trust, may_be_unsigned(&drivers, id)).map_err(refused)?;
    let mut progress = Progress::new(format!("checking {}", shown(&args.package)), args.common.json);
    package.verify(&mut |done| progress.at(done, total)).map_err(refused)?;
    drop(progress);
    Ok((package, trust))
}

/// Keys from a folder somebody named: none is a mistake, where one that is not named may be missing.
fn given(dir: &Path) -> Result<Trust, String> {
    if !dir.is_dir() {
        return Err(format!("{}: there is no such folder; --keys is one with *.pub files", shown(dir)));
    }
    let trust = Trust::read(dir);
    if trust.keys().next().is_some() {
        return Ok(trust);
    }
    let wrong = print::harmless(&trust.warnings().join("; "));
    let why = if wrong.is_empty() { "there is no *.pub file in it" } else { &wrong };
    Err(format!("{}: no key is trusted: {why}; copy the .pub file that minisign -G wrote there", shown(dir)))
}

fn text(package: &Package, trust: &Trust, colours: bool) -> String {
    let manifest = package.manifest();
    let signed = match package.signed() {
        Ok(key) => Tone::Good.paint(&format!("signed by {}", print::harmless(&key.to_string())), colours),
        Err(why) => Tone::Warn.paint(&format!("{why}, and allowed to be"), colours),
    };
    let mut out = format!(
        "{} {} for {}: {} files, {}, each as it was packed; {signed}\n",
        manifest.id,
        manifest.version,
        manifest.arch,
        manifest.files.len(),
        bytes(manifest.size()),
    );
    for warning in trust.warnings() {
        out += &Tone::Warn.paint(&print::harmless(warning), colours);
        out.push('\n');
    }
    out
}
