//! `sagoo-edge invoke`: a function of a device's driver, called now.
//!
//! Always true: the driver says what its functions are and what came out; nothing of it is known here.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value as Json};

use super::print;
use super::typed::Gateway;
use crate::commands::Verdict;
use crate::control::message::{OutcomeReply, Reply, Request};

/// `invoke`
#[derive(Debug, Args)]
pub struct InvokeArgs {
    /// Name of a device in the configuration.
    pub device: String,
    /// Name of a function of its driver.
    pub function: String,
    /// What it is given, a JSON object.
    #[arg(value_name = "JSON", default_value = "{}", value_parser = input, hide_default_value = true)]
    input: Map<String, Json>,
    #[command(flatten)]
    gateway: Gateway,
}

/// Calls, and shows what came out.
pub async fn invoke(args: &InvokeArgs) -> ExitCode {
    let as_json = args.gateway.json;
    match call(&args.gateway, &args.device, &args.function, args.input.clone()).await {
        Ok(outcome) if outcome.verdict == Verdict::Applied => {
            let output = outcome.output.unwrap_or_else(|| Json::Object(Map::new()));
            print::json(&output, true)
        }
        Ok(outcome) => print::failure(&refusal(&args.device, &outcome), as_json),
        Err(error) => print::failure(&error, as_json),
    }
}

/// Asks the running gateway, and says why it has no answer.
pub(super) async fn call(
    gateway: &Gateway,
    device: &str,
    function: &str,
    input: Map<String, Json>,
) -> Result<OutcomeReply, String> {
    let request = Request::Invoke { device: device.to_owned(), function: function.to_owned(), input };
    match gateway.ask(&request).await? {
        Reply::Outcome { outcome } => Ok(outcome),
        _ => Err(print::ANOTHER_VERSION.to_owned()),
    }
}

/// What became of a call that was not done.
pub(super) fn refusal(device: &str, outcome: &OutcomeReply) -> String {
    format!("{device}: {}: {}", outcome.verdict.word(), outcome.message)
}

fn input(typed: &str) -> Result<Map<String, Json>, String> {
    serde_json::from_str(typed).map_err(|error| {
        format!("{error}; a function is given a JSON object, like '{{\"address\": \"0x10\"}}'")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_an_object_or_the_mistake_is_taught() {
        assert_eq!(input(r#"{ "count": 2 }"#).unwrap()["count"], 2);
        for wrong in ["", "[1]", "count=2", "{"] {
            assert!(input(wrong).unwrap_err().contains("a function is given a JSON object"), "{wrong}");
        }
    }
}
