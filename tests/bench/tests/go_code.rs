//! The committed Go code is what `driver.proto` says.
//! `UPDATE=1 cargo test -p bench --test go_code` writes it anew.
//!
//! Always true: no protoc is needed; `go tool` runs the generators at the versions of `go/go.mod`.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use prost::Message as _;

/// What protoc would say to a generator (`google/protobuf/compiler/plugin.proto`).
#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, repeated, tag = "1")]
    files: Vec<String>,
    #[prost(string, tag = "2")]
    parameter: String,
    /// `FileDescriptorProto`s, as they are.
    #[prost(bytes = "vec", repeated, tag = "15")]
    descriptors: Vec<Vec<u8>>,
}

/// What a generator says to protoc.
#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(string, tag = "1")]
    error: String,
    #[prost(message, repeated, tag = "15")]
    files: Vec<Generated>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Generated {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "15")]
    content: String,
}

const PROTO: &str = "driver/v1/driver.proto";
const MODULE: &str = "sagoo.edge/bench";

#[test]
fn go_code_is_fresh() {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protos =
        bench.parent().and_then(Path::parent).expect("tests/bench is two below the root").join("proto");
    let compiled = protox::Compiler::new([&protos])
        .unwrap()
        .include_source_info(true)
        .open_files([PROTO])
        .unwrap()
        .encode_file_descriptor_set();
    let request = Request {
        files: vec![PROTO.to_owned()],
        parameter: format!("module={MODULE},M{PROTO}={MODULE}/driverpb"),
        descriptors: FileDescriptors::decode(compiled.as_slice()).unwrap().files,
    };
    for generator in ["protoc-gen-go", "protoc-gen-go-grpc"] {
        let made = generate(&bench.join("go"), generator, &request);
        let kept = bench.join("go").join(&made.name);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&kept, &made.content).unwrap();
        }
        let committed = fs::read_to_string(&kept).unwrap_or_default();
        assert!(
            made.content == committed,
            "{} is stale: run UPDATE=1 cargo test -p bench --test go_code and commit it",
            kept.display()
        );
    }
}

#[test]
fn go_code_is_formatted_and_vetted() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("go");
    let say = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let output = command.args(arguments).current_dir(&sources).output().expect("go is installed");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    assert_eq!(say("gofmt", &["-l", "."]), (true, String::new()), "not formatted: gofmt -w");
    let (sound, findings) = say("go", &["vet", "./..."]);
    assert!(sound, "{findings}");
}

/// A `FileDescriptorSet`, its parts as they are.
#[derive(Clone, PartialEq, prost::Message)]
struct FileDescriptors {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

fn generate(module: &Path, generator: &str, request: &Request) -> Generated {
    let mut go = Command::new("go");
    go.args(["tool", generator]).current_dir(module).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = go.spawn().expect("go is installed: deploy/check.sh install does it");
    child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(&request.encode_to_vec())
        .expect("the generator reads");
    let output = child.wait_with_output().expect("the generator ends");
    assert!(output.status.success(), "go tool {generator} ended with {}", output.status);
    let mut response = Response::decode(output.stdout.as_slice()).expect("the generator answers");
    assert_eq!(response.error, "", "{generator}");
    assert_eq!(response.files.len(), 1, "{generator}");
    // The generators name the compiler they were told of; there is none.
    response.files.remove(0)
}
