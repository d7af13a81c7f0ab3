//! What the measurements of the whole gateway share: a load of numbers, and a platform that does no more than
//! answer.
//!
//! Always true: everything that is published is acknowledged, whatever it says.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::rig::{Heard, Listener};
use tokio::time::sleep;

/// What is published towards the platform.
pub(super) const FILTER: &str = "/sys/#";
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(1);
/// Lines the numbers come over.
const LINES: usize = 4;

/// Devices of the synthetic driver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    pub(super) devices: usize,
    pub(super) width: usize,
    pub(super) period: Duration,
    /// As telemetry mostly changes.
    pub(super) slow: bool,
}

impl Numbers {
    /// The field.
    pub(super) fn toml(self) -> String {
        let Self { devices, width, period, slow } = self;
        let mut toml = "[model.numbers.points]\n".to_owned();
        for point in 0..width {
            let _ = writeln!(toml, "p{point} = {{}}");
        }
        for line in 0..LINES {
            let _ = writeln!(toml, "[connection.line{line}]\ndriver = \"synthetic\"");
        }
        for device in 0..devices {
            let _ = write!(
                toml,
                "[device.d{device}]\nconnection = \"line{line}\"\nmodel = \"numbers\"\nwidth = {width}\n\
                 period_ms = {period}\nslow = {slow}\n\
                 sagoo = {{ product_key = \"numbers\", device_key = \"d{device}\" }}\n",
                line = device % LINES,
                period = period.as_millis(),
            );
        }
        toml
    }
}

/// The answer to whatever is posted.
pub(super) fn acknowledge(topic: &str, payload: &[u8]) -> Option<(String, String)> {
    topic.strip_suffix("/post")?;
    let id = id(payload)?;
    let body = format!(
        r#"{{"code":200,"data":{{}},"id":"{id}","message":"success","method":"post","version":"1.0"}}"#
    );
    Some((format!("{topic}_reply"), body))
}

/// Without reading the rest: it comes first and holds no quote.
fn id(payload: &[u8]) -> Option<&str> {
    let text = payload.strip_prefix(br#"{"id":""#)?;
    let end = text.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&text[..end]).ok()
}

/// Values in a message.
pub(super) fn values(payload: &[u8]) -> usize {
    const VALUE: &[u8] = br#""value":"#;
    payload.windows(VALUE.len()).filter(|window| *window == VALUE).count()
}

/// Waits for the first message of which this is so; gives back when it was heard.
pub(super) async fn first(
    listener: &Listener,
    what: &str,
    within: Duration,
    wanted: impl Fn(&Heard) -> bool,
) -> Result<Instant> {
    let began = Instant::now();
    loop {
        if let Some(found) = listener.heard().into_iter().find(|heard| wanted(heard)) {
            return Ok(found.at);
        }
        ensure!(began.elapsed() < within, "not heard of within {within:?}: {what}");
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_posted_is_acknowledged_by_its_id_and_nothing_else_is() {
        let payload = br#"{"id":"gw-7","version":"1.0","params":{"a":{"value":1,"time":2},"b":{"value":3}}}"#;
        let (topic, body) = acknowledge("/sys/e/gw/thing/event/property/pack/post", payload).unwrap();
        assert_eq!(topic, "/sys/e/gw/thing/event/property/pack/post_reply");
        assert!(body.contains(r#""id":"gw-7""#) && body.contains("200"), "{body}");
        assert_eq!((acknowledge(&topic, payload), values(payload)), (None, 2));
    }
}
