//! Whether the kernel's clock is trusted, beyond being later than 2025.
//!
//! Always true: a clock that the kernel knows to be synchronised is trusted. So is one that nobody on this
//! box synchronises: it is as right as it ever will be. Where a time service runs, its word is waited for:
//! until then the clock may be that of a battery, or the time of the last shutdown, which systemd and
//! fake-hwclock set on boxes without a battery, and which looks as good.

use std::path::Path;

/// What time services leave while they run: systemd-timesyncd, chrony, ntpd (both of them), OpenNTPD.
const SERVICES: [&str; 5] =
    ["run/systemd/timesync", "run/chrony", "run/ntpd.pid", "run/ntpsec", "run/openntpd"];

/// Asks.
pub fn trusted() -> bool {
    synchronised().unwrap_or(true) || !is_served(Path::new("/"))
}

fn is_served(root: &Path) -> bool {
    SERVICES.iter().any(|place| root.join(place).exists())
}

/// The kernel's word; `None`: it does not tell, as inside a sandbox that keeps clocks away.
#[allow(unsafe_code, reason = "rustix has no adjtimex")]
fn synchronised() -> Option<bool> {
    // SAFETY: timex is plain numbers, for which all zeroes is a value; modes = 0 only reads.
    let (state, status) = unsafe {
        let mut now: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut now), now.status)
    };
    (state >= 0).then_some(status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_may_be_asked_without_any_right() {
        assert!(synchronised().is_some());
    }

    #[test]
    fn a_time_service_is_known_by_what_it_leaves_while_it_runs() {
        let root = tempfile::tempdir().unwrap();
        assert!(!is_served(root.path()));
        std::fs::create_dir_all(root.path().join("run/systemd/timesync")).unwrap();
        assert!(is_served(root.path()));
    }
}
