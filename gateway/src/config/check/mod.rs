//! From the tree to values that cannot be wrong any more, with every mistake reported.
//!
//! In reading order:
//! - [`gateway`]: `[gateway]`, `[buffer]`, `[drivers]`, `[control]`, `[metrics]`;
//! - [`sagoo`]: `[sagoo]`, the platform's broker;
//! - [`field`]: `[connection.*]`, `[model.*]`, `[device.*]` and what they say of each other;
//! - [`points`]: the gateway's own part of a point;
//! - [`names`]: which names the platform can keep apart.

use std::path::Path;

use crate::row::Identity;

use super::place::Span;
use super::problem::Report;
use super::raw::fields::{Fields, did_you_mean};
use super::raw::tree::{Entry, Kind, Table};
use super::types::{Config, ControlConfig, DriversConfig};

use self::field::Field;

mod field;
mod gateway;
mod names;
mod points;
mod sagoo;

/// Every table there is.
const TABLES: [&str; 9] =
    ["gateway", "sagoo", "buffer", "drivers", "control", "metrics", "connection", "model", "device"];

/// All of it; relative paths begin at `dir`. What has a mistake is left out or empty, so that the
/// rest can be checked even so: only with a clean report is it a configuration.
pub(super) fn config(tree: &Table, dir: &Path, report: &mut Report) -> Config {
    for (name, entry) in tree.iter().filter(|(name, _)| !TABLES.contains(&name.as_str())) {
        // Behind a broken header keys seem to be tables.
        if !report.is_damaged(entry.key.file) {
            let hint = did_you_mean(name, TABLES);
            let hint = hint.unwrap_or_else(|| format!("there are {}", TABLES.join(", ")));
            report.error(entry.key, format!("unknown table {name:?}")).hint(hint);
        }
    }
    let gateway = gateway::gateway(section(tree, "gateway", report), report);
    let mut sagoo = sagoo::sagoo(section(tree, "sagoo", report), dir, report);
    if sagoo.client_id.is_empty() {
        sagoo.client_id = gateway.identity.device_key.to_string();
    }
    let buffer = gateway::buffer(section(tree, "buffer", report), dir, report);
    let drivers = drivers(tree, dir, report);
    let control = control(tree, dir, report);
    let metrics = gateway::metrics(section(tree, "metrics", report), report);
    let field = field::field(tree, (&gateway.identity, gateway_key(tree)), dir, report);
    let Field { connections, models, devices } = field;
    Config { gateway, sagoo, buffer, drivers, control, metrics, connections, models, devices }
}

/// `[control]` alone.
pub(super) fn control(tree: &Table, dir: &Path, report: &mut Report) -> ControlConfig {
    gateway::control(section(tree, "control", report), dir, report)
}

/// `[drivers]` alone.
pub(super) fn drivers(tree: &Table, dir: &Path, report: &mut Report) -> DriversConfig {
    gateway::drivers(section(tree, "drivers", report), dir, report)
}

/// A table of the gateway; one that is not there is missed at the start of gateway.toml.
fn section<'t>(tree: &'t Table, name: &str, report: &mut Report) -> Fields<'t> {
    let title = format!("[{name}]");
    match tree.get(name) {
        None => Fields::none(title),
        Some(entry) => {
            Fields::of(title, &entry.value, report).unwrap_or_else(|| Fields::unreadable(entry.value.span))
        }
    }
}

/// Where the gateway's own device key stands.
fn gateway_key(tree: &Table) -> Span {
    let inner = tree.get("gateway").and_then(|entry| match &entry.value.kind {
        Kind::Table(table) => table.get("device_key"),
        _ => None,
    });
    inner.map_or(Span { file: 0, start: 0, end: 0 }, |entry: &Entry| entry.value.span)
}

/// The two keys (`example`: of both) of `[gateway]` or of a device's `sagoo`; empty where wrong.
fn identity(fields: &mut Fields<'_>, example: [&str; 2], report: &mut Report) -> Identity {
    let product = fields.need(report, "product_key", example[0], names::platform_key);
    let device = fields.need(report, "device_key", example[1], names::platform_key);
    let identity = Identity {
        product_key: product.unwrap_or_default().into(),
        device_key: device.unwrap_or_default().into(),
    };
    if !identity.device_key.is_empty() && identity.product_key == identity.device_key {
        report
            .error(fields.head(), format!("product key and device key are both {:?}", identity.device_key))
            .hint("the platform tells them apart by where they stand: give them different names");
    }
    identity
}
