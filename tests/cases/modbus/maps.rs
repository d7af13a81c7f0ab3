//! Points across every border: of registers, of reads.

use std::ops::Range;

use e2e::platform::Tsl;
use e2e::rig::{ModbusDevice, Over, Serving, Site};
use serde_json::json;
use tempfile::TempDir;

use super::{Expected, Field, fill, pattern};

/// All the registers a peer has.
pub(super) const REGISTERS: u16 = 400;

/// A device of pymodbus on a connection of its own, filled with the pattern.
pub(super) fn peer(
    dir: &TempDir,
    field: &mut Field,
    name: &str,
    unit: u8,
    holes: &[Range<u16>],
) -> ModbusDevice {
    let serving = Serving { holes: holes.to_vec(), ..Serving::over(Over::Tcp, "socket", &[unit]) };
    let device = ModbusDevice::serve(dir.path(), name, &serving).remove(0);
    fill(&device, unit, REGISTERS);
    let offline = "offline = { after = 3, probe = \"1s\", max_probe = \"1s\" }";
    field.line(name, &format!("tcp = {{ host = \"127.0.0.1\", port = {} }}\n{offline}", device.port));
    device
}

#[test]
fn bits_in_registers_and_values_across_borders_are_whole() {
    const UNIT: u8 = 11;
    let dir = TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory");
    let mut field = Field::default();
    let device = peer(&dir, &mut field, "borders", UNIT, &[]);
    let word = |at: u16| u64::from(pattern(UNIT, at));
    let mut points = Vec::new();
    // Every register, so that reads are as long as they can be, and whatever crosses their ends.
    points.extend(Expected::registers(UNIT, (0..260).filter(|at| ![124, 125, 249, 250].contains(at))));
    for at in [124_u16, 249] {
        let long = word(at) << 16 | word(at + 1);
        let settings = format!(r#"at = "holding:{at}", type = "u32""#);
        points.push(Expected::new(format!("long{at}"), settings, Tsl::Long, json!(long)));
    }
    for (at, bit) in [(124_u16, 0_u16), (125, 7), (126, 15), (200, 3)] {
        let on = word(at) >> bit & 1 == 1;
        let settings = format!(r#"at = "holding:{at}", type = "bits[{bit}]""#);
        let name = format!("bit{at}x{bit}");
        points.push(Expected::new(name, settings, Tsl::Int, json!(u8::from(on))));
    }
    let slice = word(125) >> 4 & 0b11_1111;
    points.push(Expected::new("slice", r#"at = "holding:125", type = "bits[4..9]""#, Tsl::Int, json!(slice)));
    field.device("borders", "borders", UNIT, 300, "", points);
    let mut site = Site::prepare_in(dir, &field.plan());
    site.gateway.start();
    field.assert_read(&site);
    drop(device);
}
