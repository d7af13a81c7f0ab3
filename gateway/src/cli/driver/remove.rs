//! `sagoo-edge driver remove`

use std::process::ExitCode;

use sagoo_edge_package::store::{RELEASE_WAIT, RemoveError, Removed};
use serde_json::json;

use super::{RemoveArgs, not_installed, shown, store};
use crate::cli::print;

/// Removes and shows.
pub(super) fn remove(args: &RemoveArgs) -> ExitCode {
    match removed(args) {
        Ok(removed) if args.common.json => {
            let Removed { versions, path, instead } = removed;
            print::json(
                &json!({ "id": args.id, "versions": versions, "path": path, "instead": instead }),
                true,
            )
        }
        Ok(removed) => print::out(&text(&args.id, &removed), true),
        Err(error) => print::failure(&error, args.common.json),
    }
}

fn removed(args: &RemoveArgs) -> Result<Removed, String> {
    let drivers = args.common.drivers()?;
    let mut said = args.common.json;
    let waiting = &mut |pids: &[u32]| {
        if !std::mem::replace(&mut said, true) {
            let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
            print::error(&format!("waiting for process {} to end\n", pids.join(", ")));
        }
    };
    store(&drivers).remove(&args.id, args.version.as_deref(), RELEASE_WAIT, waiting).map_err(|error| {
        match error {
            RemoveError::Missing { id, .. } => not_installed(&id, &drivers),
            error => error.to_string(),
        }
    })
}

fn text(id: &str, removed: &Removed) -> String {
    let versions = removed.versions.join(", ");
    let instead = match &removed.instead {
        Some(path) => format!("; in use now: {}", shown(path)),
        None => String::new(),
    };
    format!("{id} is removed: {versions}{instead}\n")
}
