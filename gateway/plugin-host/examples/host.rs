//! A host of its own for one plugin, so that what the plugin costs can be told from everything else:
//! starts the program given as its arguments, waits until the plugin says that its flood is over,
//! stops it and prints the outcome and the peak of its own memory.
//!
//! ```text
//! started|refused: <why>
//! <KiB of memory at the start> <KiB at the peak>
//! ```

#![allow(clippy::print_stdout, reason = "it is what it is for")]

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use sagoo_edge_plugin_host::{Grace, Launch, Plugin, Security};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args_os().skip(1);
    let program = args.next().ok_or("usage: host <program> <argument>…")?;
    let args: Vec<OsString> = args.collect();
    let begun = peak()?;
    let launch =
        Launch { args, security: Security::Plain, start_timeout: LIMIT, ..Launch::new("tester", program) };
    match Plugin::start(launch).await {
        Ok(plugin) => {
            let mut exited = plugin.exited();
            let over = async {
                while !plugin.last_lines().iter().any(|line| line == "flood is over") {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                () = over => {}
                _ = exited.wait_for(Option::is_some) => {}
                () = tokio::time::sleep(LIMIT) => return Err("the flood is never over".into()),
            }
            plugin.health(LIMIT).await?;
            plugin.stop(Grace::default()).await;
            println!("started");
        }
        Err(error) => println!("refused: {error}"),
    }
    println!("{begun} {}", peak()?);
    Ok(())
}

/// The most memory this process ever held, in KiB.
fn peak() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
