//! A host that starts and stops fifty plugins of each kind, and fails if anything of one is left:
//! a descriptor, a child, a file. `lives <directory>`.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sagoo_edge_plugin_host::{Confinement, Grace, Keep, Launch, Plugin, Reattach, Security};

const LIVES: usize = 50;
/// The first ones open what stays: the runtime's own descriptors.
const WARM_UP: usize = 4;
/// What ends in the background has ended by then.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(env::args_os().nth(1).ok_or("usage: lives <directory>")?);
    for kind in 0..4 {
        for _ in 0..WARM_UP {
            life(kind, &dir).await?;
        }
        let before = descriptors()?;
        for _ in 0..LIVES {
            life(kind, &dir).await?;
        }
        let begun = Instant::now();
        while descriptors()? > before || children()? > 0 {
            if begun.elapsed() > PATIENCE {
                let left = format!("{before} descriptors, then {}; {} children", descriptors()?, children()?);
                return Err(format!("something is left of kind {kind}: {left}").into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    Ok(fs::remove_dir(dir.join("run"))?)
}

/// One plugin: plain, confined, kept, or taken over; the last one is dropped, not stopped.
async fn life(kind: usize, dir: &Path) -> Result<(), Box<dyn Error>> {
    let record = dir.join("record");
    let launch = Launch {
        security: if kind == 0 { Security::Plain } else { Security::AutoMtls },
        confinement: (kind == 1).then(Confinement::default),
        keep: (kind > 1).then(|| Keep { dir: record.clone(), note: String::new() }),
        run_dir: Some(dir.join("run")),
        ..Launch::new("tester", env::current_exe()?.with_file_name("peer"))
    };
    let plugin = Plugin::start(launch).await?;
    if kind < 3 {
        let stopped = plugin.stop(Grace::default()).await;
        return if stopped.killed { Err("it had to be killed".into()) } else { Ok(()) };
    }
    plugin.detach();
    let plugin = Plugin::reattach(&record, Reattach::default()).await?;
    let mut exited = plugin.exited();
    drop(plugin);
    exited.wait_for(Option::is_some).await?;
    Ok(())
}

fn descriptors() -> Result<usize, Box<dyn Error>> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

/// Children of this process, dead ones that nobody has reaped among them.
fn children() -> Result<usize, Box<dyn Error>> {
    let mut all = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        all += fs::read_to_string(thread?.path().join("children"))?.split_whitespace().count();
    }
    Ok(all)
}
