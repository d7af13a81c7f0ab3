//! The password of a secret key: from a file, from the environment, or typed unseen.
//!
//! Always true: a password is never an argument, where everybody could see it, and never shown.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use sagoo_edge_package::pack::{KeyError, SecretKey};

/// Holds the password where nobody can type it.
const VARIABLE: &str = "SAGOO_EDGE_KEY_PASSWORD";
const TERMINAL: &str = "/dev/tty";
/// Longest file that is taken for a key or a password.
const MAX_FILE: u64 = 64 << 10;

/// Reads a key file, and asks for its password if it has one and none was given.
pub(super) fn open(path: &Path, password_file: Option<&Path>) -> Result<SecretKey, String> {
    let shown = path.display();
    let text = read(path).map_err(|error| format!("{shown}: {error}; make a key with: minisign -G"))?;
    let given = given(password_file)?;
    let opened = match (SecretKey::parse(&text, given.as_deref().map(str::as_bytes)), given) {
        (Err(KeyError::NeedsPassword), None) => {
            let typed = typed(&format!("Password of {shown}: ")).map_err(|error| {
                format!("{shown}: needs its password ({error}); give it with {VARIABLE} or --password-file")
            })?;
            SecretKey::parse(&text, Some(typed.as_bytes()))
        }
        (opened, _) => opened,
    };
    opened.map_err(|error| format!("{shown}: {error}"))
}

fn given(password_file: Option<&Path>) -> Result<Option<String>, String> {
    let Some(path) = password_file else {
        return match env::var(VARIABLE) {
            Ok(password) => Ok(Some(password)),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => Err(format!("{VARIABLE} is no text")),
        };
    };
    let text = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(File::open(path)?, MAX_FILE), &mut text)?;
    Ok(text)
}

/// A line from the terminal, without its echo.
fn typed(prompt: &str) -> io::Result<String> {
    let mut terminal = File::options().read(true).write(true).open(TERMINAL)?;
    let before = tcgetattr(&terminal)?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    quiet.local_modes.insert(LocalModes::ECHONL);
    terminal.write_all(prompt.as_bytes())?;
    tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
    let mut line = String::new();
    let read = BufReader::new(&terminal).read_line(&mut line);
    tcsetattr(&terminal, OptionalActions::Flush, &before)?;
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
