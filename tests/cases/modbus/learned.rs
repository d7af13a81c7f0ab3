//! What a device refuses is found out and never asked for again: holes anywhere, and refusals of all kinds.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use e2e::rig::{ModbusDevice, Plan, Site, eventually};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::maps::{REGISTERS, peer};
use super::{Expected, Field, SOON};

/// Registers by chance, each with its neighbours now and then, and holes by chance between them.
fn random_map(rng: &mut fastrand::Rng) -> (BTreeSet<u16>, Vec<Range<u16>>) {
    let mut wanted = BTreeSet::new();
    while wanted.len() < 30 {
        let first = rng.u16(0..REGISTERS - 4);
        wanted.extend(first..first + rng.u16(1..4));
    }
    let mut holes: Vec<Range<u16>> = Vec::new();
    let mut at = 0;
    while at < REGISTERS - 20 {
        at += rng.u16(5..40);
        let end = at + rng.u16(1..4);
        holes.push(at..end);
        at = end;
    }
    (wanted, holes)
}

#[test]
fn random_holes_cost_their_own_registers_and_nothing_else_and_are_learned_for_good() {
    /// Polls that are watched after everything was learned.
    const QUIET: u64 = 12;
    let dir = TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory");
    let (mut field, mut devices) = (Field::default(), Vec::new());
    let mut bad = Vec::new();
    for unit in 1..=4 {
        let mut rng = fastrand::Rng::with_seed(u64::from(unit));
        let (wanted, holes) = random_map(&mut rng);
        let name = format!("map-{unit}");
        devices.push(peer(&dir, &mut field, &name, unit, &holes));
        let in_hole = |register: &u16| holes.iter().any(|hole| hole.contains(register));
        let mut points = Expected::registers(unit, wanted.iter().copied());
        for (point, register) in points.iter_mut().zip(&wanted).filter(|(_, register)| in_hole(register)) {
            point.value = None;
            bad.push((name.clone(), point.name.clone(), *register));
        }
        field.device(&name, &name, unit, 250, "", points);
    }
    assert!(!bad.is_empty(), "the seeds give points in holes as well");
    let mut site =
        Site::prepare_in(dir, &busy(&field).must_log("learned of a device, reads are planned around it"));
    site.gateway.start();
    field.assert_read(&site);
    for (device, point, _) in &bad {
        eventually(&format!("{device}.{point} is bad and says why"), SOON, || {
            let told = point_of(&site, device, point);
            (told["quality"] == json!("bad")).then_some(()).ok_or(told)
        });
    }
    eventually("everything is learned: polls go on and nothing is refused any more", SOON, || {
        let before: Vec<(u64, u64)> = devices.iter().map(counts).collect();
        std::thread::sleep(Duration::from_millis(250 * QUIET));
        let after: Vec<(u64, u64)> = devices.iter().map(counts).collect();
        let quiet = before
            .iter()
            .zip(&after)
            .all(|((read, refused), (later, still))| later >= &(read + QUIET / 2) && refused == still);
        quiet.then_some(()).ok_or_else(|| format!("reads and refusals: {before:?}, then {after:?}"))
    });
    let explained = site.gateway.command(&["explain"]);
    assert_eq!(explained.code, 0, "{}", explained.err);
    for (device, _, register) in &bad {
        let holes = holes_to_paste(&explained.json, device);
        let covered = holes.iter().any(|hole| hole.contains(register));
        assert!(covered, "{device}: {register} is not in {holes:?}");
    }
    field.assert_never_wrong(&site);
}

/// While it is found out what a device refuses, a poll takes as long as many.
fn busy(field: &Field) -> Plan {
    field.plan().may_log("slots are skipped").may_log("polls are left out because the line is busy")
}

fn counts(device: &ModbusDevice) -> (u64, u64) {
    let stats = device.stats();
    (stats.reads, stats.refused)
}

