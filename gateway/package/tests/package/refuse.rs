//! Packages that are refused, each with its cause and a remedy, and nothing half-installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use sagoo_edge_package::{Package, Refused};

use crate::site::{SECRET, Site};

/// Makes the package anew with Python: the files of a good one in `files`, changed by `program`.
fn remake(site: &Site, package: &Path, program: &str) -> PathBuf {
    let made = format!(
        "import sys, zipfile, json, hashlib, warnings\n\
         warnings.simplefilter('ignore')\n\
         z = zipfile.ZipFile(sys.argv[1])\n\
         files = {{i.filename: (i.external_attr, z.read(i)) for i in z.infolist()}}\n\
         z.close()\n\
         def text(n, a, b): files[n] = (files[n][0], files[n][1].replace(a, b))\n\
         {program}\n\
         z = zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED)\n\
         for name, (attr, content) in files.items():\n    \
         i = zipfile.ZipInfo(name); i.create_system = 3; i.external_attr = attr; i.compress_type = 8\n    \
         z.writestr(i, content)\n\
         z.close()\n"
    );
    let done = Command::new("python3").arg("-c").arg(made).arg(package).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let _ = site;
    package.to_owned()
}

/// What is done to a good package, and the refusal.
#[test]
fn a_package_that_was_tampered_with_is_refused_and_leaves_nothing() {
    let cases = [
        // content
        ("text('driver-tester', b'1.0.0', b'1.0.1')", "driver-tester is not what its manifest says"),
        ("text('info.json', b'Tester', b'Tested')", "info.json is not what its manifest says"),
        ("text('schema.json', b'object', b'string')", "schema.json is not what its manifest says"),
        // what is there
        ("files['more.py'] = (0o100644 << 16, b'')", "more.py is in the archive and not in the manifest"),
        ("del files['schema.json']", "schema.json is in the manifest and not in the archive"),
        ("del files['manifest.json']", "manifest.json: is not in the archive, so it is no driver package"),
        // who signed
        (
            "text('manifest.json', b'\"size\"', b' \"size\"')",
            "its signature by alice (AB788D8631BE520A) is wrong",
        ),
        (
            "del files['manifest.json.minisig']",
            "not signed; sign it with `sagoo-edge driver pack --key`, or name \"tester\" in drivers.allow_unsigned",
        ),
        ("text('manifest.json.minisig', b'timestamp', b'Timestamp')", "its signature by alice"),
        ("files['manifest.json.minisig'] = (0, b'x' * 9000)", "has 9000 bytes, more than 8192"),
        ("files['manifest.json.minisig'] = (0, b'\\xff')", "its signature cannot be read: it is no text"),
        // tricks of archives
        ("files['../x'] = (0, b'')", "the path \"../x\" leaves its folder"),
        ("files['etc'] = (0o120777 << 16, b'/etc')", "etc is a link, a device"),
        ("files['INFO.json'] = (0, b'')", "is there twice"),
        ("files['zeros'] = (0, b'0' * 30_000_000)", "zeros unpacks to 30000000 bytes"),
        (
            "import os; files['manifest.json'] = (0, os.urandom(1_100_000))",
            "has 1100000 bytes, more than 1048576",
        ),
    ];
    let site = Site::new();
    let good = fs::read(site.package("1.0.0")).unwrap();
    let path = fs::read_dir(site.at("out")).unwrap().next().unwrap().unwrap().path();
    for (change, message) in cases {
        fs::write(&path, &good).unwrap();
        remake(&site, &path, change);
        let refused = site.install(&path).unwrap_err().to_string();
        assert!(refused.contains(message), "{change}: {refused}");
        assert!(refused.contains("; "), "{refused}: there is a remedy");
        let left = site.everything("drivers");
        assert!(left.iter().all(|path| path == ".lock"), "{change}: {left:?}");
    }
    fs::write(&path, &good).unwrap();
    site.install(&path).unwrap();
}

