//! Which devices the platform knows, and the part of their thing model (TSL) that matters on the wire.
//!
//! Always true: a device is known or not, enabled or not; only keys of its thing model are stored,
//! converted to the model's type (sagooiot.md §4.3, §4.5). Values are coerced, never rejected.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// Decimals of a `float` or `double` whose thing model names none.
const DEFAULT_DECIMALS: i32 = 2;
/// Bytes of a `string` whose thing model names no length.
const DEFAULT_LENGTH: usize = 150;

/// Type of one property, as in the thing model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tsl {
    /// `int`: fractions are cut off.
    Int,
    /// `long`, without `max` because of the platform's bug there.
    Long,
    /// `float`: 32 bits, rounded to this many decimals.
    Float(u8),
    /// `double`: parsed with 32-bit precision by the platform, rounded to this many decimals.
    Double(u8),
    /// `string`
    Text,
    /// `boolean`
    Boolean,
    /// `enum`: its values; anything else becomes the empty string.
    Enum(Vec<String>),
}

impl Tsl {
    /// `float` as the platform's own pages make it.
    pub fn float() -> Self {
        Self::Float(DEFAULT_DECIMALS as u8)
    }

    /// What the platform stores for a value that arrived.
    pub fn convert(&self, value: &Json) -> Json {
        match self {
            Self::Int | Self::Long => Json::from(number(value).trunc() as i64),
            Self::Float(decimals) | Self::Double(decimals) => {
                let scale = 10f64.powi(i32::from(*decimals));
                let rounded = (f64::from(number(value) as f32) * scale).round() / scale;
                serde_json::Number::from_f64(rounded).map_or(Json::Null, Json::Number)
            }
            Self::Text => Json::from(cut(&text(value))),
            Self::Boolean => {
                Json::from(!matches!(text(value).to_lowercase().as_str(), "" | "0" | "no" | "off" | "false"))
            }
            Self::Enum(values) => {
                let text = text(value);
                Json::from(if values.contains(&text) { text } else { String::new() })
            }
        }
    }
}

fn number(value: &Json) -> f64 {
    match value {
        Json::Bool(true) => 1.0,
        Json::Number(number) => number.as_f64().unwrap_or(0.0),
        Json::String(text) => text.trim().parse().unwrap_or(0.0),
        _ => 0.0,
    }
}

fn text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn cut(text: &str) -> String {
    if text.len() <= DEFAULT_LENGTH {
        return text.to_owned();
    }
    String::from_utf8_lossy(&text.as_bytes()[..DEFAULT_LENGTH - 1]).into_owned()
}

/// One device the platform knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDevice {
    /// Its device key.
    pub device_key: String,
    /// Its product's key.
    pub product_key: String,
    /// A disabled device is known, but its own messages are ignored.
    pub enabled: bool,
    /// Thing model: property key → type.
    pub properties: BTreeMap<String, Tsl>,
}

impl KnownDevice {
    /// An enabled device without properties.
    pub fn new(product_key: &str, device_key: &str) -> Self {
        Self {
            device_key: device_key.to_owned(),
            product_key: product_key.to_owned(),
            enabled: true,
            properties: BTreeMap::new(),
        }
    }

    /// Adds a property to its thing model.
    #[must_use]
    pub fn property(mut self, key: &str, tsl: Tsl) -> Self {
        self.properties.insert(key.to_owned(), tsl);
        self
    }
}

/// The platform's device cache.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    devices: BTreeMap<String, KnownDevice>,
}

impl Registry {
    /// A cache with these devices.
    pub fn new(devices: impl IntoIterator<Item = KnownDevice>) -> Self {
        Self { devices: devices.into_iter().map(|device| (device.device_key.clone(), device)).collect() }
    }

    /// The device, if it is known.
    pub fn get(&self, device_key: &str) -> Option<&KnownDevice> {
        self.devices.get(device_key)
    }

    /// Adds a device or replaces it.
    pub fn know(&mut self, device: KnownDevice) {
        self.devices.insert(device.device_key.clone(), device);
    }

    /// Makes a device unknown, as a flushed cache does.
    pub fn forget(&mut self, device_key: &str) {
        self.devices.remove(device_key);
    }

    /// Enables or disables a device; an unknown one stays unknown.
    pub fn set_enabled(&mut self, device_key: &str, enabled: bool) {
        if let Some(device) = self.devices.get_mut(device_key) {
            device.enabled = enabled;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_become_what_the_thing_model_says() {
        assert_eq!(Tsl::Int.convert(&json!(12.9)), json!(12));
        assert_eq!(Tsl::Int.convert(&json!("x")), json!(0));
        assert_eq!(Tsl::Long.convert(&json!(-7)), json!(-7));
        assert_eq!(Tsl::float().convert(&json!(23.456)), json!(23.46));
        assert_eq!(Tsl::Boolean.convert(&json!("OFF")), json!(false));
        assert_eq!(Tsl::Boolean.convert(&json!(2)), json!(true));
        assert_eq!(Tsl::Text.convert(&json!(5)), json!("5"));
        assert_eq!(Tsl::Text.convert(&json!("x".repeat(200))), json!("x".repeat(149)));
        assert_eq!(Tsl::Enum(vec!["on".into()]).convert(&json!("off")), json!(""));
    }
}
