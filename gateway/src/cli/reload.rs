//! `sagoo-edge reload`: what the new configuration changes, or why it changes nothing.

use std::process::ExitCode;

use serde_json::json;

use crate::control::message::{ReloadReply, Reply, Request};

use super::ReloadArgs;
use super::print::{self, Tone, harmless};

/// Asks and shows.
pub(super) async fn reload(args: &ReloadArgs) -> ExitCode {
    let as_json = args.gateway.json;
    let reload = match args.gateway.ask(&Request::Reload).await {
        Ok(Reply::Reload { reload }) => reload,
        Ok(_) => return print::failure(print::ANOTHER_VERSION, as_json),
        Err(error) => return print::failure(&error, as_json),
    };
    let done = reload.result.is_done();
    match (as_json, done) {
        (true, _) => print::json(&json!(reload), done),
        (false, true) => print::out(&text(&reload, print::colours()), true),
        (false, false) => print::error(&text(&reload, print::error_colours())),
    }
}

/// Mistakes with their places, then the changes, then the verdict.
pub(super) fn text(reload: &ReloadReply, colours: bool) -> String {
    // a tab less in a line and in the mark below it moves neither
    let mut out = harmless(&reload.text.replace('\t', " "));
    if !out.is_empty() {
        out.push('\n');
    }
    for change in &reload.changes {
        out += &format!("{}\n", harmless(change));
    }
    let tone = if reload.result.is_done() { Tone::Good } else { Tone::Bad };
    out += &tone.paint(&harmless(&reload.message), colours);
    out.push('\n');
    out
}
