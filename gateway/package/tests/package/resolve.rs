//! Which driver runs, and why one does not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use sagoo_edge_package::ResolveError;

use crate::site::{PUBLIC, SECRET, STRANGER, Site, edit};

type Change<'a> = &'a dyn Fn(&Path);
type Damage<'a> = &'a dyn Fn(&Site, &Path);

#[test]
fn a_signed_driver_runs_with_its_own_program() {
    let site = Site::new();
    let path = site.installed("1.2.0");
    let installed = site.store(&[]).resolve("tester").unwrap();
    assert_eq!((installed.id.as_str(), installed.version.as_deref()), ("tester", Some("1.2.0")));
    assert_eq!(installed.program, path.join("driver-tester"));
    assert_eq!((installed.native, installed.dir.as_path()), (true, path.as_path()));
    assert_eq!(installed.signed.unwrap().to_string(), "alice (AB788D8631BE520A)");
    assert!(installed.doubts.is_empty() && installed.args.is_empty());
    let sum = std::process::Command::new("sha256sum").arg(&installed.program).output().unwrap();
    let hex: String = installed.checksum.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(String::from_utf8(sum.stdout).unwrap().starts_with(&hex));
}

#[test]
fn a_script_runs_with_the_systems_interpreter() {
    let site = Site::new();
    let packed = site.pack_with(&site.script("1.0.0"), Some(SECRET)).unwrap();
    let path = site.install(&packed.path).unwrap().path;
    let installed = site.store(&[]).resolve("tester").unwrap();
    assert_eq!(installed.program, Path::new("/usr/bin/python3"));
    let script = path.join("main.py");
    assert_eq!(installed.args, ["-B".as_ref(), script.as_os_str(), "--quiet".as_ref()]);
    assert!(!installed.native);
}

#[test]
fn a_script_without_its_interpreter_says_what_to_install() {
    let site = Site::new();
    let dir = site.script("1.0.0");
    let not_here = |name: &&str| {
        ["/usr/bin", "/usr/local/bin", "/bin"].iter().all(|dir| !Path::new(dir).join(name).exists())
    };
    let lacking = ["lua", "ruby", "node"].into_iter().find(not_here).expect("nobody has all of them");
    edit(&dir.join("info.json"), "python3", lacking);
    let packed = site.pack_with(&dir, Some(SECRET)).unwrap();
    let outcome = site.install(&packed.path).unwrap();
    assert!(
        outcome.warnings[0].starts_with(&format!("it will not run: it needs {lacking}, which")),
        "{outcome:?}"
    );
    let refused = site.store(&["tester"]).resolve("tester").unwrap_err();
    assert!(matches!(refused, ResolveError::Lacks { .. }), "{refused}");
    assert!(refused.to_string().ends_with("install it"), "{refused}");
}

