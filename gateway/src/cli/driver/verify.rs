//! `sagoo-edge driver verify`

use std::process::ExitCode;

use sagoo_edge_package::{Package, Trust};

use super::progress::Progress;
use super::{VerifyArgs, may_be_unsigned, package_json, shown};
use crate::cli::human::bytes;
use crate::cli::print::{self, Tone};

/// Checks and shows.
pub(super) fn verify(args: &VerifyArgs) -> ExitCode {
    match checked(args) {
        Ok((package, _)) if args.common.json => print::json(&package_json(&package), true),
        Ok((package, trust)) => print::out(&text(&package, &trust, print::colours()), true),
        Err(error) => print::failure(&error, args.common.json),
    }
}

fn checked(args: &VerifyArgs) -> Result<(Package, Trust), String> {
    let drivers = args.common.drivers()?;
    let trust = Trust::read(args.keys.as_deref().unwrap_or(&drivers.trusted_keys));
    let refused = |error: sagoo_edge_package::Refused| error.to_string();
    let package = Package::open(&args.package, &trust).map_err(refused)?;
    let (id, total) = (&package.manifest().id, package.manifest().size());
    package.require_signature(&trust, may_be_unsigned(&drivers, id)).map_err(refused)?;
    let mut progress = Progress::new(format!("checking {}", shown(&args.package)), args.common.json);
    package.verify(&mut |done| progress.at(done, total)).map_err(refused)?;
    drop(progress);
    Ok((package, trust))
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
