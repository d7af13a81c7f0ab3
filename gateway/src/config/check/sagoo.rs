//! `[sagoo]`: the platform's broker and how to speak with it.
//!
//! Always true: no secret is read from the configuration itself, not even from a URL.

use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use crate::config::defaults;
use crate::config::problem::Report;
use crate::config::raw::fields::Fields;
use crate::config::raw::read;
use crate::config::raw::tree::{Kind, Node};
use crate::config::types::{Broker, Drain, Profile, SagooConfig};

const PROFILES: [(&str, Profile); 2] =
    [("community", Profile::Community), ("enterprise", Profile::Enterprise)];

const DRAINS: [(&str, Drain); 3] =
    [("ordered", Drain::Ordered), ("live-first", Drain::LiveFirst), ("latest-only", Drain::LatestOnly)];

/// `[sagoo]`; `client_id` is left empty when not given, the host where it is wrong.
pub(super) fn sagoo(mut fields: Fields<'_>, dir: &Path, report: &mut Report) -> SagooConfig {
    let broker = fields.need(report, "broker", "\"mqtts://broker.example:8883\"", broker);
    let username = fields.get(report, "username", read::text);
    let secret_node = fields.node("password");
    let password = secret_node.and_then(|node| read::secret(dir)(node, report));
    let ca = fields.get(report, "ca", read::path(dir));
    let certificate_node = fields.node("client_certificate");
    let certificate = certificate_node.and_then(|node| client_certificate(node, dir, report));
    let client_id = fields.get(report, "client_id", read::text);
    let profile = fields.get(report, "profile", read::word(&PROFILES));
    let keep_alive = fields.get(report, "keep_alive", read::duration(defaults::KEEP_ALIVE_RANGE));
    let heartbeat = fields.get(report, "heartbeat", read::duration(defaults::HEARTBEAT_RANGE));
    let ack_timeout = fields.get(report, "ack_timeout", read::duration(defaults::ACK_TIMEOUT_RANGE));
    let enterprise = profile == Some(Profile::Enterprise);
    let (usual_drain, usual_spacing, spacing_range) = match enterprise {
        true => (Drain::LiveFirst, defaults::ROW_SPACING_ENTERPRISE, defaults::ROW_SPACING_ENTERPRISE_RANGE),
        false => (Drain::Ordered, defaults::ROW_SPACING, defaults::ROW_SPACING_RANGE),
    };
    let row_spacing = fields.get(report, "row_spacing", read::duration(spacing_range));
    let drain = fields.get(report, "drain", read::word(&DRAINS));
    if let (true, Some(node)) = (enterprise, fields.node("profile")) {
        let what = "the enterprise platform is treated like the community one for now, but for drain and row_spacing";
        report.warn(node.span, what);
    }
    if let (false, Some(Drain::LiveFirst), Some(node)) = (enterprise, drain, fields.node("drain")) {
        let what = "this platform stamps rows when they arrive and judges alarms then: after an outage old values \
                    would stand after newer ones and raise alarms again";
        report.warn(node.span, what).hint("leave drain out, or write drain = \"ordered\"");
    }
    if let (Some(node), None) = (secret_node, &username) {
        report.error(node.span, "a password without a user name").hint("add username = \"…\"");
    }
    if let Some(broker) = broker.as_ref().filter(|broker| !broker.tls) {
        let tls_only = [("ca", &ca), ("client_certificate", &certificate.as_ref().map(|c| c.0.clone()))];
        for (key, _) in tls_only.iter().filter(|(_, path)| path.is_some()) {
            let span = fields.node(key).map_or(fields.head(), |node| node.span);
            report.error(span, format!("{key} without TLS")).hint("write the broker as mqtts://…");
        }
        if let Some(node) = secret_node.filter(|_| !is_loopback(&broker.host)) {
            report
                .warn(node.span, "the password travels unprotected")
                .hint("where the broker offers TLS, write mqtts://…");
        }
    }
    fields.finish(report);
    SagooConfig {
        broker: broker.unwrap_or_else(|| Broker { host: String::new(), port: 0, tls: true }),
        client_id: client_id.unwrap_or_default(),
        username,
        password,
        ca,
        client_certificate: certificate,
        profile: profile.unwrap_or(Profile::Community),
        keep_alive: keep_alive.unwrap_or(defaults::KEEP_ALIVE),
        heartbeat: heartbeat.unwrap_or(defaults::HEARTBEAT),
        ack_timeout: ack_timeout.unwrap_or(defaults::ACK_TIMEOUT),
        row_spacing: row_spacing.unwrap_or(usual_spacing),
        drain: drain.unwrap_or(usual_drain),
    }
}

