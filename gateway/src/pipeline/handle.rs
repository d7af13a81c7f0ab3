//! The pipeline's door: what sessions, the forwarder and status may ask of the thread that owns
//! the buffer.
//!
//! Always true: the queue behind it is bounded; a caller waits when it is full, nothing is dropped here.

use std::collections::HashMap;
use std::sync::Arc;

use sagoo_edge_proto::driver::DeviceSamples;
use tokio::sync::{mpsc, oneshot, watch};

use super::book::ahead::Range;
use super::boots::Boots;
use super::latest::Loaded;
use super::snapshot::Snapshot;
use crate::class::{Class, PerClass};
use crate::row::Value;

/// Requests waiting for the pipeline; a full queue makes callers wait.
pub const QUEUE: usize = 256;

/// A driver's batch, as it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Driver id.
    pub driver: Arc<str>,
    /// The driver process.
    pub instance: [u8; 16],
    /// Its boot.
    pub boot_id: Arc<str>,
    /// Its number.
    pub seq: u64,
    /// Who the numbers in it are.
    pub numbers: Arc<Numbers>,
    /// The samples.
    pub devices: Vec<DeviceSamples>,
}

/// Device and point numbers agreed in `Configured`: number → (device, points by number).
pub type Numbers = HashMap<u32, (Arc<str>, Points)>;

/// Names of points by number; devices with the same share them.
pub type Points = Arc<Vec<Arc<str>>>;

/// One stored record.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its place in its class.
    pub seq: u64,
    /// For [`super::record::Decoder`].
    pub payload: Vec<u8>,
}

/// Where the forwarder begins in one class.
#[derive(Debug, Clone, Default)]
pub struct Resume {
    /// First record to read: the start of a segment, so that rows can be rebuilt.
    pub from: u64,
    /// Rows of a device below its position are settled; devices not named: nothing is settled.
    pub positions: HashMap<Arc<str>, u64>,
    /// Rows of a device that were answered before their turn.
    pub ahead: HashMap<Arc<str>, Vec<Range>>,
}

/// Rows of a device that were answered before their turn, and wait for it to be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaidAhead {
    /// The class of the records.
    pub class: Class,
    /// Name in the configuration.
    pub device: Arc<str>,
    /// The newest range of records, as it is now: all rows the device has there were answered.
    pub range: Range,
}

/// What became of a device's rows in one record.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The class of the record.
    pub class: Class,
    /// Name in the configuration.
    pub device: Arc<str>,
    /// The record.
    pub seq: u64,
    /// Samples in them.
    pub samples: u32,
    /// How they ended.
    pub fate: Fate,
}

/// How rows end. Of several rows of a device in one record the worst counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// The platform answered.
    Acknowledged,
    /// Not sent, because a newer row stands for them.
    Merged,
    /// They could not be rebuilt, because what they refer to is damaged; counted as evicted.
    Damaged,
    /// Given up: the platform answers others but never these. See [`Handle::redeemed`].
    Parked,
}

/// The pipeline has ended; only at stop, or after it failed and the process is about to end.
#[derive(Debug, thiserror::Error)]
#[error("the pipeline has ended")]
pub struct Gone;

/// Sender half of the pipeline.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) queue: mpsc::Sender<Ask>,
    pub(super) heads: PerClass<watch::Receiver<u64>>,
    pub(super) boots: watch::Receiver<Boots>,
}

/// What can be asked.
#[derive(Debug)]
pub(super) enum Ask {
    Batch(Arrived, oneshot::Sender<()>),
    Link { device: Arc<str>, online: bool, reason: String },
    Dropped { device: Arc<str>, instance: [u8; 16], total: u64 },
    Event { device: Arc<str>, name: String, value: String, boot_ns: u64 },
    Own(Vec<(Arc<str>, Value)>),
    Read { class: Class, from: u64, max_bytes: usize, reply: oneshot::Sender<Option<Vec<Stored>>> },
    Begins { class: Class, seq: u64, reply: oneshot::Sender<u64> },
    Remember(Loaded),
    Resume(oneshot::Sender<PerClass<Resume>>),
    Settle(Vec<Settled>),
    SaidAhead(Vec<SaidAhead>),
    Redeemed { device: Arc<str>, samples: u32, reply: oneshot::Sender<()> },
    Snapshot(oneshot::Sender<Snapshot>),
    Stop(oneshot::Sender<()>),
}

