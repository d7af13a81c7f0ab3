//! What the tests share: a workshop where drivers are packed, and a place where they are installed.
//!
//! Always true: the keys here sign nothing but tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sagoo_edge_package::pack::{Pack, PackError, Packed, SecretKey, pack};
use sagoo_edge_package::store::{Install, InstallError, Outcome};
use sagoo_edge_package::{Package, Store};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// A key as `minisign -G -W` wrote it, and its public half.
pub const SECRET: &str = "untrusted comment: minisign encrypted secret key\n\
    RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAClK+MYaNeKsVrmj6yNUXMxIvjhcwTLBhHO+Gk4Z6JJ9O+hWtPfzLdAGYxutLHnLHDtjHcH/xpPvOMmcC9KgJbVTAYv2ycapuAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
pub const PUBLIC: &str = "untrusted comment: minisign public key AB788D8631BE520A\n\
    RWQKUr4xho14qwGYxutLHnLHDtjHcH/xpPvOMmcC9KgJbVTAYv2ycapu\n";
/// Another one, which nobody trusts.
pub const STRANGER: &str = "untrusted comment: minisign encrypted secret key\n\
    RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAkGLKLQc5TxYm/axVLMK0QedfAY7TEDa8W+YZRV5RWdFxH3DaPA1Jxy3L8Y7/++zmF4fV5VRM/Sg96FxHGw5LZDTy4TohqdGaAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

/// Folders of one test.
pub struct Site {
    pub dir: TempDir,
}

impl Site {
    pub fn new() -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap() };
        // whatever the umask: trusted folders
        for name in ["keys", "drivers", "system", "out"] {
            fs::create_dir(site.at(name)).unwrap();
            fs::set_permissions(site.at(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(site.at("keys/alice.pub"), PUBLIC).unwrap();
        fs::set_permissions(site.at("keys/alice.pub"), fs::Permissions::from_mode(0o644)).unwrap();
        site
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// The operator's directory, and then the system's.
    pub fn store(&self, allow_unsigned: &[&str]) -> Store {
        let allowed = allow_unsigned.iter().map(|id| (*id).to_owned()).collect();
        Store::new(vec![self.at("drivers"), self.at("system")], self.at("keys"), allowed)
    }

    /// A folder with a driver that is a program.
    pub fn native(&self, version: &str) -> PathBuf {
        let dir = self.at(&format!("work-{version}"));
        fs::create_dir(&dir).unwrap();
        let program = fs::read("/bin/true").unwrap();
        fs::write(dir.join("driver-tester"), [program, version.as_bytes().to_vec()].concat()).unwrap();
        describe(&dir, version, "driver-tester", &[]);
        dir
    }

    /// A folder with a driver that is a script.
    pub fn script(&self, version: &str) -> PathBuf {
        let dir = self.at(&format!("work-{version}"));
        fs::create_dir_all(dir.join("lib")).unwrap();
        fs::write(dir.join("main.py"), "import lib.more\n").unwrap();
        fs::write(dir.join("lib/more.py"), "").unwrap();
        describe(&dir, version, "python3", &["main.py", "--quiet"]);
        dir
    }

    pub fn pack_with(&self, dir: &Path, secret: Option<&str>) -> Result<Packed, PackError> {
        let key = secret.map(|text| SecretKey::parse(text, None).ok().unwrap());
        pack(Pack { dir, out: &self.at("out"), key: key.as_ref() }, &mut |_, _| {})
    }

    /// A signed package of the program in that version.
    pub fn package(&self, version: &str) -> PathBuf {
        let dir = self.native(version);
        let packed = self.pack_with(&dir, Some(SECRET)).unwrap();
        fs::remove_dir_all(dir).unwrap();
        packed.path
    }

    pub fn install(&self, package: &Path) -> Result<Outcome, InstallError> {
        self.install_how(package, Install::default())
    }

    pub fn install_how(&self, package: &Path, how: Install<'_>) -> Result<Outcome, InstallError> {
        let store = self.store(&[]);
        let package = Package::open(package, &store.trust())?;
        store.install(&package, how, &mut |_| {})
    }

    /// Installs that version of the program.
    pub fn installed(&self, version: &str) -> PathBuf {
        let package = self.package(version);
        self.install(&package).unwrap().path
    }

    /// The version that runs.
    pub fn running(&self) -> String {
        self.store(&[]).resolve("tester").unwrap().version.unwrap()
    }

    /// Everything below a folder, sorted.
    pub fn everything(&self, below: &str) -> Vec<String> {
        let (mut all, mut waiting) = (Vec::new(), vec![self.at(below)]);
        while let Some(dir) = waiting.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                all.push(path.strip_prefix(self.at(below)).unwrap().to_str().unwrap().to_owned());
                if path.is_dir() {
                    waiting.push(path);
                }
            }
        }
        all.sort();
        all
    }
}

/// `info.json` and `schema.json`.
fn describe(dir: &Path, version: &str, command: &str, args: &[&str]) {
    let info: Json = json!({
        "types": "driver", "handleType": "tester", "name": "tester", "title": "Tester", "version": version,
        "description": "", "author": "", "icon": "", "command": command, "args": args,
    });
    fs::write(dir.join("info.json"), info.to_string()).unwrap();
    fs::write(dir.join("schema.json"), "{ \"type\": \"object\" }").unwrap();
}

/// Changes a text file.
pub fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}
