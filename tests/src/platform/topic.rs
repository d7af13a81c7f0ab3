//! Topics: which of the platform's four subscriptions a topic matches, and what the router takes from it.
//!
//! Always true: a topic that no filter matches never reaches the platform; only the device key
//! matters to the router, the product key is not checked (sagooiot.md §2.1, §2.4).

/// The four filters the open-source platform subscribes to.
pub(super) const FILTERS: [&str; 4] = [
    "/sys/+/+/thing/event/+/post",
    "/sys/+/+/thing/event/property/pack/post",
    "/sys/+/+/thing/service/property/set_reply",
    "/sys/+/+/thing/service/+",
];

/// What a message is, by its topic alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// `…/event/property/post`
    PropertyPost,
    /// `…/event/{event}/post`
    EventPost {
        /// Its key.
        event: String,
    },
    /// `…/event/property/pack/post`
    PackPost,
    /// `…/service/property/set_reply`
    SetReply,
    /// `…/service/{function}_reply`
    ServiceReply {
        /// Its key, without the suffix.
        function: String,
    },
    /// `…/service/{function}`: the platform's own request, delivered back to it.
    ServiceEcho,
}

/// A topic taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Segment 2.
    pub product_key: String,
    /// Segment 3.
    pub device_key: String,
    /// The rest.
    pub kind: Kind,
}

impl Address {
    /// `None`: no filter matches, the platform never sees it.
    pub(super) fn parse(topic: &str) -> Option<Self> {
        let segments: Vec<&str> = topic.split('/').collect();
        let ["", "sys", product_key, device_key, "thing", rest @ ..] = segments.as_slice() else {
            return None;
        };
        let kind = match rest {
            // The platform tests whether the topic *ends with* "property/post".
            ["event", event, "post"] if event.ends_with("property") => Kind::PropertyPost,
            ["event", event, "post"] => Kind::EventPost { event: (*event).to_owned() },
            ["event", "property", "pack", "post"] => Kind::PackPost,
            ["service", "property", "set_reply"] => Kind::SetReply,
            ["service", function] => match function.strip_suffix("_reply") {
                Some(function) => Kind::ServiceReply { function: function.to_owned() },
                None => Kind::ServiceEcho,
            },
            _ => return None,
        };
        Some(Self { product_key: (*product_key).to_owned(), device_key: (*device_key).to_owned(), kind })
    }
}

/// Where the acknowledgement would go if a pack had been a property post, or the other way round.
pub(super) fn reply_of_the_other_form(topic: &str) -> String {
    const ALONE: &str = "/property/post_reply";
    const PACK: &str = "/property/pack/post_reply";
    match topic.strip_suffix(PACK) {
        Some(head) => format!("{head}{ALONE}"),
        None => format!("{}{PACK}", topic.trim_end_matches(ALONE)),
    }
}

/// Where a property set is published.
pub(super) fn property_set(product_key: &str, device_key: &str) -> String {
    format!("/sys/{product_key}/{device_key}/thing/service/property/set")
}

/// Where a service call is published.
pub(super) fn service(product_key: &str, device_key: &str, function: &str) -> String {
    format!("/sys/{product_key}/{device_key}/thing/service/{function}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(topic: &str) -> Option<Kind> {
        Address::parse(topic).map(|address| address.kind)
    }

    #[test]
    fn a_topic_is_what_its_filter_says() {
        assert_eq!(kind("/sys/p/d/thing/event/property/post"), Some(Kind::PropertyPost));
        assert_eq!(kind("/sys/p/d/thing/event/xproperty/post"), Some(Kind::PropertyPost));
        assert_eq!(kind("/sys/p/d/thing/event/hot/post"), Some(Kind::EventPost { event: "hot".into() }));
        assert_eq!(kind("/sys/p/d/thing/event/property/pack/post"), Some(Kind::PackPost));
        assert_eq!(kind("/sys/p/d/thing/service/property/set_reply"), Some(Kind::SetReply));
        let reply = Kind::ServiceReply { function: "open".into() };
        assert_eq!(kind("/sys/p/d/thing/service/open_reply"), Some(reply));
        assert_eq!(kind("/sys/p/d/thing/service/open"), Some(Kind::ServiceEcho));
    }

    #[test]
    fn what_no_filter_matches_never_arrives() {
        for topic in [
            "sys/p/d/thing/event/property/post",
            "/sys/p/d/thing/event/property/post_reply",
            "/sys/p/d/thing/service/property/set",
            "/sys/p/d/child/c/thing/event/property/post",
            "/sys/p/d/thing/status/online",
        ] {
            assert_eq!(Address::parse(topic), None, "{topic}");
        }
    }
}
