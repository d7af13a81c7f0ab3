//! `sagoo-edge driver pack`

use std::process::ExitCode;

use sagoo_edge_package::digest::hex;
use sagoo_edge_package::pack::{self, Pack, Packed};
use serde_json::{Value as Json, json};

use super::{PackArgs, password, shown};
use crate::cli::human::bytes;
use crate::cli::print::{self, Tone};
use crate::cli::progress::Progress;

/// Packs and shows.
pub(super) fn pack(args: &PackArgs) -> ExitCode {
    match packed(args) {
        Ok(packed) if args.json => print::json(&document(&packed), true),
        Ok(packed) => print::out(&text(&packed, print::colours()), true),
        Err(error) => print::failure(&error, args.json),
    }
}

/// Unsigned by intention only.
const NO_KEY: &str = "nothing says who signs it: --key FILE signs it with a secret key of minisign, \
    --unsigned makes a package that runs only where drivers.allow_unsigned names it";

pub(super) fn packed(args: &PackArgs) -> Result<Packed, String> {
    if args.key.is_none() && !args.unsigned {
        return Err(NO_KEY.to_owned());
    }
    let key = args.key.as_deref().map(|key| password::open(key, args.password_file.as_deref()));
    let key = key.transpose()?;
    let mut progress = Progress::new(format!("packing {}", shown(&args.dir)), args.json);
    let how = Pack { dir: &args.dir, out: &args.out, key: key.as_ref() };
    pack::pack(how, &mut |done, total| progress.at(done, total)).map_err(|error| error.to_string())
}

fn text(packed: &Packed, colours: bool) -> String {
    let manifest = &packed.manifest;
    let signed = match &packed.signed {
        Some(key) => format!("signed by key {key}"),
        None => Tone::Warn.paint("not signed: it runs only where drivers.allow_unsigned names it", colours),
    };
    let mut out = format!(
        "{}\n{} {} for {}: {} files, {} in {}; {signed}\n",
        Tone::Strong.paint(&shown(&packed.path), colours),
        manifest.id,
        manifest.version,
        manifest.arch,
        manifest.files.len(),
        bytes(manifest.size()),
        bytes(packed.size),
    );
    if !packed.left_out.is_empty() {
        let left_out = print::harmless(&packed.left_out.join(", "));
        out += &Tone::Faint.paint(&format!("left out: {left_out}"), colours);
        out.push('\n');
    }
    out
}

fn document(packed: &Packed) -> Json {
    let files = packed
        .manifest
        .files
        .iter()
        .map(|file| json!({ "path": file.path, "bytes": file.size, "sha256": hex(&file.sha256) }));
    json!({
        "path": packed.path,
        "id": packed.manifest.id,
        "version": packed.manifest.version.to_string(),
        "arch": packed.manifest.arch.to_string(),
        "bytes": packed.size,
        "key": packed.signed,
        "files": files.collect::<Vec<_>>(),
        "left_out": packed.left_out,
    })
}
