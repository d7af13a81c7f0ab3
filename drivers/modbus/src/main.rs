//! The program `driver-modbus`; all of it is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    driver_modbus::run()
}
