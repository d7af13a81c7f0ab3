//! The hand of [`WallClock`] on the machine: reads its clocks, keeps what was decided, and says so.
//!
//! Always true: a decision is on the disk before anybody may send a row by it, or is tried to be written
//! until the disk takes it.

use std::time::Duration;

use sagoo_edge_proto::clock;
use serde_json::{Value as Json, json};
use tokio::sync::watch;

use super::boots::{Boots, Seen};
use super::wall::kept::File;
use super::wall::{News, WallClock, trust};
use crate::config::types::Config;
use crate::status::{ClockStatus, UNCERTAIN};

/// How often the clock is looked at while rows wait for it.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the wall time is kept for a boot without a clock; a boot with one keeps it at its end, too.
const KEEP_INTERVAL_MS: i64 = 600_000;
/// What helps.
const REMEDY: &str = "let a time service set the clock, or set it by hand; [gateway] clock_wait says how long rows wait for it";

/// See the module.
pub struct Timekeeper {
    /// The rules.
    pub wall: WallClock,
    file: File,
    boots: watch::Sender<Boots>,
    kept_at_ms: i64,
}

impl Timekeeper {
    /// Goes on from what was kept and from what waits.
    pub fn open(config: &Config, seen: &Seen) -> Self {
        let (file, kept) = File::open(&config.buffer.dir);
        let wall = WallClock::new(kept, seen, clock::boot_id(), config.gateway.clock_wait);
        let (boots, _) = watch::channel(wall.boots().clone());
        let mut timekeeper = Self { wall, file, boots, kept_at_ms: 0 };
        // also for the boots before this one, whose rows are sent at once
        timekeeper.keep(true);
        timekeeper
    }

    /// Says so if rows will wait.
    pub fn say_waiting(&self) {
        if self.wall.is_waiting() {
            let wait = self.wall.wait();
            tracing::warn!(
                ?wait,
                remedy = REMEDY,
                "the clock is not trusted; rows are stored and wait for it"
            );
        }
    }

    /// What stored times mean.
    pub fn boots(&self) -> watch::Receiver<Boots> {
        self.boots.subscribe()
    }

    /// The time to store for a read of this boot; one to come is a mistake of who says it.
    pub fn at(&mut self, boot_ns: u64) -> i64 {
        self.wall.at(millis(boot_ns.min(clock::boot_ns())))
    }

    /// The time to store for a read of a machine or boot that shares no boot time with us: what it says
    /// itself, (boot time, wall time), or when it arrives.
    pub fn elsewhere(&mut self, boot_ns: u64, label: Option<(u64, i64)>) -> i64 {
        match label.filter(|(_, wall_ms)| *wall_ms >= clock::EARLIEST_TRUSTED_WALL_MS) {
            Some((base_ns, wall_ms)) => wall_ms.saturating_add(millis(boot_ns) - millis(base_ns)),
            None => self.at(clock::boot_ns()),
        }
    }

    /// Looks at the clock; says what is new of it.
    pub fn look(&mut self) -> Option<News> {
        let boot_ms = now_ms();
        let news = self.wall.look(boot_ms, clock::trusted_wall_ms(), trust::trusted);
        match news {
            Some(News::Decided { certain }) => {
                self.keep(true);
                self.boots.send_replace(self.wall.boots().clone());
                if certain {
                    tracing::info!("the clock is trusted");
                } else {
                    tracing::error!(
                        remedy = REMEDY,
                        "the clock is still not trusted; rows carry the last time that was known plus the time since boot"
                    );
                }
            }
            Some(News::Trusted { late_ms }) => {
                self.keep(true);
                tracing::info!(late_ms, "the clock is trusted now; times before were uncertain");
            }
            Some(News::Stepped { by_ms }) => {
                tracing::warn!(by_ms, "the clock was set to another time; later rows follow it");
            }
            None if boot_ms - self.kept_at_ms >= KEEP_INTERVAL_MS => self.keep(false),
            None => {}
        }
        news
    }

    /// The disk did not take what was to be kept.
    pub fn is_unkept(&self) -> bool {
        self.file.is_refused()
    }

    /// Writes it down.
    pub fn keep(&mut self, synced: bool) {
        self.kept_at_ms = now_ms();
        self.file.keep(&self.wall.kept(self.kept_at_ms), synced);
    }

    /// What status shows.
    pub fn status(&self) -> ClockStatus {
        let (state, remedy) = match (self.wall.is_waiting(), self.wall.is_uncertain()) {
            (true, _) => ("waiting", REMEDY),
            (_, true) => (UNCERTAIN, REMEDY),
            _ => ("trusted", ""),
        };
        let waits_s = self.wall.waits_ms(now_ms()).map(|left_ms| left_ms as u64 / 1_000);
        ClockStatus { state: state.to_owned(), waits_s, remedy: remedy.to_owned() }
    }
}

impl News {
    /// What the platform should know, as its rows have no place for it: once per boot that their times are
    /// uncertain, and by how much they were wrong once that is known.
    pub fn event(self) -> Option<(&'static str, Json)> {
        match self {
            Self::Decided { certain: true } | Self::Stepped { .. } => None,
            Self::Decided { certain: false } => Some((
                "clockUncertain",
                json!({ "reason": "the clock is not trusted: times are the last known one plus the time since boot" }),
            )),
            Self::Trusted { late_ms } => Some(("clockTrusted", json!({ "late_ms": late_ms }))),
        }
    }
}

fn now_ms() -> i64 {
    millis(clock::boot_ns())
}

fn millis(boot_ns: u64) -> i64 {
    (boot_ns / 1_000_000) as i64
}
