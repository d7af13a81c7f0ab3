//! `sagoo-edge driver install`

use std::process::ExitCode;

use sagoo_edge_package::Package;
use sagoo_edge_package::store::{Install, Outcome};
use serde_json::{Value as Json, json};

use super::{InstallArgs, key_json, shown, store};
use crate::cli::print::{self, Tone};
use crate::cli::progress::Progress;

/// Installs and shows.
pub(super) fn install(args: &InstallArgs) -> ExitCode {
    match installed(args) {
        Ok(outcome) if args.common.json => print::json(&document(&outcome), true),
        Ok(outcome) => print::out(&text(&outcome, print::colours()), true),
        Err(error) => print::failure(&error, args.common.json),
    }
}

fn installed(args: &InstallArgs) -> Result<Outcome, String> {
    let store = store(&args.common.drivers()?);
    let package = Package::open(&args.package, &store.trust()).map_err(|error| error.to_string())?;
    let how = Install { dir: args.dir.as_deref(), allow_downgrade: args.allow_downgrade, retry: args.retry };
    let total = package.manifest().size();
    let mut progress = Progress::new(format!("installing {}", shown(&args.package)), args.common.json);
    store.install(&package, how, &mut |done| progress.at(done, total)).map_err(|error| error.to_string())
}

pub(super) fn text(outcome: &Outcome, colours: bool) -> String {
    let Outcome { id, version, before, already, signed, warnings, .. } = outcome;
    let verb = if *already { "was installed already" } else { "is installed" };
    let before = match before {
        Some(before) if !already => format!(", {before} stays beside it"),
        _ => String::new(),
    };
    let signed = match signed {
        Some(key) => format!("signed by {}", print::harmless(&key.to_string())),
        None => Tone::Warn.paint("not signed, and allowed to be", colours),
    };
    let mut out = Tone::Good.paint(&format!("{id} {version} {verb}"), colours);
    out += &format!("{before}; {signed}\n");
    for warning in warnings {
        out += &Tone::Warn.paint(&print::harmless(warning), colours);
        out.push('\n');
    }
    out
}

fn document(outcome: &Outcome) -> Json {
    json!({
        "id": outcome.id,
        "version": outcome.version,
        "path": outcome.path,
        "before": outcome.before,
        "already": outcome.already,
        "signed": outcome.signed.as_ref().map(key_json),
        "warnings": outcome.warnings,
    })
}