impl Handle {
    /// Writes a batch; returns when it is in the buffer (or was already) and may be acknowledged to
    /// the driver. While the disk takes no data this waits.
    pub async fn batch(&self, arrived: Arrived) -> Result<(), Gone> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Ask::Batch(arrived, reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Stores something announced by a device, or by the gateway itself ([`crate::row::GATEWAY`]).
    /// `value` is a JSON object; `boot_ns` is when it happened, and what that is in wall time the
    /// pipeline knows.
    pub async fn event(&self, device: &str, name: String, value: String, boot_ns: u64) -> Result<(), Gone> {
        self.queue.send(Ask::Event { device: device.into(), name, value, boot_ns }).await.map_err(|_| Gone)
    }

    /// Records of a class from `from` on, in order, at least one if there is any; empty at the head.
    /// A gap (first seq above `from`) means the records between were evicted or damaged. `None`: the
    /// disk cannot be read now; they are still there, so ask again later.
    pub async fn read(&self, class: Class, from: u64, max_bytes: usize) -> Result<Option<Vec<Stored>>, Gone> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Ask::Read { class, from, max_bytes, reply }).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Where reading has to begin so that this record, or the next one to come, can be understood: the first
    /// one of its segment.
    pub async fn begins(&self, class: Class, seq: u64) -> Result<u64, Gone> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Ask::Begins { class, seq, reply }).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Values from before the start, and where to keep them from now on. To be said before the first batch.
    pub async fn remember(&self, loaded: Loaded) -> Result<(), Gone> {
        self.queue.send(Ask::Remember(loaded)).await.map_err(|_| Gone)
    }

    /// Where to begin after a start.
    pub async fn resume(&self) -> Result<PerClass<Resume>, Gone> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Ask::Resume(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Reports what became of rows; per class and device in order of seq, once per device and record.
    pub async fn settle(&self, settled: Vec<Settled>) -> Result<(), Gone> {
        self.queue.send(Ask::Settle(settled)).await.map_err(|_| Gone)
    }

    /// Reports what was answered before its turn, if anything; it is settled in its turn all the same.
    pub async fn said_ahead(&self, said: Vec<SaidAhead>) -> Result<(), Gone> {
        if said.is_empty() {
            return Ok(());
        }
        self.queue.send(Ask::SaidAhead(said)).await.map_err(|_| Gone)
    }

    /// The platform has answered for samples that were parked; returns when that is written down.
    pub async fn redeemed(&self, device: Arc<str>, samples: u32) -> Result<(), Gone> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Ask::Redeemed { device, samples, reply }).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Whether a device answers, as its driver sees it.
    pub async fn link(&self, device: Arc<str>, online: bool, reason: String) -> Result<(), Gone> {
        self.queue.send(Ask::Link { device, online, reason }).await.map_err(|_| Gone)
    }

    /// A driver process' running total of samples it had to drop.
    pub async fn dropped(&self, device: Arc<str>, instance: [u8; 16], total: u64) -> Result<(), Gone> {
        self.queue.send(Ask::Dropped { device, instance, total }).await.map_err(|_| Gone)
    }

    /// Stores the gateway's own properties, by platform key.
    pub async fn own(&self, values: Vec<(Arc<str>, Value)>) -> Result<(), Gone> {
        self.queue.send(Ask::Own(values)).await.map_err(|_| Gone)
    }

    /// Latest values, the ledger and the buffer.
    pub async fn snapshot(&self) -> Result<Snapshot, Gone> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Ask::Snapshot(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// What times in rows mean.
    pub fn boots(&self) -> watch::Receiver<Boots> {
        self.boots.clone()
    }

    /// The seq the next record of a class will get; changes wake the forwarder. While the clock is waited
    /// for, that of the first record that waits.
    pub fn head(&self, class: Class) -> watch::Receiver<u64> {
        self.heads[class].clone()
    }
}

/// A pipeline that takes what it is asked and never answers, as with a disk that does not.
#[cfg(test)]
pub fn unheard() -> (Handle, impl Sized) {
    let (queue, asks) = mpsc::channel(QUEUE);
    let (head, seen) = watch::channel(0);
    let (_, boots) = watch::channel(Boots::default());
    (Handle { queue, heads: PerClass::new(|_| seen.clone()), boots }, (asks, head))
}
