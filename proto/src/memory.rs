//! Gives back the pages of a process's code that only its start needed: reading settings, keys and
//! certificates, and the loader's lists. They are most of what a small gateway has in memory.
//!
//! Always true: only what is as it stands in the program's file is given back, and what is needed again is
//! read from there, which mostly is the kernel's own cache of it; data of the process is not touched.

use std::ffi::{CStr, c_int, c_void};
use std::time::Duration;

use libc::{PF_W, PT_LOAD, dl_phdr_info};

/// After so long what is done is what will be done: connections stand, every device was read.
pub const START: Duration = Duration::from_secs(10);
/// The kernel's own object in every process; it is in no file.
const KERNELS: &[u8] = b"linux-vdso";

/// Waits until the start is over and gives its code back.
pub async fn forget_start() {
    tokio::time::sleep(START).await;
    give_code_back();
}

/// Gives all code back; what is being used comes again at once.
#[allow(unsafe_code, reason = "the loader's list of what it mapped is only had from C")]
fn give_code_back() {
    // SAFETY: the loader calls `visit` for each object while it holds its lock, so that none is unmapped
    // meanwhile; `visit` takes nothing from the pointer that is handed through.
    unsafe { libc::dl_iterate_phdr(Some(visit), std::ptr::null_mut()) };
}

#[allow(unsafe_code, reason = "called from C; what it is given is described in C")]
unsafe extern "C" fn visit(info: *mut dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
    // SAFETY: valid during this call, by dl_iterate_phdr's contract; so are the name and the headers in it.
    let (base, headers, name) = unsafe {
        let info = &*info;
        let name = if info.dlpi_name.is_null() { c"" } else { CStr::from_ptr(info.dlpi_name) };
        (info.dlpi_addr, std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()), name)
    };
    if name.to_bytes().starts_with(KERNELS) {
        return 0;
    }
    // a segment nobody may write is as it is in its file; what the loader writes to is in another one
    for header in headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_flags & PF_W == 0) {
        let page = rustix::param::page_size();
        let first = (base + header.p_vaddr) as usize;
        let (from, to) = (first.next_multiple_of(page), (first + header.p_memsz as usize) / page * page);
        if from < to {
            // SAFETY: these whole pages are of a private mapping of a file that is never written to, so
            // reading them again brings the same bytes. An error leaves them where they are.
            unsafe { libc::madvise(from as *mut c_void, to - from, libc::MADV_DONTNEED) };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_kb() -> u64 {
        let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
    }

    #[test]
    fn code_that_is_not_used_goes_and_what_is_used_comes_again() {
        let told = || format!("{:?} {:x?}", crate::handshake::CORE_VERSION, rustls::ProtocolVersion::TLSv1_3);
        let (before, text) = (resident_kb(), told());
        give_code_back();
        let after = resident_kb();
        assert!(after + 1_000 < before, "{before} kB before, {after} kB after");
        assert_eq!(told(), text);
    }
}
