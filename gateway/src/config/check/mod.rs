//! From the tree to values that cannot be wrong any more, with every mistake reported.
//!
//! In reading order:
//! - [`gateway`]: `[gateway]`, `[buffer]`, `[drivers]`, `[control]`;
//! - [`sagoo`]: `[sagoo]`, the platform's broker;
//! - [`field`]: `[connection.*]`, `[model.*]`, `[device.*]` and what they say of each other;
//! - [`points`]: the gateway's own part of a point;
//! - [`names`]: which names the platform can keep apart.

use std::path::Path;

use crate::row::Identity;

use super::place::Span;
use super::problem::Report;
use super::raw::fields::{Fields, did_you_mean};
use super::raw::tree::{Entry, Kind, Node, Table};
use super::types::Config;

mod field;
mod gateway;
mod names;
mod points;
mod sagoo;

/// Every table there is.
const TABLES: [&str; 8] =
    ["gateway", "sagoo", "buffer", "drivers", "control", "connection", "model", "device"];

/// All of it, or nothing when there is a mistake; relative paths begin at `dir`.
pub(super) fn config(tree: &Table, dir: &Path, report: &mut Report) -> Option<Config> {
    for (name, entry) in tree.iter().filter(|(name, _)| !TABLES.contains(&name.as_str())) {
        if report.is_damaged(entry.key.file) {
            continue;
        }
        let hint = did_you_mean(name, TABLES);
        let hint = hint.unwrap_or_else(|| format!("there are {}", TABLES.join(", ")));
        report.error(entry.key, format!("unknown table {name:?}")).hint(hint);
    }
    // A table that is not there is missed at the start of gateway.toml.
    let empty = Node { span: Span { file: 0, start: 0, end: 0 }, kind: Kind::Table(Table::new()) };
    let node = |name: &str| tree.get(name).map_or(&empty, |entry| &entry.value);
    let mut section = |name: &str, report: &mut Report| Fields::of(format!("[{name}]"), node(name), report);

    let gateway = section("gateway", report).and_then(|fields| gateway::gateway(fields, report));
    let sagoo = section("sagoo", report).and_then(|fields| sagoo::sagoo(fields, dir, report));
    let buffer = section("buffer", report).map(|fields| gateway::buffer(fields, dir, report));
    let drivers = section("drivers", report).map(|fields| gateway::drivers(fields, dir, report));
    let control = section("control", report).map(|fields| gateway::control(fields, dir, report));
    let own = gateway.as_ref().map(|gateway| (&gateway.identity, gateway_key(tree)));
    let field = field::field(tree, own, report);
    if !report.is_clean() {
        return None;
    }
    let gateway = gateway?;
    let mut sagoo = sagoo?;
    if sagoo.client_id.is_empty() {
        sagoo.client_id = gateway.identity.device_key.to_string();
    }
    Some(Config {
        gateway,
        sagoo,
        buffer: buffer?,
        drivers: drivers?,
        control: control?,
        connections: field.connections,
        models: field.models,
        devices: field.devices,
    })
}

/// Where the gateway's own device key stands.
fn gateway_key(tree: &Table) -> Span {
    let inner = tree.get("gateway").and_then(|entry| match &entry.value.kind {
        Kind::Table(table) => table.get("device_key"),
        _ => None,
    });
    inner.map_or(Span { file: 0, start: 0, end: 0 }, |entry: &Entry| entry.value.span)
}

/// The two keys (`example`: of both) of `[gateway]` or of a device's `sagoo`.
fn identity(fields: &mut Fields<'_>, example: [&str; 2], report: &mut Report) -> Option<Identity> {
    let product = fields.need(report, "product_key", example[0], names::platform_key);
    let device = fields.need(report, "device_key", example[1], names::platform_key);
    let identity = Identity { product_key: product?.into(), device_key: device?.into() };
    if identity.product_key == identity.device_key {
        report
            .error(fields.head(), format!("product key and device key are both {:?}", identity.device_key))
            .hint("the platform tells them apart by where they stand: give them different names");
        return None;
    }
    Some(identity)
}