/// A package whose manifest somebody signed who should not have.
#[test]
fn a_signed_package_that_is_wrong_all_the_same_is_refused() {
    let foreign = |dir: &Path| {
        let mut program = fs::read(dir.join("driver-tester")).unwrap();
        program[18..20].copy_from_slice(&258_u16.to_le_bytes()); // LoongArch
        fs::write(dir.join("driver-tester"), program).unwrap();
    };
    let site = Site::new();
    let dir = site.native("1.0.0");
    foreign(&dir);
    let package = site.pack_with(&dir, Some(SECRET)).unwrap().path;
    assert!(package.to_str().unwrap().ends_with("-loongarch64.zip"));
    let refused = site.install(&package).unwrap_err().to_string();
    let this = sagoo_edge_package::Arch::of_this_machine().unwrap();
    assert!(refused.contains("it is for loongarch64; take the package for"), "{refused}");
    assert!(refused.ends_with(&this.to_string()), "{refused}");

    let renamed = package.with_file_name("driver-tester-2.0.0-any.zip");
    fs::rename(&package, &renamed).unwrap();
    let refused = site.install(&renamed).unwrap_err().to_string();
    assert!(refused.contains("it is driver-tester-1.0.0-loongarch64.zip, rename it"), "{refused}");
}

/// The program is for another machine than the manifest says; the manifest is signed.
#[test]
fn the_header_of_the_program_is_looked_at() {
    let site = Site::new();
    let package = site.package("1.0.0");
    let key = site.at("alice.key");
    fs::write(&key, SECRET).unwrap();
    let program = format!(
        "import subprocess, os\n\
         elf = bytearray(files['driver-tester'][1]); elf[18] = 243; elf = bytes(elf)\n\
         files['driver-tester'] = (files['driver-tester'][0], elf)\n\
         m = json.loads(files['manifest.json'][1])\n\
         m['files'][0]['sha256'] = hashlib.sha256(elf).hexdigest()\n\
         os.chdir({:?})\n\
         open('m', 'w').write(json.dumps(m))\n\
         subprocess.run(['minisign', '-S', '-W', '-s', 'alice.key', '-m', 'm'], check=True, stdout=subprocess.DEVNULL)\n\
         files['manifest.json'] = (0, open('m', 'rb').read())\n\
         files['manifest.json.minisig'] = (0, open('m.minisig', 'rb').read())",
        site.dir.path()
    );
    let package = remake(&site, &package, &program);
    let refused = site.install(&package).unwrap_err().to_string();
    let this = sagoo_edge_package::Arch::of_this_machine().unwrap();
    assert!(
        refused.contains(&format!("driver-tester: is a program for riscv64, and the package says {this}")),
        "{refused}"
    );
}

#[test]
fn what_is_no_archive_is_refused() {
    let site = Site::new();
    let path = site.at("out/driver-tester-1.0.0-any.zip");
    for content in [&b""[..], b"PK\x05\x06", b"#!/bin/sh\n", &[0; 4096]] {
        fs::write(&path, content).unwrap();
        let refused = site.install(&path).unwrap_err().to_string();
        assert!(refused.contains("damaged archive") && refused.contains("download it again"), "{refused}");
    }
    fs::remove_file(&path).unwrap();
    assert!(site.install(&path).unwrap_err().to_string().contains("No such file"));
    fs::create_dir(&path).unwrap();
    assert!(site.install(&path).unwrap_err().to_string().contains("not a plain file"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever bytes change: the very same driver, or a refusal.
    #[test]
    fn a_damaged_package_is_the_same_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
    ) {
        thread_local! {
            static GOOD: (Site, PathBuf, Vec<u8>) = {
                let site = Site::new();
                let packed = site.pack_with(&site.script("1.0.0"), Some(SECRET)).unwrap();
                let bytes = fs::read(&packed.path).unwrap();
                (site, packed.path, bytes)
            };
        }
        GOOD.with(|(site, path, good)| {
            let mut bytes = good.clone();
            for (at, with) in &changes {
                bytes[at.index(good.len())] = *with;
            }
            fs::write(path, &bytes).unwrap();
            let trust = site.store(&[]).trust();
            let opened = Package::open(path, &trust);
            if let Ok(package) = opened.and_then(|package| {
                package.require_signature(&trust, false)?;
                package.verify(&mut |_| {})?;
                Ok::<_, Refused>(package)
            }) {
                prop_assert_eq!(&package.info().title, "Tester");
                prop_assert_eq!(package.manifest().files.len(), 4);
            }
            Ok(())
        })?;
    }
}