fn client_certificate(node: &Node, dir: &Path, report: &mut Report) -> Option<(PathBuf, PathBuf)> {
    let mut fields = Fields::of("client_certificate", node, report)?;
    let cert = fields.need(report, "cert", "\"client.pem\"", read::path(dir));
    let key = fields.need(report, "key", "\"client.key\"", read::path(dir));
    fields.finish(report);
    Some((cert?, key?))
}

fn broker(node: &Node, report: &mut Report) -> Option<Broker> {
    let Kind::Text(url) = &node.kind else {
        read::expected("an address like \"mqtts://broker.example:8883\"", node, report);
        return None;
    };
    match parse_broker(url) {
        Ok(broker) => Some(broker),
        Err((message, hint)) => {
            report.error(node.span, message).hint(hint);
            None
        }
    }
}

/// The broker of a URL, or what is wrong with it and the remedy. A URL with a password in it is not
/// repeated in the message.
fn parse_broker(url: &str) -> Result<Broker, (String, String)> {
    let wrong = |message: &str, hint: &str| Err((message.to_owned(), hint.to_owned()));
    let (tls, rest) = match url.split_once("://") {
        Some(("mqtt", rest)) => (false, rest),
        Some(("mqtts", rest)) => (true, rest),
        Some(("tcp", _)) => return wrong("the scheme \"tcp\" is not known", "write mqtt://…"),
        Some(("ssl" | "tls", _)) => return wrong("the scheme \"ssl\" is not known", "write mqtts://…"),
        Some(_) => return wrong("unknown scheme", "mqtt:// or, with TLS, mqtts://"),
        None => return wrong("an address without a scheme", "write mqtt://… or, with TLS, mqtts://…"),
    };
    if rest.contains('@') {
        let hint = "use username = \"…\" and password = { file = \"…\" }";
        return wrong("user and password never stand in the address", hint);
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((v6, port)) => (v6, port.strip_prefix(':').or(port.is_empty().then_some(""))),
        None => authority.split_once(':').map_or((authority, Some("")), |(host, port)| (host, Some(port))),
    };
    let Some(port) = port else { return wrong("unreadable address", "[address]:port") };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    let is_host = match authority.starts_with('[') {
        true => host.parse::<Ipv6Addr>().is_ok(),
        false => !host.is_empty() && host.chars().all(is_name),
    };
    if !is_host {
        let hint = "a name or an address and nothing behind its port; IPv6 in [brackets]";
        return Err((format!("{host:?} is no host"), hint.to_owned()));
    }
    let port = match (port, tls) {
        ("", true) if !authority.ends_with(':') => defaults::MQTTS_PORT,
        ("", false) if !authority.ends_with(':') => defaults::MQTT_PORT,
        _ => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err((format!("{port:?} is no port"), "a number from 1 to 65535".to_owned())),
        },
    };
    Ok(Broker { host: host.to_owned(), port, tls })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_broker_is_read_with_its_default_port() {
        let broker = |host: &str, port, tls| Ok(Broker { host: host.to_owned(), port, tls });
        assert_eq!(parse_broker("mqtts://b.example"), broker("b.example", 8883, true));
        assert_eq!(parse_broker("mqtt://10.0.0.1"), broker("10.0.0.1", 1883, false));
        assert_eq!(parse_broker("mqtt://localhost:9/"), broker("localhost", 9, false));
        assert_eq!(parse_broker("mqtts://[::1]:1"), broker("::1", 1, true));
        assert_eq!(parse_broker("mqtt://[fe80::1]"), broker("fe80::1", 1883, false));
    }

    #[test]
    fn what_is_no_broker_is_refused() {
        let wrong = [
            "",
            "b.example",
            "http://b",
            "mqtt://",
            "mqtt://b:0",
            "mqtt://b:65536",
            "mqtt://b:",
            "mqtt://b/x",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://::1",
            "mqtt://a b",
            "tcp://b:1883",
            "mqtt://b:1/x",
        ];
        for url in wrong {
            assert!(parse_broker(url).is_err(), "{url:?}");
        }
    }

    #[test]
    fn a_password_in_the_address_is_not_repeated() {
        let (message, hint) = parse_broker("mqtt://me:s3cret@b").unwrap_err();
        assert!(!message.contains("s3cret") && !hint.contains("s3cret"));
    }

    proptest! {
        #[test]
        fn any_address_is_read_or_refused(url in "(mqtts?://)?\\PC*") {
            let _ = parse_broker(&url);
        }
    }
}
