//! A whole site: broker, platform, Modbus devices and gateway, in one directory of its own.
//!
//! Always true: everything ends with the value; its ledger balances then, and the platform is unharmed;
//! when the case fails, the logs are shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;
use tempfile::TempDir;

use super::account::{Count, Interrupted};
use super::journal::Journal;
use super::plan::{POINTS, Places, Plan};
use super::watch::Watch;
use super::{Broker, Gateway, Manners, ModbusDevice, Way, eventually};
use crate::platform::{Endpoint, Platform, Row, Timing};

/// Most lines of the broker's log in a failing case.
const BROKER_TAIL: usize = 25;

/// Everything, running.
pub struct Site {
    /// The gateway.
    pub gateway: Gateway,
    /// The platform.
    pub platform: Platform,
    /// The broker.
    pub broker: Broker,
    /// The gateway's way to it, when the plan has one.
    way: Option<Way>,
    devices: BTreeMap<String, ModbusDevice>,
    journal: Journal,
    watch: Watch,
    dir: TempDir,
}

impl Site {
    /// Starts everything and waits until the gateway answers.
    #[track_caller]
    pub fn start(plan: &Plan) -> Self {
        let mut site = Self::prepare(plan);
        site.gateway.start();
        site
    }

    /// Starts everything but the gateway, whose configuration is written.
    #[track_caller]
    pub fn prepare(plan: &Plan) -> Self {
        Self::prepare_in(TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory"), plan)
    }

    /// Like [`Site::prepare`], for a case that has put files (certificates) there before.
    #[track_caller]
    pub fn prepare_in(dir: TempDir, plan: &Plan) -> Self {
        let broker = Broker::start_guarded(dir.path(), plan.guard.as_ref());
        let timing = Timing { gateway: Some(plan.sender), ..plan.timing };
        let platform = Platform::start(Endpoint::local(broker.port), timing, plan.known_devices());
        let devices = start_devices(dir.path(), plan);
        let mut gateway = Gateway::new(dir.path());
        if let Some(size) = plan.buffer_mount {
            gateway.mount(&dir.path().join("buffer"), size);
        }
        let way = plan.way.map(|seed| Way::to(broker.port, seed));
        let (journal, watch) = (plan.journal.clone(), Watch::new(plan));
        let site = Self { gateway, platform, broker, way, devices, journal, watch, dir };
        site.configure(plan);
        site
    }

    /// How the plan's way to the broker treats what is published from now on. A bad one takes signs of life,
    /// and the answers that are wanted for the next ones.
    #[track_caller]
    pub fn set_manners(&self, manners: Manners) {
        let way = self.way.as_ref().expect("the plan has a way");
        // Deaf while it changes: what was taken just before is still missed after.
        self.platform.set_deaf(true);
        way.set(manners);
        self.platform.set_deaf(manners != Manners::default());
    }

    /// Messages that did not arrive by the plan's way.
    #[track_caller]
    pub fn taken(&self) -> u64 {
        self.way.as_ref().expect("the plan has a way").taken()
    }

    /// The Modbus device of this name.
    #[track_caller]
    pub fn device(&self, name: &str) -> &ModbusDevice {
        self.devices.get(name).unwrap_or_else(|| panic!("the plan has no meter {name:?}"))
    }

    /// The site's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes the gateway's configuration anew.
    pub fn configure(&self, plan: &Plan) {
        let ports = plan.meters.iter().map(|meter| (meter.line.as_str(), self.device(&meter.name).port));
        let places = Places {
            broker_port: self.gateways_port(),
            buffer: &self.path("buffer"),
            drivers: &self.gateway.drivers_dir(),
            run: &self.gateway.run_dir(),
            keys: &self.gateway.trusted_keys(),
            socket: &self.gateway.socket(),
            lines: ports.collect(),
        };
        let field = plan.field_toml(&places);
        self.gateway.configure("gateway.toml", &plan.gateway_toml(&places));
        self.gateway.configure("conf.d/field.toml", &field);
        self.watch.configured(plan, &field);
    }

    /// Where the gateway finds the broker.
    fn gateways_port(&self) -> u16 {
        let way = self.way.as_ref().map(|way| way.port);
        way.or(self.broker.guarded_port).unwrap_or(self.broker.port)
    }

    /// Waits until the meter's newest stored count is at least `count`.
    #[track_caller]
    pub fn await_count(&self, meter: &str, count: u64, within: Duration) {
        eventually(&format!("the platform stores count ≥ {count} of {meter}"), within, || {
            let stored = self.platform.latest(meter, "count");
            let enough = stored.as_ref().and_then(serde_json::Value::as_u64).is_some_and(|n| n >= count);
            enough.then_some(()).ok_or_else(|| format!("{stored:?}"))
        });
    }

    /// The newest count of a meter that is in the gateway's buffer or was there.
    #[track_caller]
    pub fn stored(&self, meter: &str) -> u64 {
        let device = self.gateway.device(meter);
        let count = newest(&device).unwrap_or_else(|| panic!("{meter} has no count: {device:#}"));
        assert_eq!(device["ledger"]["stored"], POINTS * count, "every point of every read: {device:#}");
        count
    }

    /// The newest count of a meter that must not be lost any more: it is in the buffer by the gateway's own
    /// word, or at the platform; 0 when there is none.
    #[track_caller]
    pub fn kept(&self, meter: &str) -> u64 {
        let arrived = self.platform.latest(meter, "count").and_then(|count| count.as_u64());
        newest(&self.gateway.device(meter)).max(arrived).unwrap_or(0)
    }

    /// Waits until everything read by now is stored, then checks the count: nothing lost, nothing
    /// twice, nothing out of order.
    #[track_caller]
    pub fn assert_nothing_lost(&self, meter: &str, within: Duration) {
        self.assert_kept(meter, Interrupted::by_nothing(), within);
    }

    /// Like [`Site::assert_nothing_lost`] when the gateway was interrupted: it may have cost what the
    /// interruption allows, and nothing more.
    #[track_caller]
    pub fn assert_kept(&self, meter: &str, interrupted: Interrupted, within: Duration) {
        let read = u64::from(self.device(meter).register(0));
        self.await_count(meter, read, within);
        let count = Count::of(&self.platform.rows(meter));
        let complaints = count.complaints(&interrupted);
        assert!(complaints.is_empty(), "{meter}: {}", complaints.join("\n"));
    }

    /// Like [`Site::assert_kept`] where the newest goes before what is older: waits until nothing of the meter
    /// waits any more, and takes the rows in any order.
    #[track_caller]
    pub fn assert_kept_in_any_order(&self, meter: &str, interrupted: Interrupted, within: Duration) {
        // What is acknowledged may still be in the platform's storage window.
        eventually(&format!("nothing of {meter} waits, and nothing is missing"), within, || {
            let ledger = self.gateway.device(meter)["ledger"].clone();
            let complaints = Count::in_any_order(self.platform.rows(meter)).complaints(&interrupted);
            let kept = ledger["waiting"] == 0 && complaints.is_empty();
            kept.then_some(()).ok_or_else(|| format!("{}\n{ledger:#}", complaints.join("\n")))
        });
    }

    /// Whether a row of the meter came after a newer one.
    pub fn came_out_of_order(&self, meter: &str) -> bool {
        !Count::of(&self.platform.rows(meter)).disorder.is_empty()
    }

    /// Waits for a moment between two reads at which the gateway's account of a meter is what its device
    /// served: every sample of every read in the buffer exactly once, or counted as saying nothing new.
    #[track_caller]
    pub fn assert_every_read_counts_once(&self, plan: &Plan, meter: &str, within: Duration) {
        eventually(&format!("every sample {meter} served is accounted for"), within, || {
            let before = self.device(meter).register(0);
            let ledger = self.gateway.device(meter)["ledger"].clone();
            let served = plan.per_read() * u64::from(before);
            let entry = |name: &str| ledger[name].as_u64().unwrap_or(u64::MAX);
            let exact = entry("read") == served && entry("suppressed") + entry("stored") == served;
            let quiet = self.device(meter).register(0) == before;
            (exact && quiet).then_some(()).ok_or_else(|| format!("{served} samples were served: {ledger:#}"))
        });
    }

    /// Waits until all that is stored of a meter was acknowledged, and checks that this is every read which
    /// is not `missing` at the platform: nothing was given up, dropped or counted twice.
    #[track_caller]
    pub fn assert_all_acknowledged(&self, plan: &Plan, meter: &str, within: Duration) {
        self.await_acknowledged(plan, meter, within, |rows| Count::of(&rows));
    }

    /// The same where the newest goes before what is older.
    #[track_caller]
    pub fn assert_all_acknowledged_in_any_order(&self, plan: &Plan, meter: &str, within: Duration) {
        self.await_acknowledged(plan, meter, within, Count::in_any_order);
    }

    #[track_caller]
    fn await_acknowledged(
        &self,
        plan: &Plan,
        meter: &str,
        within: Duration,
        count: impl Fn(Vec<Row>) -> Count,
    ) {
        eventually(&format!("all that is stored of {meter} is acknowledged"), within, || {
            let before = u64::from(self.device(meter).register(0));
            let ledger = self.gateway.device(meter)["ledger"].clone();
            let after = u64::from(self.device(meter).register(0));
            let missing = count(self.platform.rows(meter)).missing();
            let settled = ledger["acknowledged"] == ledger["stored"] && ledger["waiting"] == 0;
            let stored = ledger["stored"].as_u64().unwrap_or_default();
            let mut whole = (before..=after).map(|read| plan.per_read() * read.saturating_sub(missing));
            let exact = whole.any(|samples| samples == stored);
            let told = || format!("{before} to {after} reads, {missing} are missing: {ledger:#}");
            (settled && exact).then_some(()).ok_or_else(told)
        });
    }

    /// When the buffer was full: one run of reads is missing, between what had gone and what was kept;
    /// returns how many. All else is as in [`Site::assert_kept`].
    #[track_caller]
    pub fn assert_rest_in_order(&self, meter: &str, interrupted: Interrupted) -> u64 {
        let mut count = Count::of(&self.platform.rows(meter));
        let holes = std::mem::take(&mut count.holes);
        let complaints = count.complaints(&interrupted);
        assert!(complaints.is_empty(), "{meter}: {}", complaints.join("\n"));
        let [(first, last)] = holes[..] else {
            panic!("{meter}: not one run of reads is missing: {holes:?}")
        };
        last - first + 1
    }

    /// Fails if what the gateway sent, did not send or subscribed to would have harmed the real platform. It
    /// is seen once more when the case ends.
    #[track_caller]
    pub fn assert_unharmed(&self) {
        let harms = self.watch.harms(&self.platform, &self.broker, &self.gateway);
        assert!(harms.is_empty(), "{}", harms.join("\n"));
    }

    /// A file in the site's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        if !failing && self.gateway.runs() {
            // Every status is checked for a ledger that does not add up.
            self.gateway.status();
        }
        let mut surprises = self.journal.surprises(&self.gateway.log());
        if !failing {
            surprises.extend(self.watch.harms(&self.platform, &self.broker, &self.gateway));
        }
        if surprises.is_empty() && !failing {
            return;
        }
        let (log, state) = (self.broker.log(), self.broker.state());
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(BROKER_TAIL);
        let stored: BTreeMap<&str, usize> =
            self.devices.keys().map(|name| (name.as_str(), self.platform.rows(name).len())).collect();
        eprintln!(
            "{}--- mosquitto ({state}) ---\n{}\n--- platform: rows {stored:?}, violations {:#?}",
            self.gateway.tail(),
            lines[from..].join("\n"),
            self.platform.violations(),
        );
        // A case that fails already has said why, and a second panic would end the whole run.
        assert!(failing, "surprises in the gateway's log, or on its way:\n{}", surprises.join("\n"));
    }
}

/// The newest count of a meter, as status shows it.
fn newest(device: &Json) -> Option<u64> {
    let points = device["points"].as_array().into_iter().flatten();
    points.filter(|point| point["name"] == "count").find_map(|point| point["value"].as_u64())
}

/// One process per line, one device per meter.
fn start_devices(dir: &Path, plan: &Plan) -> BTreeMap<String, ModbusDevice> {
    /// The register every meter counts its reads in.
    const COUNTERS: [u16; 1] = [0];
    let mut devices = BTreeMap::new();
    for (line, meters) in plan.lines() {
        if let [meter] = meters[..] {
            devices.insert(meter.name.clone(), ModbusDevice::start(dir, line, &COUNTERS));
            continue;
        }
        let units: Vec<u8> = meters.iter().map(|meter| meter.unit).collect();
        let started = ModbusDevice::start_units(dir, line, &COUNTERS, &units);
        devices.extend(meters.iter().map(|meter| meter.name.clone()).zip(started));
    }
    devices
}
