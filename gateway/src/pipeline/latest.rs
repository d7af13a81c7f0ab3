//! Devices' latest rows in the small state, for a start that does not find them in the buffer any more.
//!
//! Always true: a value that comes back was stored for that device and point at that time; what is too long
//! for the small state is left out; nothing is written without news, nor what the newest segment of the
//! buffer holds anyway. Without the small state, telemetry flows as ever.
//!
//! ```text
//! space "latest"   <device> 0 <number> → a record with one full row of that device. A set too long for one
//!                  value is several, each with some of its cells; of two for one cell the newer one counts.
//! ```

use std::time::Duration;

use sagoo_edge_buffer::state::MAX_VALUE;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::record::{Context, Decoder, encode};
use crate::row::Row;
use crate::state::{self, Pair};

/// Where they are in the small state.
const SPACE: &str = "latest";
/// How often what has news is saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);
/// A small state that takes longer is not waited for at a start.
const LOAD_TIMEOUT: Duration = Duration::from_secs(1);
/// Nor at a stop.
const SAVE_TIMEOUT: Duration = Duration::from_millis(150);
/// Between a device's name and a number.
const SEPARATOR: u8 = 0;

/// The pipeline's hand on the small state.
#[derive(Debug)]
pub struct Latest {
    state: state::Handle,
    saved: Instant,
    saving: Option<JoinHandle<()>>,
}

/// What was saved, and where to save from now on.
#[derive(Debug)]
pub struct Loaded {
    pub(super) rows: Vec<Row>,
    pub(super) latest: Latest,
}

/// Reads what was saved of these devices and forgets the others.
pub async fn load(state: state::Handle, configured: impl Fn(&str) -> bool) -> Loaded {
    let pairs = match timeout(LOAD_TIMEOUT, state.scan(SPACE)).await {
        Ok(Ok(pairs)) => pairs,
        Ok(Err(error)) => {
            tracing::warn!(%error, "values from before the start are only known from the buffer");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!(
                "small state is slow; values from before the start are only known from the buffer"
            );
            Vec::new()
        }
    };
    let mut rows = Vec::new();
    for (key, value) in pairs {
        let device = key.split(|byte| *byte == SEPARATOR).next().unwrap_or_default();
        match std::str::from_utf8(device) {
            Ok(device) if configured(device) => rows.extend(read(device, &value)),
            _ => drop(state.delete(SPACE, &key).await),
        }
    }
    Loaded { rows, latest: Latest { state, saved: Instant::now(), saving: None } }
}

impl Latest {
    /// Whether it is time to save, and nothing is being saved.
    pub fn is_due(&mut self) -> bool {
        self.saving.take_if(|saving| saving.is_finished());
        self.saving.is_none() && self.saved.elapsed() >= SAVE_INTERVAL
    }

    /// Saves these rows; nobody waits for it.
    pub fn save(&mut self, rows: &[Row]) {
        self.saved = Instant::now();
        let pairs: Vec<Pair> = rows.iter().flat_map(pieces).collect();
        if pairs.is_empty() {
            return;
        }
        let state = self.state.clone();
        self.saving = Some(tokio::spawn(async move {
            if let Err(error) = state.save(SPACE, pairs).await {
                tracing::warn!(%error, "latest values are not saved");
            }
        }));
    }

    /// Saves these rows as the last ones.
    pub async fn finish(mut self, rows: &[Row]) {
        let before = self.saving.take();
        self.save(rows);
        for saving in before.into_iter().chain(self.saving) {
            if timeout(SAVE_TIMEOUT, saving).await.is_err() {
                tracing::warn!("small state is slow; latest values are not saved");
            }
        }
    }
}

/// A row as values of the small state.
fn pieces(row: &Row) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    // what has to be cut in two comes back here, each half smaller
    let mut parts = vec![row.clone()];
    while let Some(mut part) = parts.pop() {
        let value = encode(std::slice::from_ref(&part), &Context::default());
        if value.len() <= MAX_VALUE {
            let mut key = part.device.as_bytes().to_vec();
            key.push(SEPARATOR);
            key.extend(pairs.len().to_string().bytes());
            pairs.push((key, value));
        } else if part.cells.len() > 1 {
            let cells = part.cells.split_off(part.cells.len() / 2);
            let other = Row { cells, ..part.clone() };
            parts.extend([other, part]);
        } else if let Some(cell) = part.cells.first() {
            tracing::debug!(device = %part.device, key = %cell.key, "value is too long for the small state");
        }
    }
    pairs
}

fn read(device: &str, value: &[u8]) -> Vec<Row> {
    let rows = Decoder::default().decode(value).unwrap_or_default();
    let rows = rows.into_iter().filter_map(Result::ok);
    rows.filter(|row| *row.device == *device).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::row::{Cell, Identity, Value};

    fn row(cells: impl IntoIterator<Item = Value>) -> Row {
        let cells = cells.into_iter().enumerate().map(|(number, value)| Cell {
            key: format!("point_{number:04}").as_str().into(),
            value,
            time_ms: number as i64,
        });
        let identity = Identity { product_key: "p".into(), device_key: "k".into() };
        let cells: Vec<Cell> = cells.collect();
        Row { device: "meter".into(), identity, time_ms: 9, cells, event: None, samples: 0 }
    }

    fn back(pairs: Vec<Pair>) -> Vec<Cell> {
        let rows = pairs.into_iter().flat_map(|(_, value)| read("meter", &value));
        let mut cells: Vec<Cell> = rows.flat_map(|row| row.cells).collect();
        cells.sort_by(|a, b| a.key.cmp(&b.key));
        cells
    }

    #[test]
    fn a_set_of_any_length_comes_back_but_for_what_is_too_long() {
        for count in [0, 1, 100, 1_000] {
            let row = row((0..count).map(Value::Int));
            let pairs = pieces(&row);
            assert!(pairs.iter().all(|(_, value)| value.len() <= MAX_VALUE));
            assert_eq!(back(pairs), row.cells);
        }
        let row = row([Value::Int(1), Value::Text("x".repeat(5_000)), Value::Int(2)]);
        assert_eq!(back(pieces(&row)), [row.cells[0].clone(), row.cells[2].clone()]);
    }

    #[test]
    fn what_is_damaged_or_of_another_device_is_nothing() {
        let pairs = pieces(&row([Value::Int(1)]));
        assert_eq!(read("other", &pairs[0].1), []);
        assert_eq!(read("meter", &pairs[0].1[1..]), []);
    }

    #[tokio::test]
    async fn rows_that_were_saved_are_loaded_and_those_of_a_device_that_is_gone_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let (state, thread) = state::start(dir.path().to_owned());
        let loaded = load(state.clone(), |_| true).await;
        assert!(loaded.rows.is_empty());
        let kept = row([Value::Int(7), Value::Text("on".into())]);
        let gone = Row { device: Arc::from("gone"), ..kept.clone() };
        loaded.latest.finish(&[kept.clone(), gone]).await;
        let again = load(state.clone(), |device| device == "meter").await;
        assert_eq!(again.rows, [kept]);
        drop(again);
        assert_eq!(state.scan(SPACE).await.unwrap().len(), 1);
        drop(state);
        thread.join().unwrap();
    }
}
