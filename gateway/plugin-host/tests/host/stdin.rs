//! What a plugin reads.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use sagoo_edge_plugin_host::{Grace, Stdin};

use crate::*;

const FLAGS: OpenptFlags = OpenptFlags::RDWR.union(OpenptFlags::NOCTTY).union(OpenptFlags::CLOEXEC);

#[tokio::test]
async fn a_plugin_reads_the_terminal_of_its_host_though_it_is_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let ours = openpt(FLAGS).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let terminal = ioctl_tiocgptpeer(&ours, FLAGS).unwrap();
    let (record, run) = (dir.path().join("record"), dir.path().join("run"));
    // the terminal is the host's own, so that the kernel would stop a reader in the background
    let mut host = Command::new("setsid")
        .arg("--ctty")
        .arg(example("mortal"))
        .args(["terminal".as_ref(), record.as_path(), run.as_path()])
        .stdin(terminal)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut ours = fs::File::from(ours);
    ours.write_all(b"hello driver\n").unwrap();
    let heard = || files_in_made(&run).iter().find_map(|dir| fs::read_to_string(dir.join("heard")).ok());
    until("it has read a line", || heard().is_some_and(|heard| heard.contains("driver"))).await;
    assert_eq!(heard().unwrap(), "true hello driver");
    // open until here: its end would be the end of the terminal
    drop(ours);
    host.kill().unwrap();
    host.wait().unwrap();
    let stray = sagoo_edge_plugin_host::records(&record).remove(0);
    sagoo_edge_plugin_host::end_stray(stray, LONG).await.unwrap();
}

fn files_in_made(dir: &Path) -> Vec<PathBuf> {
    if dir.exists() { files_in(dir) } else { Vec::new() }
}

#[tokio::test]
async fn a_plugin_reads_nothing_unless_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let launch = peer("terminal", dir.path());
    assert_eq!(launch.stdin, Stdin::Null);
    // it reads before it answers: with nothing to read it gets ready at once
    let plugin = started(launch).await;
    let heard = fs::read_to_string(files_in(dir.path())[0].join("heard")).unwrap();
    assert_eq!(heard, "false ");
    plugin.stop(Grace::default()).await;
}
