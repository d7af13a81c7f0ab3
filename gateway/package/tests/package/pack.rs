//! From a folder to a package.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use sagoo_edge_package::{Arch, Package};

use crate::site::{SECRET, Site, edit};

#[test]
fn a_program_is_packed_for_its_machine() {
    let site = Site::new();
    let dir = site.native("1.2.0");
    for hidden in [".git", "__pycache__"] {
        fs::create_dir(dir.join(hidden)).unwrap();
        fs::write(dir.join(hidden).join("x"), "").unwrap();
    }
    let packed = site.pack_with(&dir, Some(SECRET)).unwrap();
    let this = Arch::of_this_machine().unwrap();
    assert_eq!(packed.path, site.at(&format!("out/driver-tester-1.2.0-{this}.zip")));
    assert_eq!(packed.left_out, [".git", "__pycache__"]);
    assert_eq!(packed.signed.as_deref(), Some("AB788D8631BE520A"));
    assert_eq!(fs::metadata(&packed.path).unwrap().len(), packed.size);
    let files: Vec<(&str, bool)> =
        packed.manifest.files.iter().map(|file| (file.path.as_str(), file.executable)).collect();
    assert_eq!(files, [("driver-tester", true), ("info.json", false), ("schema.json", false)]);
    let package = Package::open(&packed.path, &site.store(&[]).trust()).unwrap();
    assert_eq!(package.signed().unwrap().name, "alice");
    let mut seen = 0;
    package.verify(&mut |bytes| seen = bytes).unwrap();
    assert_eq!(seen, packed.manifest.size());
}

#[test]
fn a_script_is_packed_for_any_machine_unless_a_library_is_with_it() {
    let site = Site::new();
    let dir = site.script("1.0.0");
    assert_eq!(site.pack_with(&dir, None).unwrap().manifest.arch, Arch::Any);
    fs::copy("/bin/true", dir.join("lib/fast.so")).unwrap();
    let packed = site.pack_with(&dir, None).unwrap();
    assert_eq!(packed.manifest.arch, Arch::of_this_machine().unwrap());
    let mut foreign = fs::read("/bin/true").unwrap();
    foreign[18] = 243; // RISC-V
    fs::write(dir.join("lib/foreign.so"), foreign).unwrap();
    let error = site.pack_with(&dir, None).unwrap_err().to_string();
    assert!(error.contains("has programs for riscv64 and") || error.contains("and riscv64"), "{error}");
}

#[test]
fn python_unzips_a_package_into_what_was_packed() {
    let site = Site::new();
    let dir = site.script("1.0.0");
    let packed = site.pack_with(&dir, Some(SECRET)).unwrap();
    let mut python = Command::new("python3");
    let done =
        python.args(["-m", "zipfile", "-e"]).arg(&packed.path).arg(site.at("unzipped")).status().unwrap();
    assert!(done.success());
    let files = [
        "info.json",
        "lib",
        "lib/more.py",
        "main.py",
        "manifest.json",
        "manifest.json.minisig",
        "schema.json",
    ];
    assert_eq!(site.everything("unzipped"), files);
}

type Damage<'a> = &'a dyn Fn(&Site, &Path);

/// What is wrong in the folder, and what is said.
#[test]
fn a_folder_that_makes_no_package_is_refused_with_the_place() {
    let broken = |what: Damage<'_>| {
        let site = Site::new();
        let dir = site.native("1.0.0");
        what(&site, &dir);
        let error = site.pack_with(&dir, Some(SECRET)).unwrap_err().to_string();
        assert_eq!(site.everything("out"), [] as [String; 0], "nothing half-packed stays: {error}");
        error
    };
    let cases: [(Damage<'_>, &str); 9] = [
        (
            &|_, dir| fs::remove_file(dir.join("info.json")).unwrap(),
            "info.json: is missing; `sagoo-edge driver new`",
        ),
        (&|_, dir| fs::remove_file(dir.join("schema.json")).unwrap(), "schema.json: is missing"),
        (
            &|_, dir| fs::write(dir.join("schema.json"), "[]").unwrap(),
            "schema.json: a JSON Schema is an object",
        ),
        (
            &|_, dir| edit(&dir.join("info.json"), "\"driver-tester\"", "7"),
            "info.json: command: expected a text",
        ),
        (
            &|_, dir| edit(&dir.join("info.json"), "driver-tester", "driver-x"),
            "command: \"driver-x\" is neither",
        ),
        (
            &|_, dir| fs::write(dir.join("driver-tester"), "#!/bin/sh\n").unwrap(),
            "a package for any machine needs",
        ),
        (&|_, dir| symlink("/etc/passwd", dir.join("x")).unwrap(), "x: a link, a device or the like"),
        (&|_, dir| fs::write(dir.join("manifest.json"), "").unwrap(), "manifest.json: is made by packing"),
        (&|_, dir| fs::write(dir.join("a:b"), "").unwrap(), "a:b: its path has a character"),
    ];
    for (what, message) in cases {
        let error = broken(what);
        assert!(error.contains(message), "{error}");
    }
}
