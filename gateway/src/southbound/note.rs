//! What is noted in the record of a process that may outlive us.
//!
//! Always true: a note that cannot be read is no note; its process is then ended, never guessed about.

use std::hash::{DefaultHasher, Hash, Hasher};

use prost::Message;
use sagoo_edge_proto::driver as wire;
use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::life::{Known, Role};

/// What the next gateway needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// What the process is made of.
    pub kind: Kind,
    /// What it is for.
    pub role: Role,
    /// Its instance, as 32 hexadecimal digits, once it has said it: a process never changes it.
    pub instance: Option<String>,
    /// The file it was started from.
    pub program: String,
    /// Whether somebody who is trusted vouched for it then.
    pub signed: bool,
    /// What its files said about which configuration, so that they need not be asked again.
    pub said: Option<(Digest, Known)>,
}

/// Tells configurations apart; another build of the gateway may see the same one as another, and asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest(u64);

impl Note {
    /// As it is kept.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and words are JSON")
    }

    /// As it was kept.
    pub fn of_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl Digest {
    /// Of a driver's part of a configuration.
    pub fn of(configuration: &wire::Configuration) -> Self {
        let mut hasher = DefaultHasher::new();
        configuration.encode_to_vec().hash(&mut hasher);
        Self(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::southbound::kind::Rights;
    use crate::status::plan::Strain;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let rights = Rights { connect_tcp: BTreeSet::from([502, 503]), listen_tcp: BTreeSet::new() };
        let kind = Kind { fingerprint: [7; 32], version: "1.2.3".to_owned(), rights: Some(rights) };
        let errors = [("device.a".to_owned(), "device.a: \"x\" is not a number".to_owned())].into();
        let strain = Strain { message: "126 %".to_owned(), hint: String::new(), refused: true };
        let strains = [("bus".to_owned(), strain)].into();
        let known = Known { kind: kind.clone(), errors, slowest: Duration::from_secs(5), strains };
        let configuration = wire::Configuration::default();
        let said = Some((Digest::of(&configuration), known));
        let program = "/usr/lib/driver-x".to_owned();
        let instance = Some("00ff".repeat(8));
        let note = Note { kind, role: Role::Standby, instance, program, signed: true, said };
        assert_eq!(Note::of_text(&note.to_text()), Some(note));
    }

    proptest! {
        #[test]
        fn any_text_is_a_note_or_none(text in ".*") {
            prop_assert_eq!(Note::of_text(&text), None);
        }
    }
}
