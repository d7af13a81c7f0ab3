//! The `minisign` tool, which nobody here wrote, on the other side of every signature.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use sagoo_edge_package::Trust;
use sagoo_edge_package::pack::{KeyError, SecretKey};

use crate::site::{PUBLIC, SECRET, STRANGER, Site};

/// Runs the tool; what it said when it said no. `typed` is its standard input.
fn minisign(dir: &Path, args: &[&str], typed: &str) -> Result<(), String> {
    let mut command = Command::new("minisign");
    command.args(args).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("minisign is installed (Debian's package minisign)");
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&said).into_owned())
}

fn unzip(site: &Site, package: &Path) {
    let done = Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(package)
        .arg(site.at("unzipped"))
        .status()
        .unwrap();
    assert!(done.success());
}

#[test]
fn minisign_verifies_what_is_packed_here() {
    let site = Site::new();
    let package = site.package("1.0.0");
    unzip(&site, &package);
    let unzipped = site.at("unzipped");
    fs::write(unzipped.join("alice.pub"), PUBLIC).unwrap();
    minisign(&unzipped, &["-V", "-H", "-p", "alice.pub", "-m", "manifest.json"], "").unwrap();
    let public = PUBLIC.lines().nth(1).unwrap();
    minisign(&unzipped, &["-V", "-P", public, "-m", "manifest.json"], "").unwrap();
    fs::write(unzipped.join("manifest.json"), "{}").unwrap();
    let no = minisign(&unzipped, &["-V", "-p", "alice.pub", "-m", "manifest.json"], "").unwrap_err();
    assert!(no.contains("verification failed"), "{no}");
}

#[test]
fn signatures_of_minisign_are_verified_here_the_older_kind_too() {
    let site = Site::new();
    fs::write(site.at("alice.key"), SECRET).unwrap();
    fs::write(site.at("stranger.key"), STRANGER).unwrap();
    fs::write(site.at("message"), "a message").unwrap();
    let trust = Trust::read(&site.at("keys"));
    for kind in [&[][..], &["-l"], &["-t", "a comment of some length"], &["-c", "not trusted"]] {
        let args = [&["-S", "-W", "-s", "alice.key", "-m", "message", "-x", "sig"], kind].concat();
        minisign(site.dir.path(), &args, "").unwrap();
        let signature = fs::read(site.at("sig")).unwrap();
        let key = trust.verify(b"a message", Some(&signature)).unwrap();
        assert_eq!(key.to_string(), "alice (AB788D8631BE520A)");
        assert!(trust.verify(b"another message", Some(&signature)).is_err());
    }
    minisign(site.dir.path(), &["-S", "-W", "-s", "stranger.key", "-m", "message", "-x", "sig"], "").unwrap();
    let unknown = trust.verify(b"a message", Some(&fs::read(site.at("sig")).unwrap())).unwrap_err();
    assert_eq!(unknown.to_string(), "signed by key 164F39072DCA6290, which is not trusted");
}

#[test]
fn keys_that_minisign_makes_are_read_here() {
    let site = Site::new();
    minisign(site.dir.path(), &["-G", "-W", "-p", "keys/new.pub", "-s", "new.key"], "").unwrap();
    let text = fs::read_to_string(site.at("new.key")).unwrap();
    assert!(SecretKey::parse(&text, None).is_ok());
    let trust = Trust::read(&site.at("keys"));
    assert_eq!(trust.warnings(), [] as [String; 0]);
    assert_eq!(trust.keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["alice", "new"]);
}

/// Takes 1 GiB of memory for a moment, because minisign does.
#[test]
fn a_key_that_minisign_protected_by_a_password_is_opened_by_it_alone() {
    let site = Site::new();
    let args = ["-G", "-p", "keys/safe.pub", "-s", "safe.key"];
    minisign(site.dir.path(), &args, "correct horse\ncorrect horse\n").unwrap();
    let text = fs::read_to_string(site.at("safe.key")).unwrap();
    assert_eq!(SecretKey::parse(&text, None).err(), Some(KeyError::NeedsPassword));
    assert_eq!(SecretKey::parse(&text, Some(b"correct hors")).err(), Some(KeyError::WrongPassword));
    let dir = site.native("1.0.0");
    let key = SecretKey::parse(&text, Some(b"correct horse")).ok().unwrap();
    let how = sagoo_edge_package::pack::Pack { dir: &dir, out: &site.at("out"), key: Some(&key) };
    let packed = sagoo_edge_package::pack::pack(how, &mut |_, _| {}).unwrap();
    let outcome = site.install(&packed.path).unwrap();
    assert_eq!(outcome.signed.unwrap().name, "safe");
}
