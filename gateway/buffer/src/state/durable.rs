//! Makes `sled` durable: its log is written with `sync_file_range`, which syncs neither the file's
//! length nor the device's cache, so that a power cut loses what `flush` has promised. The symbol is
//! defined here, in place of the C library's, as `fdatasync`.
//!
//! Always true: it is linked wherever `State` is (a test counts the calls); nobody else in the gateway
//! uses `sync_file_range`.

#![allow(unsafe_code, reason = "a C symbol is defined and one is called")]

#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls so far.
#[cfg(test)]
pub(super) static CALLS: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    fn fdatasync(fd: i32) -> i32;
}

// SAFETY: the name is the C library's on purpose; signature and result (0, or -1 and errno) are those
// of sync_file_range(2) on every Linux target, the offsets being 64 bits wide on 32-bit ones, too.
// What it promises is more than what the original does.
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(fd: i32, _offset: i64, _len: i64, _flags: u32) -> i32 {
    #[cfg(test)]
    CALLS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: fdatasync takes any number; one that is no open file is answered with EBADF.
    unsafe { fdatasync(fd) }
}

mod as_sled_sees_it {
    unsafe extern "C" {
        pub(super) fn sync_file_range(fd: i32, offset: i64, len: i64, flags: u32) -> i32;
    }
}

/// Whether the name leads here wherever it is used. The reference also keeps this object in the program.
pub(super) fn linked() -> bool {
    let ours: extern "C" fn(i32, i64, i64, u32) -> i32 = sync_file_range;
    let theirs: unsafe extern "C" fn(i32, i64, i64, u32) -> i32 = as_sled_sees_it::sync_file_range;
    ours as usize == theirs as usize
}
