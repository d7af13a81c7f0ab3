//! Messages towards the platform.
//!
//! Always true: see the parent module; the bytes depend on the arguments alone.

use super::clean::{Losses, push, push_event_value, push_json, push_text, push_value, separate};
use crate::row::{Row, Value};

/// Longest key or id; ours are far shorter, so nothing is cut.
const MAX_KEY_CHARS: usize = 256;
/// Room to begin with, per property.
const PER_CELL_BYTES: usize = 56;

/// The gateway's own properties; `None`: nothing in the row could be said, and an empty report would
/// break the platform's storage batch.
pub fn property_post(id: &str, row: &Row) -> Option<(String, Losses)> {
    let mut losses = Losses::default();
    let mut out = envelope(id, row.cells.len());
    let said = push_properties(&mut out, row, &mut losses);
    out.push_str(",\"method\":\"thing.event.property.post\"}");
    (said > 0).then_some((out, losses))
}

/// Rows of one or many devices, each at most once.
pub fn pack_post(id: &str, rows: &[&Row]) -> (String, Losses) {
    let mut losses = Losses::default();
    let mut out = envelope(id, rows.iter().map(|row| row.cells.len() + 3).sum());
    out.push_str("{\"properties\":{},\"events\":{},\"subDevices\":[");
    for (i, row) in rows.iter().enumerate() {
        separate(&mut out, i);
        out.push_str("{\"identity\":{\"productKey\":");
        push_text(&mut out, &row.identity.product_key, MAX_KEY_CHARS);
        out.push_str(",\"deviceKey\":");
        push_text(&mut out, &row.identity.device_key, MAX_KEY_CHARS);
        out.push_str("},\"properties\":");
        push_properties(&mut out, row, &mut losses);
        out.push_str(",\"events\":");
        push_event(&mut out, row, &mut losses);
        out.push('}');
    }
    out.push_str("]},\"method\":\"thing.event.property.pack.post\"}");
    (out, losses)
}

/// The empty pack: asks whether the platform knows the device of the topic, and keeps it online.
pub fn probe(id: &str) -> String {
    pack_post(id, &[]).0
}

/// Says that every property was set.
pub fn set_reply(id: &str, values: &[(String, Value)]) -> String {
    let mut data = String::from("{");
    let mut said = 0;
    for (key, value) in values {
        let mut cell = String::new();
        if push_value(&mut cell, value, &mut Losses::default()) {
            separate(&mut data, said);
            push_text(&mut data, key, MAX_KEY_CHARS);
            data.push(':');
            data.push_str(&cell);
            said += 1;
        }
    }
    data.push('}');
    reply(id, 200, "success", &data)
}

/// Answers a call. `output` is a JSON object; anything else is answered as an empty one.
pub fn service_reply(id: &str, code: u32, message: &str, output: &str) -> String {
    let mut data = String::new();
    match serde_json::from_str(output) {
        Ok(object @ serde_json::Value::Object(_)) => push_json(&mut data, &object),
        _ => data.push_str("{}"),
    }
    reply(id, code, message, &data)
}

fn reply(id: &str, code: u32, message: &str, data: &str) -> String {
    let mut out = String::from("{\"code\":");
    push(&mut out, code);
    out.push_str(",\"data\":");
    out.push_str(data);
    out.push_str(",\"id\":");
    push_text(&mut out, id, MAX_KEY_CHARS);
    out.push_str(",\"message\":");
    push_text(&mut out, message, MAX_KEY_CHARS);
    out.push_str(",\"version\":\"1.0\"}");
    out
}

fn envelope(id: &str, cells: usize) -> String {
    let mut out = String::with_capacity(256 + cells * PER_CELL_BYTES);
    out.push_str("{\"id\":");
    push_text(&mut out, id, MAX_KEY_CHARS);
    out.push_str(",\"version\":\"1.0\",\"sys\":{\"ack\":1},\"params\":");
    out
}

fn push_properties(out: &mut String, row: &Row, losses: &mut Losses) -> usize {
    out.push('{');
    let mut said = 0;
    for cell in &row.cells {
        let before = out.len();
        separate(out, said);
        push_text(out, &cell.key, MAX_KEY_CHARS);
        out.push_str(":{\"value\":");
        if push_value(out, &cell.value, losses) {
            push_time(out, cell.time_ms);
            said += 1;
        } else {
            out.truncate(before);
        }
    }
    out.push('}');
    said
}

fn push_event(out: &mut String, row: &Row, losses: &mut Losses) {
    out.push('{');
    if let Some(event) = &row.event {
        push_text(out, &event.name, MAX_KEY_CHARS);
        out.push_str(":{\"value\":");
        push_event_value(out, &event.value, losses);
        push_time(out, row.time_ms);
    }
    out.push('}');
}

/// Ends `{"value":…` with integer seconds.
fn push_time(out: &mut String, time_ms: i64) {
    out.push_str(",\"time\":");
    push(out, time_ms.div_euclid(1_000));
    out.push('}');
}
