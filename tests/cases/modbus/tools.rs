//! What people type while a line is at work, and a plan that cannot be.

use e2e::rig::Site;

use super::{Expected, Field};

#[test]
fn a_line_that_cannot_be_polled_in_time_is_refused_with_the_arithmetic() {
    let mut field = Field::default();
    field.line("bus", "serial = { port = \"/dev/ttyS0\", mode = \"1200-8E1\" }");
    field.device("slow", "bus", 1, 500, "", Expected::registers(1, 0..100));
    let site = Site::prepare(&field.plan());
    let told = site.gateway.command(&["check"]);
    assert_ne!(told.code, 0, "{}", told.out);
    // 13 bytes of frames and 200 of values at 11 bits and 1200 baud, and twice 3.5 characters of silence.
    let needed = f64::from(213 * 11 + 7 * 11) / 1.2;
    let arithmetic = format!("{needed:.1} of every 500 ms = 403");
    assert!(told.out.contains(&arithmetic), "no {arithmetic:?} in {}", told.out);
}