/// The holes of the line that explain says to paste.
fn holes_to_paste(explained: &Json, device: &str) -> Vec<RangeInclusive<u16>> {
    let learned = learned(explained, device);
    let paste = learned.as_array().into_iter().flatten().filter_map(|lesson| lesson["paste"].as_str());
    let pairs = paste.flat_map(|line| line.split('[').filter(|pair| pair.contains("holding:")));
    let number = |word: &str| u16::from_str_radix(word, 16).expect("an address");
    let hole = |pair: &str| {
        let mut words = pair.split('"').filter_map(|word| word.strip_prefix("holding:0x").map(number));
        words.next().expect("a first one")..=words.next().expect("a last one")
    };
    pairs.map(hole).collect()
}

/// What explain says was learned of a device.
fn learned(explained: &Json, device: &str) -> Json {
    let connections = explained["connections"].as_array().into_iter().flatten();
    let mut devices =
        connections.flat_map(|connection| connection["devices"].as_array().into_iter().flatten());
    let found = devices.find(|known| known["name"] == json!(device));
    found.unwrap_or_else(|| panic!("{device} is not explained: {explained:#}"))["learned"].clone()
}

#[test]
fn every_exception_says_its_name_and_takes_no_more_with_it_than_it_means() {
    const UNIT: u8 = 12;
    const REFUSED: u16 = 50;
    /// About registers: the one that is refused is found, and its neighbours are read on.
    const ABOUT_REGISTERS: [u8; 3] = [2, 3, 4];
    /// Nobody answers behind the gateway for the one, and for its neighbours somebody does: that is about
    /// registers, too.
    const SILENT: [u8; 2] = [10, 11];
    /// About the device, or this moment: nothing is learned, and all is read again when it is over.
    const ABOUT_THE_DEVICE: [u8; 2] = [1, 6];
    let dir = TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory");
    let (mut field, mut devices) = (Field::default(), Vec::new());
    let lasting = |code: &u8| ABOUT_REGISTERS.contains(code) || SILENT.contains(code);
    let codes = || ABOUT_REGISTERS.into_iter().chain(SILENT).chain(ABOUT_THE_DEVICE);
    for code in codes() {
        let name = format!("code-{code}");
        let device = peer(&dir, &mut field, &name, UNIT, &[]);
        let mut points = Expected::registers(UNIT, [0, 1, 48, 52, 90]);
        let refused = Expected::register(UNIT, REFUSED);
        points.push(if lasting(&code) { Expected { value: None, ..refused } } else { refused });
        field.device(&name, &name, UNIT, 300, "", points);
        device.refuse_reads_with(REFUSED..REFUSED + 1, code);
        devices.push((name, code, device));
    }
    let mut site =
        Site::prepare_in(dir, &busy(&field).may_log("device is offline").may_log("learned of a device"));
    site.gateway.start();
    for (name, code, _) in &devices {
        eventually(&format!("{name}: the point says exception {code}"), SOON, || {
            let point = point_of(&site, name, "r50").to_string();
            point.contains(&format!("exception {code})")).then_some(()).ok_or(point)
        });
        if lasting(code) {
            field.await_read(&site, name);
            eventually(&format!("{name}: it is learned"), SOON, || {
                let learned = learned(&site.gateway.command(&["explain"]).json, name);
                learned.to_string().contains("r50").then_some(()).ok_or(learned)
            });
        }
    }
    for (_, _, device) in &devices {
        device.refuse_reads(0..0);
    }
    field.assert_read(&site);
    let explained = site.gateway.command(&["explain"]).json;
    for code in ABOUT_THE_DEVICE {
        assert_eq!(learned(&explained, &format!("code-{code}")), json!([]));
    }
}

/// A point as status shows it.
fn point_of(site: &Site, device: &str, point: &str) -> Json {
    let points = site.gateway.device(device)["points"].clone();
    let found = points.as_array().into_iter().flatten().find(|told| told["name"] == json!(point)).cloned();
    found.unwrap_or_else(|| panic!("{device} has no point {point}"))
}
