//! Who gets in, and which version is spoken.

use sagoo_edge_proto::driver::DescribeRequest;
use sagoo_edge_proto::driver::driver_client::DriverClient;
use sagoo_edge_proto::handshake::{PLUGIN_CLIENT_CERT, PLUGIN_MULTIPLEX_GRPC, PLUGIN_PROTOCOL_VERSIONS};
use sagoo_edge_proto::mtls::{Identity, client_config};

use crate::rig::{Driver, Session, command, healthy, shut_down};

#[tokio::test]
async fn only_the_host_with_the_pinned_certificate_gets_in() {
    let driver = Driver::start("sine", true).await;
    let stranger = Identity::generate().unwrap();
    for identity in [None, Some(&stranger)] {
        let turned_away = match driver.connect_as(identity).await {
            Err(_) => true,
            Ok(channel) => DriverClient::new(channel).describe(DescribeRequest {}).await.is_err(),
        };
        assert!(turned_away, "with {} certificate", if identity.is_some() { "another" } else { "no" });
    }
    let channel = driver.connect().await.unwrap();
    assert!(healthy(&channel, "plugin").await);
    let (mut session, _) = Session::open(&channel).await;
    session.configure("{}").await;
    shut_down(driver, channel).await;
}

#[tokio::test]
async fn a_certificate_that_is_none_is_an_error_and_not_a_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let output = command("sine", &dir).env(PLUGIN_CLIENT_CERT, "nonsense").output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("AutoMTLS"), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_plugin_with_its_own_tls_exchanges_nothing_and_lets_in_only_whom_it_knows() {
    let dir = tempfile::tempdir().unwrap();
    let own_cert = dir.path().join("own.der");
    let host = Identity::generate().unwrap();
    let driver = Driver::start_with("plain", None, |command| {
        command
            .env("PLAIN_OWN_TLS", host.cert_pem())
            .env("PLAIN_OWN_CERT", &own_cert)
            // What the host asks for is not looked at, not even whether it can be.
            .env(PLUGIN_CLIENT_CERT, "nonsense")
            .env(PLUGIN_PROTOCOL_VERSIONS, "3");
    })
    .await;
    assert_eq!(driver.handshake.server_cert, None);
    let known = std::fs::read(&own_cert).unwrap();
    let channel = driver.connect_with(Some(client_config(&host, &known))).await.unwrap();
    assert!(healthy(&channel, "plugin").await);
    let heard = DriverClient::new(channel.clone()).describe(DescribeRequest {}).await.unwrap_err();
    assert_eq!(heard.code(), tonic::Code::Unimplemented);
    let stranger = client_config(&Identity::generate().unwrap(), &known);
    for tls in [None, Some(stranger)] {
        // It has no such service: whoever gets as far as to hear that got in.
        let turned_away = match driver.connect_with(tls).await {
            Err(_) => true,
            Ok(channel) => {
                let answer = DriverClient::new(channel).describe(DescribeRequest {}).await;
                answer.unwrap_err().code() != tonic::Code::Unimplemented
            }
        };
        assert!(turned_away);
    }
    shut_down(driver, channel).await;
}

#[tokio::test]
async fn the_highest_version_both_speak_is_built_and_no_other() {
    for (offered, chosen, warned) in
        [("3,2", 3, false), ("2", 2, false), ("1,2,x,9", 2, false), ("7", 2, true), ("", 2, true)]
    {
        let mut driver = Driver::start_with("plain", None, |command| {
            command.env(PLUGIN_PROTOCOL_VERSIONS, offered);
        })
        .await;
        assert_eq!(driver.handshake.app, chosen, "{offered:?}");
        driver.signal("-TERM");
        assert_eq!(driver.exit().await.code(), Some(0));
        let log = driver.log().await;
        let built: Vec<_> = log.iter().filter(|line| line["@message"] == "built").collect();
        assert_eq!(built.len(), 1);
        assert_eq!(built[0]["version"], chosen.to_string());
        let warning = "host and plugin have no version in common, update the older of the two";
        assert_eq!(log.iter().any(|line| line["@message"] == warning), warned, "{offered:?}");
    }
}

#[tokio::test]
async fn multiplexing_is_answered_exactly_when_it_is_asked_for() {
    for (asked, answer) in
        [(None, None), (Some(""), None), (Some("true"), Some("true")), (Some("no"), Some("true"))]
    {
        let mut driver = Driver::start_with("plain", None, |command| {
            command.env(PLUGIN_PROTOCOL_VERSIONS, "3");
            if let Some(asked) = asked {
                command.env(PLUGIN_MULTIPLEX_GRPC, asked);
            }
        })
        .await;
        assert_eq!(driver.handshake.multiplex.as_deref(), answer, "{asked:?}");
        driver.signal("-TERM");
        assert_eq!(driver.exit().await.code(), Some(0));
        assert_eq!(driver.left_behind(), 0, "its socket is removed in this mode, too");
    }
}
