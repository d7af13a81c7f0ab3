//! Plugins that were asked for one connection and cannot do it.

use std::ffi::OsString;

use sagoo_edge_plugin_host::StartFailure;

use crate::*;

#[tokio::test]
async fn a_plugin_that_does_not_multiplex_is_refused_with_the_remedy() {
    for (answer, words) in [
        ("", "does not support multiplexing"),
        ("|false", "does not support multiplexing"),
        ("|0", "does not support multiplexing"),
        ("|perhaps", r#"answers "perhaps""#),
        ("|", r#"answers """#),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("echo '1|1|unix|/nowhere|grpc|{answer}'; exec sleep 1000");
        let error = Plugin::start(Launch {
            args: ["-c", &script].map(OsString::from).into(),
            security: Security::Plain,
            multiplex: true,
            start_timeout: LONG,
            run_dir: Some(dir.path().to_owned()),
            ..Launch::new("old", "/bin/sh")
        })
        .await
        .unwrap_err();
        let failure = &error.failure;
        assert!(
            matches!(failure, StartFailure::NoMultiplex | StartFailure::MultiplexAnswer(_)),
            "{answer:?}: {error}"
        );
        assert!(error.to_string().contains(words), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn a_plugin_that_promises_to_multiplex_and_does_not_is_given_up_in_time() {
    let dir = tempfile::tempdir().unwrap();
    // A server that speaks, but not yamux: whatever comes in is answered with a line.
    let script = r#"
        import os, socket
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.environ["TMPDIR"] + "/p")
        listener.listen()
        print("1|1|unix|" + os.environ["TMPDIR"] + "/p|grpc||true", flush=True)
        while True:
            peer, _ = listener.accept()
            peer.recv(1)
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    "#;
    let script: Vec<&str> =
        script.lines().map(|line| line.strip_prefix("        ").unwrap_or(line)).collect();
    let error = Plugin::start(Launch {
        args: ["-c", &script.join("\n")].map(OsString::from).into(),
        security: Security::Plain,
        multiplex: true,
        start_timeout: LONG,
        run_dir: Some(dir.path().to_owned()),
        ..Launch::new("liar", "/usr/bin/python3")
    })
    .await
    .unwrap_err();
    assert!(matches!(error.failure, StartFailure::Connect { .. } | StartFailure::Health(_)), "{error}");
}
