//! How a driver is started: by a program of its own, or by an interpreter of the list.
//!
//! Always true: what is started is a file of the package or an interpreter of the list, which is
//! looked for in the system's folders only, never along `PATH`; what an interpreter is given first is
//! a file of the package.

use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::info::{INFO, Info};
use crate::manifest::Manifest;
use crate::owner::Eyes;

/// Interpreters a package may name, and what each is given before the script. No shell is among them:
/// a driver is a program and not a line of commands.
const INTERPRETERS: [(&str, &[&str]); 5] = [
    ("python3", &["-B"]), // leaves no compiled files in the package's folder
    ("node", &[]),
    ("ruby", &[]),
    ("perl", &[]),
    ("lua", &[]),
];
/// Where the system keeps them.
const INTERPRETER_DIRS: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];

/// How a driver is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start<'i> {
    /// By its own program, a path in the package.
    Native(&'i str),
    /// By an interpreter and a script, a path in the package.
    Interpreted { interpreter: &'static str, script: &'i str },
}

impl<'i> Start<'i> {
    /// What `info` says, held against the files and the machine of the package.
    pub(crate) fn of(info: &'i Info, manifest: &Manifest) -> Result<Self, String> {
        let known = INTERPRETERS.iter().find(|(name, _)| *name == info.command);
        match known {
            Some((interpreter, _)) => {
                let script = info.args.first().map(String::as_str).unwrap_or_default();
                match manifest.file(script) {
                    Some(_) => Ok(Self::Interpreted { interpreter, script }),
                    None => {
                        Err(format!("args[0]: {script:?} is no file of the package for {interpreter} to run"))
                    }
                }
            }
            None if manifest.arch == Arch::Any => Err(format!(
                "command: a package for any machine needs one of {}, found {:?}",
                Self::interpreters(),
                info.command
            )),
            None => match manifest.file(&info.command) {
                Some(file) if file.executable && file.path != INFO => Ok(Self::Native(&info.command)),
                Some(_) => Err(format!("command: {:?} is not executable", info.command)),
                None => Err(format!(
                    "command: {:?} is neither a file of the package nor one of {}",
                    info.command,
                    Self::interpreters()
                )),
            },
        }
    }

    /// Their names.
    pub(crate) fn interpreters() -> String {
        INTERPRETERS.map(|(name, _)| name).join(", ")
    }

    /// Where the interpreter is on this machine.
    pub(crate) fn interpreter(name: &str) -> Result<PathBuf, String> {
        let found = INTERPRETER_DIRS.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file());
        let path = found.ok_or_else(|| {
            format!("it needs {name}, which is not in {}; install it", INTERPRETER_DIRS.join(", "))
        })?;
        Eyes::own().doubt(&path).map_or(Ok(path), |doubt| Err(format!("it needs {name}: {doubt}")))
    }

    /// What the interpreter is given before the script.
    pub(crate) fn before_script(name: &str) -> &'static [&'static str] {
        INTERPRETERS.iter().find(|known| known.0 == name).map_or(&[], |known| known.1)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::digest;
    use crate::manifest::ListedFile;
    use crate::name::Version;

    fn manifest(arch: Arch) -> Manifest {
        let file = |path: &str, executable| ListedFile {
            path: path.to_owned(),
            size: 0,
            sha256: digest::of(b""),
            executable,
        };
        let files = vec![file("driver-x", true), file("main.py", false), file(INFO, false)];
        Manifest { id: "x".into(), version: Version::parse("1.0.0").unwrap(), arch, files }
    }

    fn info(command: &str, args: &[&str]) -> Info {
        let json = json!({
            "types": "driver", "handleType": "x", "name": "x", "title": "X", "version": "1.0.0",
            "command": command, "args": args,
        });
        Info::parse(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_driver_is_a_program_of_its_own_or_a_script_for_a_known_interpreter() {
        for (arch, command, args, start) in [
            (Arch::X86_64, "driver-x", &["-v"][..], Start::Native("driver-x")),
            (
                Arch::Any,
                "python3",
                &["main.py", "-v"],
                Start::Interpreted { interpreter: "python3", script: "main.py" },
            ),
            (
                Arch::Armv7,
                "node",
                &["main.py"],
                Start::Interpreted { interpreter: "node", script: "main.py" },
            ),
        ] {
            assert_eq!(Start::of(&info(command, args), &manifest(arch)), Ok(start));
        }
        for (arch, command, args, message) in [
            (Arch::Any, "driver-x", &[][..], "a package for any machine needs one of python3"),
            (Arch::X86_64, "main.py", &[], "\"main.py\" is not executable"),
            (Arch::X86_64, "/bin/sh", &["-c", "reboot"], "\"/bin/sh\" is neither"),
            (Arch::X86_64, "sh", &[], "\"sh\" is neither"),
            (Arch::Any, "python3", &["-c", "print()"], "args[0]: \"-c\" is no file"),
            (Arch::Any, "python3", &["/etc/x.py"], "args[0]: \"/etc/x.py\" is no file"),
            (Arch::Any, "python3", &[], "args[0]: \"\" is no file"),
        ] {
            let error = Start::of(&info(command, args), &manifest(arch)).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn an_interpreter_is_found_in_the_systems_folders_or_named() {
        assert!(Start::interpreter("no-such-interpreter").unwrap_err().contains("/usr/bin"));
        assert!(Start::interpreter("perl").is_ok(), "every Debian has perl");
    }
}
