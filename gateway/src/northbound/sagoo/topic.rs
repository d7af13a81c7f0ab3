//! Topics of the platform: built from keys, parsed without trust.
//!
//! Always true: parsing is total, and what was built parses back to the same keys.
//!
//! ```text
//! /sys/{product}/{device}/thing/event/property/post            up    the gateway's own properties
//! /sys/{product}/{device}/thing/event/property/post_reply      down  … acknowledged
//! /sys/{product}/{device}/thing/event/property/pack/post       up    rows of sub-devices, probes, heartbeats
//! /sys/{product}/{device}/thing/event/property/pack/post_reply down  … acknowledged
//! /sys/{product}/{device}/thing/service/property/set           down  write
//! /sys/{product}/{device}/thing/service/property/set_reply     up    … done
//! /sys/{product}/{device}/thing/service/{function}             down  call
//! /sys/{product}/{device}/thing/service/{function}_reply       up    … answered
//! ```

use crate::row::Identity;

/// A topic the platform publishes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound<'a> {
    /// Set these properties.
    PropertySet {
        /// Product key, to be repeated in the reply.
        product: &'a str,
        /// Device key.
        device: &'a str,
    },
    /// Call this function.
    Service {
        /// Product key, to be repeated in the reply.
        product: &'a str,
        /// Device key.
        device: &'a str,
        /// Its name.
        function: &'a str,
    },
    /// A property/post is acknowledged.
    PropertyReply {
        /// Device key.
        device: &'a str,
    },
    /// A pack/post is acknowledged.
    PackReply {
        /// Device key of the topic the pack was sent on.
        device: &'a str,
    },
}

/// Where a device's own properties go.
pub fn property_post(identity: &Identity) -> String {
    thing(identity, "event/property/post")
}

/// Where packs go.
pub fn pack_post(identity: &Identity) -> String {
    thing(identity, "event/property/pack/post")
}

/// Whom a post is of, and whether it is a pack.
pub fn parse_post(topic: &str) -> Option<(Identity, bool)> {
    let mut parts = topic.strip_prefix("/sys/")?.splitn(3, '/');
    let (product, device) = (parts.next()?, parts.next()?);
    let identity = Identity { product_key: product.into(), device_key: device.into() };
    match parts.next()? {
        "thing/event/property/post" => Some((identity, false)),
        "thing/event/property/pack/post" => Some((identity, true)),
        _ => None,
    }
}

/// Where the answer to a property set goes.
pub fn set_reply(product: &str, device: &str) -> String {
    format!("/sys/{product}/{device}/thing/service/property/set_reply")
}

/// Where the answer to a call goes.
pub fn service_reply(product: &str, device: &str, function: &str) -> String {
    format!("/sys/{product}/{device}/thing/service/{function}_reply")
}

fn thing(identity: &Identity, tail: &str) -> String {
    format!("/sys/{}/{}/thing/{tail}", identity.product_key, identity.device_key)
}

/// Filters that bring a device's commands. They do not overlap, so nothing arrives twice.
pub fn command_filters(device_key: &str) -> [String; 2] {
    [
        format!("/sys/+/{device_key}/thing/service/+"),
        format!("/sys/+/{device_key}/thing/service/property/set"),
    ]
}

/// Filters that bring the acknowledgements of what is sent under a device's key.
pub fn reply_filters(device_key: &str) -> [String; 2] {
    [
        format!("/sys/+/{device_key}/thing/event/property/post_reply"),
        format!("/sys/+/{device_key}/thing/event/property/pack/post_reply"),
    ]
}

/// What a topic is; `None`: nothing for us, among them replies (of ours) to calls.
pub fn parse(topic: &str) -> Option<Inbound<'_>> {
    let mut parts = topic.strip_prefix("/sys/")?.splitn(3, '/');
    let (product, device, tail) = (parts.next()?, parts.next()?, parts.next()?);
    if product.is_empty() || device.is_empty() {
        return None;
    }
    match tail.strip_prefix("thing/")? {
        "event/property/post_reply" => Some(Inbound::PropertyReply { device }),
        "event/property/pack/post_reply" => Some(Inbound::PackReply { device }),
        "service/property/set" => Some(Inbound::PropertySet { product, device }),
        other => {
            let function = other.strip_prefix("service/")?;
            let ours = function.is_empty() || function.contains('/') || function.ends_with("_reply");
            (!ours).then_some(Inbound::Service { product, device, function })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity() -> Identity {
        Identity { product_key: "edge-gw".into(), device_key: "gw-0001".into() }
    }

    #[test]
    fn topics_are_exactly_the_platforms() {
        assert_eq!(property_post(&identity()), "/sys/edge-gw/gw-0001/thing/event/property/post");
        assert_eq!(pack_post(&identity()), "/sys/edge-gw/gw-0001/thing/event/property/pack/post");
        assert_eq!(set_reply("p", "d"), "/sys/p/d/thing/service/property/set_reply");
        assert_eq!(service_reply("p", "d", "open"), "/sys/p/d/thing/service/open_reply");
        assert_eq!(command_filters("d"), ["/sys/+/d/thing/service/+", "/sys/+/d/thing/service/property/set"]);
        assert_eq!(
            reply_filters("d"),
            ["/sys/+/d/thing/event/property/post_reply", "/sys/+/d/thing/event/property/pack/post_reply"]
        );
    }

    #[test]
    fn a_post_says_whom_it_is_of() {
        assert_eq!(parse_post(&property_post(&identity())), Some((identity(), false)));
        assert_eq!(parse_post(&pack_post(&identity())), Some((identity(), true)));
        for odd in ["", "/sys/p/d", "/sys/p/d/thing/event/property/post_reply"] {
            assert_eq!(parse_post(odd), None, "{odd}");
        }
    }

    #[test]
    fn downlinks_are_told_apart() {
        let set = parse("/sys/p/d/thing/service/property/set");
        assert_eq!(set, Some(Inbound::PropertySet { product: "p", device: "d" }));
        let call = parse("/sys/p/d/thing/service/open");
        assert_eq!(call, Some(Inbound::Service { product: "p", device: "d", function: "open" }));
        assert_eq!(
            parse("/sys/p/d/thing/event/property/post_reply"),
            Some(Inbound::PropertyReply { device: "d" })
        );
        assert_eq!(
            parse("/sys/p/d/thing/event/property/pack/post_reply"),
            Some(Inbound::PackReply { device: "d" })
        );
    }

    #[test]
    fn replies_under_service_and_foreign_topics_are_nothing() {
        for topic in [
            "/sys/p/d/thing/service/open_reply",
            "/sys/p/d/thing/service/property/set_reply",
            "/sys/p/d/thing/service/",
            "/sys/p/d/thing/service/a/b",
            "/sys//d/thing/service/open",
            "/sys/p//thing/service/open",
            "sys/p/d/thing/service/open",
            "/ota/device/upgrade/p/d",
            "/sys/p/d/thing/event/property/post",
            "",
            "/",
        ] {
            assert_eq!(parse(topic), None, "{topic}");
        }
    }

    proptest! {
        #[test]
        fn any_topic_is_parsed_or_refused(topic in "\\PC{0,80}") {
            let _ = parse(&topic);
        }

        #[test]
        fn any_thing_topic_is_parsed_or_refused(tail in "[a-z/_]{0,40}") {
            let _ = parse(&format!("/sys/p/d/thing/{tail}"));
        }
    }
}
