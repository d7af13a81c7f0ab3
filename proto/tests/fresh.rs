//! The committed generated code is what the .proto files say, without protoc.
//! `UPDATE=1 cargo test -p sagoo-edge-proto --test fresh` writes it anew.

use std::fs;
use std::path::Path;

#[test]
fn generated_code_is_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let files = protox::compile(["driver/v1/driver.proto", "plugin/plugin.proto"], [root]).unwrap();
    tonic_prost_build::configure()
        .out_dir(out.path())
        .build_client(true)
        .build_server(true)
        .compile_fds(files)
        .unwrap();
    for name in ["sagoo.driver.v1.rs", "plugin.rs"] {
        let made = fs::read_to_string(out.path().join(name)).unwrap();
        let kept = root.join("src/generated").join(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&kept, &made).unwrap();
        }
        let committed = fs::read_to_string(&kept).unwrap_or_default();
        assert!(
            made == committed,
            "{} is stale: run UPDATE=1 cargo test -p sagoo-edge-proto --test fresh and commit it",
            kept.display()
        );
    }
}
