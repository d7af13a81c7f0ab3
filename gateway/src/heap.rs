//! The memory that is asked for while running.
//!
//! Always true: all threads share one heap. Each would get its own from glibc, with free room that the others
//! cannot use: 1.4 MiB more at 10 000 points/s. What they ask for is little enough for one.

/// Before there is a second thread.
pub fn share() {
    #[cfg(target_env = "gnu")]
    {
        #[allow(unsafe_code, reason = "no library says it")]
        // SAFETY: two numbers go in; it only changes what glibc does later.
        let taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
        debug_assert_eq!(taken, 1, "glibc knows M_ARENA_MAX");
    }
}
