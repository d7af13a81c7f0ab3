//! Where the programs are, and how the Go pair is built.
//!
//! Always true: the bench's own drivers lie beside it; nothing is measured with a program that was not
//! asked for; what is missing is named with the line that makes it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The bench's own drivers.
    own: PathBuf,
    /// The gateway's and the drivers' programs.
    programs: PathBuf,
    /// The build directory.
    pub build: PathBuf,
    /// Results, and what is built.
    pub out: PathBuf,
}

/// The Go host and the Go plugin.
#[derive(Debug, Clone)]
pub struct GoPair {
    /// The host.
    pub host: PathBuf,
    /// The plugin.
    pub plugin: PathBuf,
}

impl Places {
    /// As told, else beside this program and in the build directory's `bench`.
    pub fn new(programs: Option<PathBuf>, out: Option<PathBuf>) -> Result<Self> {
        let bench = std::env::current_exe().context("asking where this program is")?;
        let own = bench.parent().context("a program lies in a folder")?.to_owned();
        let build = own.parent().context("target/release is in target")?.to_owned();
        let out = out.unwrap_or_else(|| build.join("bench"));
        std::fs::create_dir_all(&out).with_context(|| format!("making the folder {}", out.display()))?;
        let out = out.canonicalize().with_context(|| format!("looking at {}", out.display()))?;
        Ok(Self { programs: programs.unwrap_or_else(|| own.clone()), own, build, out })
    }

    /// One of the bench's own drivers.
    pub fn own(&self, name: &str) -> Result<PathBuf> {
        found(&self.own, name, "bench")
    }

    /// `sagoo-edge` or a driver; its package is called as it is.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        found(&self.programs, name, name)
    }

    /// Builds the Go pair, or takes it as it is when nothing changed.
    pub fn go_pair(&self) -> Result<GoPair> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("go");
        let built = self.out.join("go");
        std::fs::create_dir_all(&built).with_context(|| format!("making the folder {}", built.display()))?;
        let mut go = Command::new("go");
        go.arg("build").arg("-o").arg(&built).args(["./host", "./plugin"]).current_dir(&sources);
        let output = match go.output() {
            Ok(output) => output,
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(
                "go is not installed, and the comparison with HashiCorp's go-plugin is built with it: \
                 run deploy/check.sh install once, or put a Go of the version in {} into PATH",
                sources.join("go.mod").display()
            ),
            Err(error) => return Err(error).context("running go"),
        };
        ensure!(
            output.status.success(),
            "go build in {} ended with {}:\n{}",
            sources.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(GoPair { host: built.join("host"), plugin: built.join("plugin") })
    }
}

fn found(folder: &Path, name: &str, package: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    let release = if cfg!(debug_assertions) { "" } else { " --release" };
    ensure!(path.is_file(), "{} is missing; type: cargo build{release} -p {package}", path.display());
    Ok(path)
}
