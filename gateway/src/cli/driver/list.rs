//! `sagoo-edge driver list`

use std::process::ExitCode;

use sagoo_edge_package::store::{Listed, ListedVersion};
use serde_json::{Value as Json, json};

use super::{ListArgs, key_json, may_be_unsigned, not_installed, store};
use crate::cli::human::bytes;
use crate::cli::print::{self, Tone};
use crate::cli::table::{Cell, table};
use crate::config::types::DriversConfig;

/// Looks and shows.
pub(super) fn list(args: &ListArgs) -> ExitCode {
    let drivers = match args.common.drivers() {
        Ok(drivers) => drivers,
        Err(error) => return print::failure(&error, args.common.json),
    };
    let listed = store(&drivers).list(args.id.as_deref());
    match &args.id {
        Some(id) if listed.is_empty() => print::failure(&not_installed(id, &drivers), args.common.json),
        _ if args.common.json => print::json(&document(&listed, &drivers), true),
        _ => print::out(&text(&listed, &drivers, print::colours()), true),
    }
}

/// What a version is for the gateway.
fn state(driver: &Listed, version: &ListedVersion, drivers: &DriversConfig) -> (&'static str, Tone) {
    let trusted = version.doubts.is_empty() || may_be_unsigned(drivers, &driver.id);
    match version {
        _ if version.put_aside.is_some() => ("put aside", Tone::Bad),
        _ if !version.current => ("kept", Tone::Faint),
        _ if !driver.in_use => ("hidden", Tone::Faint),
        _ if version.broken.is_some() => ("broken", Tone::Bad),
        _ if !trusted => ("refused", Tone::Bad),
        _ if !version.doubts.is_empty() => ("in use", Tone::Warn),
        _ => ("in use", Tone::Good),
    }
}

/// What there is to say about a version, if there is.
fn note(version: &ListedVersion) -> String {
    let aside = version.put_aside.clone();
    let doubts = || {
        (!version.doubts.is_empty())
            .then(|| version.doubts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    aside.or_else(|| version.broken.clone()).or_else(doubts).unwrap_or_default()
}

pub(super) fn text(listed: &[Listed], drivers: &DriversConfig, colours: bool) -> String {
    if listed.is_empty() {
        let dirs: Vec<String> = drivers.dirs.iter().map(|dir| dir.display().to_string()).collect();
        return format!("no driver is installed in {}\n", print::harmless(&dirs.join(", ")));
    }
    let mut rows = Vec::new();
    for driver in listed {
        for (place, version) in driver.versions.iter().enumerate() {
            let first = place == 0;
            let (state, tone) = state(driver, version, drivers);
            let arch = version.manifest.as_ref().map(|manifest| manifest.arch.to_string());
            let size = version.manifest.as_ref().map(|manifest| bytes(manifest.size()));
            rows.push(vec![
                Cell::text(if first { driver.id.as_str() } else { "" }),
                Cell::text(version.version.as_deref().unwrap_or("-")),
                Cell::text(state).tone(tone),
                Cell::text(arch.unwrap_or_default()),
                Cell::number(size.unwrap_or_default()),
                match &version.signed {
                    Some(key) => Cell::text(key.to_string()),
                    None => Cell::text("no").tone(Tone::Warn),
                },
                Cell::text(if first { driver.dir.display().to_string() } else { String::new() }),
                Cell::text(note(version)).tone(Tone::Warn),
            ]);
        }
    }
    table(&["DRIVER", "VERSION", "STATE", "ARCH", "SIZE", "SIGNED BY", "DIRECTORY", ""], rows, colours)
}

fn document(listed: &[Listed], drivers: &DriversConfig) -> Json {
    let version = |driver: &Listed, version: &ListedVersion| {
        json!({
            "version": version.version,
            "state": state(driver, version, drivers).0,
            "path": version.path,
            "arch": version.manifest.as_ref().map(|manifest| manifest.arch.to_string()),
            "bytes": version.manifest.as_ref().map(|manifest| manifest.size()),
            "title": version.info.as_ref().map(|info| &info.title),
            "signed": version.signed.as_ref().map(key_json),
            "doubts": version.doubts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "broken": version.broken,
            "put_aside": version.put_aside,
        })
    };
    let drivers = listed.iter().map(|driver| {
        json!({
            "id": driver.id,
            "directory": driver.dir,
            "in_use": driver.in_use,
            "versions": driver.versions.iter().map(|v| version(driver, v)).collect::<Vec<_>>(),
        })
    });
    json!({ "drivers": drivers.collect::<Vec<_>>() })
}
