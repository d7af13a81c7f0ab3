//! A host to be killed: starts the peer beside it, to be kept, says so in one line, and waits.
//! A peer that reads a terminal gets ours.
//!
//! `mortal <habit> <record directory> <run directory>`; prints the plugin's process id when it is
//! ready.

use std::env;
use std::error::Error;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sagoo_edge_plugin_host::{Keep, Launch, Plugin, Stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [habit, dir, run_dir] = <[PathBuf; 3]>::try_from(args).map_err(|_| "habit, record, run directory")?;
    let stdin = if habit == Path::new("terminal") { Stdin::Inherit } else { Stdin::Null };
    let launch = Launch {
        args: vec![habit.into()],
        stdin,
        keep: Some(Keep { dir, note: "from the first host".into() }),
        run_dir: Some(run_dir),
        ..Launch::new("tester", env::current_exe()?.with_file_name("peer"))
    };
    let plugin = Plugin::start(launch).await?;
    writeln!(io::stdout(), "{}", plugin.pid())?;
    std::future::pending::<()>().await;
    Ok(())
}
