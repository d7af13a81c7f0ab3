//! The file that is run.
//!
//! A program without a checksum is run by its path. A verified one is run from the descriptor it was
//! verified through: the path the kernel gets is a link of our own, in the new plugin's private
//! directory, that leads to that descriptor. So `ps` shows the program's name all the same, and the
//! plugin finds its real path in `/proc/self/exe`. Where that directory is another user's, who could
//! put another link in its place, the kernel gets the descriptor itself.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::checksum::{self, ChecksumError};
use crate::{Launch, StartFailure};

/// What to run.
pub(crate) struct Program {
    path: PathBuf,
    verified: Option<File>,
    /// Whether the plugin's directory stays ours.
    private: bool,
}

impl Program {
    /// Opens and verifies the program of a launch that has a checksum.
    pub(crate) async fn open(launch: &Launch) -> Result<Self, StartFailure> {
        let path = launch.program.clone();
        let private = launch.confinement.as_ref().is_none_or(|confinement| confinement.user.is_none());
        let Some(checksum) = launch.checksum else { return Ok(Self { path, verified: None, private }) };
        // megabytes are read and hashed: off the runtime's threads
        let verifying = tokio::task::spawn_blocking(move || {
            let verified = checksum::verify(&path, checksum);
            (path, verified)
        });
        let (path, verified) =
            verifying.await.map_err(|error| StartFailure::Spawn(io::Error::other(error)))?;
        match verified {
            Ok(file) => Ok(Self { path, verified: Some(file), private }),
            Err(ChecksumError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(StartFailure::Missing)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The command that runs it, and nothing else. `dir` is the new plugin's own.
    pub(crate) fn command(&self, dir: &Path) -> Result<Command, StartFailure> {
        let Some(file) = &self.verified else { return Ok(Command::new(&self.path)) };
        let mut run = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        if self.private {
            let link = self.link(dir);
            symlink(run, &link).map_err(|source| StartFailure::SocketDir { path: link.clone(), source })?;
            run = link;
        }
        let mut command = Command::new(run);
        command.arg0(&self.path);
        Ok(command)
    }

    /// For the rules of a confinement.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file it will be run from, if it was opened.
    pub(crate) fn opened(&self) -> Option<&File> {
        self.verified.as_ref()
    }

    /// It runs, or does not.
    pub(crate) fn started(&self, dir: &Path) {
        if self.verified.is_some() && self.private {
            // fails if the whole directory is gone already
            let _ = fs::remove_file(self.link(dir));
        }
    }

    fn link(&self, dir: &Path) -> PathBuf {
        dir.join(self.path.file_name().unwrap_or("program".as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};

    use super::*;
    use crate::Checksum;

    #[tokio::test]
    async fn what_lies_at_the_path_after_the_check_is_not_what_runs() {
        let dir = tempfile::tempdir().unwrap();
        let (program, other) = (dir.path().join("driver"), dir.path().join("other"));
        // copied by another process: a file this one has just written may still be open in a child
        for (from, to) in [("/bin/echo", &program), ("/bin/false", &other)] {
            assert!(std::process::Command::new("cp").arg(from).arg(to).status().unwrap().success());
        }
        let bytes = fs::read(&program).unwrap();
        let checksum = Checksum::Sha256(digest(&SHA256, &bytes).as_ref().try_into().unwrap());
        let launch = Launch { checksum: Some(checksum), ..Launch::new("d", &program) };
        let verified = Program::open(&launch).await.unwrap();
        fs::rename(&other, &program).unwrap();
        let own = dir.path().join("own");
        fs::create_dir(&own).unwrap();
        let said = verified.command(&own).unwrap().arg("the first one").output().await.unwrap();
        assert_eq!(said.stdout, b"the first one\n");
        verified.started(&own);
        assert_eq!(fs::read_dir(own).unwrap().count(), 0);
        let now = Program::open(&launch).await;
        assert!(matches!(now, Err(StartFailure::Checksum(ChecksumError::Mismatch { .. }))));
    }
}
