//! Habits of a plugin whose host may be gone.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

/// Counts on both streams and in a file, as fast as anybody could wish, until it ends.
pub fn count() -> io::Result<()> {
    let file = PathBuf::from(std::env::var_os("TMPDIR").unwrap_or_default()).join("counted");
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    std::thread::spawn(move || {
        for n in 0.. {
            // its own words first: what stands in the file has been said
            let said = writeln!(io::stderr(), "err {n}").and_then(|()| writeln!(io::stdout(), "out {n}"));
            if said.and_then(|()| writeln!(file, "{n}")).is_err() {
                std::process::exit(9);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    Ok(())
}

/// Never gets ready.
pub fn say_nothing() {
    loop {
        std::thread::park();
    }
}
