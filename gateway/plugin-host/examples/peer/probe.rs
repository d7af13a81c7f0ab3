//! Tries what it may do, and says so on stderr: `probe <what>=<where>: <result>`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(10);

/// Every argument after the habit.
pub fn all() {
    for probe in std::env::args().skip(2) {
        let (what, on) = probe.split_once('=').unwrap_or((&probe, ""));
        match one(what, on) {
            Ok(found) => eprintln!("probe {probe}: ok {found}"),
            Err(error) => eprintln!("probe {probe}: {:?}", error.kind()),
        }
    }
    eprintln!("probes are over");
}

fn one(what: &str, on: &str) -> io::Result<String> {
    let path = Path::new(on);
    match what {
        "read" if path.is_dir() => Ok(fs::read_dir(path)?.count().to_string()),
        "read" => File::open(once_there(path))?.read(&mut [0; 1]).map(|count| count.to_string()),
        "write" => {
            OpenOptions::new().append(true).create(true).open(path)?.write(b"\n").map(|_| String::new())
        }
        "run" => Ok(Command::new(path).status()?.to_string()),
        "plant" => {
            let own = tmp_dir().join("planted");
            fs::copy("/bin/true", &own)?;
            fs::set_permissions(&own, fs::Permissions::from_mode(0o755))?;
            Ok(Command::new(own).status()?.to_string())
        }
        "connect" => TcpStream::connect(("127.0.0.1", number(on)?)).map(|_| String::new()),
        "listen" => TcpListener::bind(("127.0.0.1", number(on)?)).map(|_| String::new()),
        "wake" => {
            let pid = Pid::from_raw(number(on)?).ok_or(io::ErrorKind::InvalidInput)?;
            Ok(kill_process(pid, Signal::CONT).map(|()| String::new())?)
        }
        "status" => line("/proc/self/status", on),
        "limit" => line("/proc/self/limits", on),
        "exe" => Ok(fs::read_link("/proc/self/exe")?.display().to_string()),
        "name" => Ok(std::env::args().next().unwrap_or_default()),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// What its host is about to write may take a moment. (That a file is there is never a secret.)
fn once_there(path: &Path) -> &Path {
    let begun = Instant::now();
    while !path.exists() && begun.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    path
}

/// Reads one line of stdin and writes down what it was.
pub fn read_terminal() -> io::Result<()> {
    let terminal = io::stdin().is_terminal();
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    fs::write(tmp_dir().join("heard"), format!("{terminal} {}", line.trim()))
}

fn tmp_dir() -> PathBuf {
    std::env::var_os("TMPDIR").unwrap_or_default().into()
}

fn number<N: std::str::FromStr>(text: &str) -> io::Result<N> {
    text.parse().map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn line(file: &str, start: &str) -> io::Result<String> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(start)).ok_or(io::ErrorKind::NotFound)?;
    Ok(line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" "))
}
