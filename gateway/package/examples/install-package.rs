//! Installs one package and ends: for the tests, which kill it in the middle.
//!
//! `install-package PACKAGE DIR KEYS`

use std::path::PathBuf;

use sagoo_edge_package::store::Install;
use sagoo_edge_package::{Package, Store};

fn main() {
    let [package, dir, keys] = args();
    let store = Store::new(vec![dir], keys, Vec::new());
    let package = Package::open(&package, &store.trust()).expect("a package");
    store.install(&package, Install::default(), &mut |_| {}).expect("it can be installed");
}

fn args() -> [PathBuf; 3] {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    args.try_into().expect("PACKAGE DIR KEYS")
}
