//! Patterns for file names, as Go's `filepath.Match` reads them.
//!
//! ```text
//! *      any characters, also none, also a leading dot
//! ?      one character
//! [a-z]  one of these; [^a-z] none of these
//! \c     the character c itself
//! ```
//! Always true: a pattern is a name's, not a path's, so a directory's own name is never read as one;
//! matching takes at most the product of both lengths.

use std::str::Chars;

/// A pattern that was read without mistakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

/// A pattern nothing can match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern {pattern:?} is wrong: {why}; write one like driver-*")]
pub struct BadPattern {
    /// As given.
    pub pattern: String,
    /// What is wrong with it.
    pub why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Char(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(pattern: &str) -> Result<Self, BadPattern> {
        read(pattern).map(Self).map_err(|why| BadPattern { pattern: pattern.to_owned(), why })
    }

    /// Whether a file of this name is meant.
    pub fn matches(&self, name: &str) -> bool {
        let (parts, name) = (&self.0, name.chars().collect::<Vec<_>>());
        let (mut part, mut at) = (0, 0);
        // Where to go on when the last `*` has to take one character more.
        let mut retry: Option<(usize, usize)> = None;
        while at < name.len() || part < parts.len() {
            match parts.get(part) {
                Some(Part::Any) => {
                    retry = Some((part, at + 1));
                    part += 1;
                    continue;
                }
                Some(one) if at < name.len() && one.takes(name[at]) => {
                    part += 1;
                    at += 1;
                    continue;
                }
                _ => {}
            }
            match retry {
                Some((any, next)) if next <= name.len() => (part, at) = (any, next),
                _ => return false,
            }
        }
        true
    }
}

impl Part {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Char(own) => *own == c,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

fn read(pattern: &str) -> Result<Vec<Part>, &'static str> {
    let mut chars = pattern.chars();
    let mut parts = Vec::new();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' if parts.last() == Some(&Part::Any) => continue,
            '*' => Part::Any,
            '?' => Part::One,
            '[' => class(&mut chars)?,
            '\\' => Part::Char(chars.next().ok_or("it ends with a backslash")?),
            '/' => return Err("it has a slash, and directories are given on their own"),
            c => Part::Char(c),
        });
    }
    if parts.is_empty() { Err("it is empty") } else { Ok(parts) }
}

fn class(chars: &mut Chars<'_>) -> Result<Part, &'static str> {
    let negated = chars.as_str().starts_with('^');
    if negated {
        chars.next();
    }
    let mut ranges = Vec::new();
    while ranges.is_empty() || !chars.as_str().starts_with(']') {
        let low = bound(chars)?;
        let high = if chars.as_str().starts_with('-') {
            chars.next();
            bound(chars)?
        } else {
            low
        };
        ranges.push((low, high));
    }
    chars.next();
    Ok(Part::Class { negated, ranges })
}

/// One end of a range; what means something in a class needs a backslash.
fn bound(chars: &mut Chars<'_>) -> Result<char, &'static str> {
    match chars.next().ok_or("a [ has no ]")? {
        '-' => Err("a - in [] has no character before it"),
        ']' => Err("a [] is empty or ends with a -"),
        '\\' => chars.next().ok_or("it ends with a backslash"),
        c => Ok(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_match_as_in_go() {
        let cases = [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*", "", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("a*b*c*d*e*x", "axbxcxdxexx", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("driver-*", "driver-modbus", true),
            ("driver-*", ".driver-modbus.new", false),
            ("*", ".hidden", true),
            ("?.hidden", "..hidden", true),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("ab[g-e]", "abf", false),
            ("[!a]", "!", true),
            ("[a!]", "b", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("[\\]a]", "]", true),
            ("[\\-]", "-", true),
            ("[x\\-]", "z", false),
            ("{a,b}", "a", false),
            ("**", "abc", true),
        ];
        for (pattern, name, matches) in cases {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn what_go_calls_a_bad_pattern_is_one() {
        for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "\\", "[\\", "[]"]
        {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
        let error = Pattern::parse("sub/driver-*").unwrap_err();
        assert!(error.to_string().contains("slash"), "{error}");
        assert!(Pattern::parse("").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_an_error(pattern in "[\\[\\]*?^\\\\a-c-]{0,30}", name in "[a-c]{0,30}") {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                pattern.matches(&name);
            }
        }

        #[test]
        fn an_escaped_name_matches_itself_alone(name in "\\PC{1,20}", other in "\\PC{1,20}") {
            prop_assume!(!name.contains('/'));
            let escaped: String = name.chars().flat_map(|c| ['\\', c]).collect();
            let pattern = Pattern::parse(&escaped).unwrap();
            prop_assert!(pattern.matches(&name));
            prop_assert_eq!(pattern.matches(&other), name == other);
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = Pattern::parse(&"a*".repeat(200)).unwrap();
        assert!(!pattern.matches(&format!("{}b", "c".repeat(5_000))));
        assert!(!Pattern::parse(&format!("{}b", "*a".repeat(100))).unwrap().matches(&"a".repeat(5_000)));
    }
}