/// What is done to an installed driver, and why it does not run then.
#[test]
fn a_changed_driver_does_not_run_unless_it_is_allowed() {
    let program = |dir: &Path| {
        let mut bytes = fs::read(dir.join("driver-tester")).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(dir.join("driver-tester"), bytes).unwrap();
    };
    let mode = |dir: &Path, mode| {
        fs::set_permissions(dir.join("driver-tester"), fs::Permissions::from_mode(mode)).unwrap();
    };
    let cases: [(Change<'_>, &str); 8] = [
        (&program, "driver-tester was changed after it was signed"),
        (&|dir| fs::write(dir.join("more.py"), "").unwrap(), "more.py does not belong to the package"),
        (
            &|dir| fs::create_dir(dir.join("d")).and_then(|()| fs::write(dir.join("d/x"), "")).unwrap(),
            "d/x does not belong",
        ),
        (&|dir| symlink("/etc", dir.join("etc")).unwrap(), "etc is not a plain file"),
        (&|dir| mode(dir, 0o644), "driver-tester was made executable or not"),
        (&|dir| mode(dir, 0o4755), "driver-tester runs as another user"),
        (
            &|dir| edit(&dir.join("manifest.json"), "\"files\": [", "\"files\":  ["),
            "manifest.json was changed",
        ),
        (&|dir| edit(&dir.join("schema.json"), "object", "array"), "schema.json was changed"),
    ];
    for (change, message) in cases {
        let site = Site::new();
        let dir = site.installed("1.0.0");
        let before = site.store(&[]).resolve("tester").unwrap();
        change(&dir);
        let refused = site.store(&["other"]).resolve("tester").unwrap_err();
        assert!(matches!(refused, ResolveError::Changed { .. }), "{refused}");
        assert!(refused.to_string().contains(message), "{refused}");
        let allowed = site.store(&["tester"]).resolve("tester").unwrap();
        assert_eq!(allowed.signed, None);
        assert!(!allowed.doubts.is_empty());
        assert_ne!(allowed.fingerprint, before.fingerprint, "{message}");
    }
}

#[test]
fn a_driver_nobody_vouches_for_does_not_run_unless_it_is_allowed() {
    let site = Site::new();
    let unsigned = site.pack_with(&site.native("1.0.0"), None).unwrap().path;
    let store = site.store(&["tester"]);
    let package = sagoo_edge_package::Package::open(&unsigned, &store.trust()).unwrap();
    store.install(&package, Default::default(), &mut |_| {}).unwrap();
    let refused = site.store(&[]).resolve("tester").unwrap_err();
    assert!(matches!(refused, ResolveError::Unsigned { .. }), "{refused}");
    for part in ["not signed", "drivers.allow_unsigned", "keys"] {
        assert!(refused.to_string().contains(part), "{refused}");
    }
    let allowed = store.resolve("tester").unwrap();
    assert_eq!((allowed.signed, allowed.doubts[0].to_string().as_str()), (None, "not signed"));
}

#[test]
fn a_key_that_is_no_longer_trusted_takes_its_drivers_with_it() {
    let site = Site::new();
    site.installed("1.0.0");
    fs::rename(site.at("keys/alice.pub"), site.at("alice.pub")).unwrap();
    let refused = site.store(&[]).resolve("tester").unwrap_err().to_string();
    assert!(refused.contains("signed by key AB788D8631BE520A, which is not trusted"), "{refused}");
    fs::write(site.at("keys/again.pub"), PUBLIC).unwrap();
    assert_eq!(site.store(&[]).resolve("tester").unwrap().signed.unwrap().name, "again");
}

#[test]
fn a_folder_others_may_write_to_is_not_trusted() {
    let site = Site::new();
    let dir = site.installed("1.0.0");
    for (place, what) in [
        (site.at("drivers"), "drivers can be written by everyone"),
        (dir.clone(), "1.0.0 can be written by everyone"),
        (dir.join("info.json"), "info.json can be written by everyone"),
        (site.at("drivers/tester/current"), "current can be written by everyone"),
    ] {
        let mode = fs::metadata(&place).unwrap().permissions();
        fs::set_permissions(&place, fs::Permissions::from_mode(mode.mode() | 0o002)).unwrap();
        let refused = site.store(&[]).resolve("tester").unwrap_err();
        assert!(matches!(refused, ResolveError::Unsafe { .. }), "{refused}");
        assert!(refused.to_string().contains(what), "{refused}");
        assert_eq!(site.store(&["tester"]).resolve("tester").unwrap().signed, None);
        fs::set_permissions(&place, mode).unwrap();
        assert!(site.store(&[]).resolve("tester").is_ok());
    }
}

#[test]
fn a_program_alone_runs_only_when_it_is_allowed() {
    let site = Site::new();
    let program = site.at("drivers/driver-tester");
    fs::copy("/bin/true", &program).unwrap();
    let refused = site.store(&[]).resolve("tester").unwrap_err();
    assert!(matches!(refused, ResolveError::Unsigned { .. }), "{refused}");
    let installed = site.store(&["tester"]).resolve("tester").unwrap();
    assert_eq!(
        (installed.version, installed.program.clone(), installed.native),
        (None, program.clone(), true)
    );
    assert_eq!(installed.dir, site.at("drivers"));
    fs::write(&program, "#!/bin/sh\nexit 0\n").unwrap();
    let script = site.store(&["tester"]).resolve("tester").unwrap();
    assert!(!script.native);
    assert_ne!(script.fingerprint, installed.fingerprint);
    fs::remove_file(&program).unwrap();
    symlink("/bin/true", &program).unwrap();
    assert_eq!(site.store(&["tester"]).resolve("tester").unwrap().checksum, installed.checksum);
}

#[test]
fn a_missing_driver_names_the_directories_and_what_was_perhaps_meant() {
    let site = Site::new();
    let missing = site.store(&[]).resolve("tester").unwrap_err().to_string();
    for part in ["no program driver-tester", "drivers, ", "system; install it there"] {
        assert!(missing.contains(part), "{missing}");
    }
    site.installed("1.0.0");
    let typo = site.store(&[]).resolve("testre").unwrap_err().to_string();
    assert!(typo.contains("did you mean \"tester\"?"), "{typo}");
    fs::remove_file(site.at("drivers/tester/current")).unwrap();
    let gone = site.store(&[]).resolve("tester").unwrap_err().to_string();
    assert!(!gone.contains("did you mean"), "{gone}");
    for id in ["../system/tester", "", "tester/1.0.0", "TESTER"] {
        assert!(matches!(site.store(&[]).resolve(id), Err(ResolveError::Missing { .. })), "{id}");
    }
}

#[test]
fn the_first_directory_that_has_the_driver_holds() {
    let site = Site::new();
    let new = site.package("2.0.0");
    let system = sagoo_edge_package::store::Install { dir: Some(&site.at("system")), ..Default::default() };
    assert_eq!(site.install_how(&new, system).unwrap().warnings, [] as [String; 0]);
    assert_eq!(site.running(), "2.0.0");
    let old = site.package("1.0.0");
    let down = sagoo_edge_package::store::Install { allow_downgrade: true, ..Default::default() };
    site.install_how(&old, down).unwrap();
    assert_eq!(site.running(), "1.0.0", "what the operator installed goes before what the system brought");
    let outcome = site.install_how(&new, system).unwrap();
    assert!(outcome.warnings[0].contains("drivers goes before it"), "{:?}", outcome.warnings);
}

#[test]
fn what_makes_no_sense_is_broken_and_says_where() {
    let cases: [(Damage<'_>, &str); 5] = [
        (
            &|site, _| fs::write(site.at("drivers/tester/current"), "new\n").unwrap(),
            "current: it names no version",
        ),
        (&|site, _| fs::write(site.at("drivers/tester/current"), "7.0.0\n").unwrap(), "7.0.0: manifest.json"),
        (&|_, dir| fs::remove_file(dir.join("manifest.json")).unwrap(), "1.0.0: manifest.json"),
        (&|_, dir| fs::write(dir.join("info.json"), "{").unwrap(), "1.0.0: info.json: EOF"),
        (&|_, dir| fs::rename(dir, dir.with_file_name("9.0.0")).unwrap(), "1.0.0: manifest.json"),
    ];
    for (damage, message) in cases {
        let site = Site::new();
        let dir = site.installed("1.0.0");
        damage(&site, &dir);
        for allowed in [&[][..], &["tester"]] {
            let broken = site.store(allowed).resolve("tester").unwrap_err();
            assert!(matches!(broken, ResolveError::Broken { .. }), "{broken}");
            assert!(broken.to_string().contains(message), "{broken}");
            assert!(broken.to_string().contains("remove it and install it again"), "{broken}");
        }
    }
}

#[test]
fn a_strangers_key_beside_the_right_one_changes_nothing() {
    let site = Site::new();
    let package = site.pack_with(&site.native("1.0.0"), Some(STRANGER)).unwrap().path;
    let refused = site.install(&package).unwrap_err().to_string();
    assert!(refused.contains("signed by key 164F39072DCA6290, which is not trusted"), "{refused}");
    assert_eq!(site.everything("drivers"), [] as [String; 0]);
}
