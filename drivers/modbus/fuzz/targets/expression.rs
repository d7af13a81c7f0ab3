//! Any bytes into `driver_modbus::fuzzing::expression`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driver_modbus::fuzzing::expression(bytes));
