//! Lets the kernel turn an RS-485 line around (`TIOCSRS485`).
//!
//! Always true: this is the only unsafe code of the driver, for one call of the kernel that no crate at
//! hand makes.

use std::ffi::{c_int, c_ulong};
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use tokio_serial::SerialStream;

/// `TIOCSRS485` of `asm-generic/ioctls.h`, the same on x86 and ARM.
const TIOCSRS485: c_ulong = 0x542F;
const ENABLED: u32 = 1;
const RTS_ON_SEND: u32 = 1 << 1;

/// `struct serial_rs485` of `linux/serial.h`.
#[repr(C)]
struct Settings {
    flags: u32,
    /// Milliseconds.
    delay_rts_before_send: u32,
    delay_rts_after_send: u32,
    padding: [u32; 5],
}

#[allow(unsafe_code, reason = "the C library's own")]
unsafe extern "C" {
    fn ioctl(file: c_int, request: c_ulong, ...) -> c_int;
}

/// RTS is up while the port sends, with these pauses around, which the kernel counts in milliseconds.
#[allow(unsafe_code, reason = "an ioctl")]
pub(super) fn enable(stream: &SerialStream, before: Duration, after: Duration) -> io::Result<()> {
    let mut settings = Settings {
        flags: ENABLED | RTS_ON_SEND,
        delay_rts_before_send: before.as_millis() as u32,
        delay_rts_after_send: after.as_millis() as u32,
        padding: [0; 5],
    };
    // SAFETY: this request reads, and on success writes back, one `struct serial_rs485`; `Settings` has its
    // fields and its 32 bytes, is all integers, and lives longer than the call. `stream` owns the file.
    match unsafe { ioctl(stream.as_raw_fd(), TIOCSRS485, &raw mut settings) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_have_the_size_that_the_kernel_copies() {
        assert_eq!(size_of::<Settings>(), 32);
    }

    #[tokio::test]
    async fn a_port_whose_driver_cannot_do_it_says_so() {
        let (_master, slave) = SerialStream::pair().unwrap();
        let error = enable(&slave, Duration::ZERO, Duration::ZERO).unwrap_err();
        assert!(error.raw_os_error().is_some(), "{error}");
    }
}
