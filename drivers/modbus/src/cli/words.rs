//! The words behind a command → its arguments. Pure; by hand because it is little, and a parser with
//! everything would be a tenth of the driver.
//!
//! Always true: a word that is no argument is a mistake that names it and guesses what was meant; no
//! mistake hides another.

use sagoo_driver_sdk::did_you_mean;

/// An argument that begins with `--`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// With its dashes.
    pub(crate) name: &'static str,
    /// What is behind it, in capitals; nothing for a switch.
    pub(crate) takes: &'static str,
    /// More than one may be given.
    pub(crate) repeats: bool,
}

impl Flag {
    /// Is there or is not.
    pub(crate) const fn switch(name: &'static str) -> Self {
        Self { name, takes: "", repeats: false }
    }

    /// Has one word behind it.
    pub(crate) const fn one(name: &'static str, takes: &'static str) -> Self {
        Self { name, takes, repeats: false }
    }

    /// May be given again and again.
    pub(crate) const fn many(name: &'static str, takes: &'static str) -> Self {
        Self { name, takes, repeats: true }
    }
}

/// What was typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// What is no flag.
    pub(crate) plain: Vec<String>,
    given: Vec<(&'static str, String)>,
    /// `--help` or `-h` was among them.
    pub(crate) wants_help: bool,
}

impl Words {
    /// Reads them; every mistake is told.
    pub(crate) fn parse(typed: &[String], flags: &[Flag]) -> Result<Self, Vec<String>> {
        let mut words = Self::default();
        let mut wrong = Vec::new();
        let mut rest = typed.iter();
        let mut is_over = false;
        while let Some(word) = rest.next() {
            if is_over || !word.starts_with('-') || word == "-" {
                words.plain.push(word.clone());
                continue;
            }
            match word.as_str() {
                "--" => {
                    is_over = true;
                    continue;
                }
                "--help" | "-h" => {
                    words.wants_help = true;
                    continue;
                }
                _ => {}
            }
            let (name, joined) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let Some(flag) = flags.iter().find(|flag| flag.name == name) else {
                wrong.push(unknown(name, flags));
                continue;
            };
            match (flag.takes, joined) {
                ("", None) => words.take(flag, String::new(), &mut wrong),
                ("", Some(value)) => wrong.push(format!("{name} takes nothing, not {value:?}")),
                (_, Some(value)) => words.take(flag, value, &mut wrong),
                (takes, None) => match rest.next().filter(|next| !next.starts_with("--")) {
                    Some(value) => words.take(flag, value.clone(), &mut wrong),
                    None => wrong.push(format!("{name} needs a value: {name} {takes}")),
                },
            }
        }
        if wrong.is_empty() { Ok(words) } else { Err(wrong) }
    }

    fn take(&mut self, flag: &Flag, value: String, wrong: &mut Vec<String>) {
        if !flag.repeats && self.has(flag.name) {
            wrong.push(format!("{} is given twice", flag.name));
        }
        self.given.push((flag.name, value));
    }

    /// Whether it is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(known, _)| *known == name)
    }

    /// What is behind it.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// What is behind each of them.
    pub(crate) fn values<'w>(&'w self, name: &'w str) -> impl Iterator<Item = &'w str> {
        self.given.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

fn unknown(name: &str, flags: &[Flag]) -> String {
    let names = || flags.iter().map(|flag| flag.name);
    let hint = did_you_mean(name, names())
        .unwrap_or_else(|| format!("known here: {}", names().collect::<Vec<_>>().join(", ")));
    format!("there is no argument {name:?}; {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] =
        &[Flag::one("--listen", "ADDRESS"), Flag::switch("--json"), Flag::many("--unit", "N")];

    fn parse(typed: &[&str]) -> Result<Words, Vec<String>> {
        Words::parse(&typed.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), FLAGS)
    }

    #[test]
    fn words_are_flags_with_their_values_and_the_rest() {
        let words = parse(&["a.toml", "--unit", "1", "--json", "--unit=2-4", "--", "--b"]).unwrap();
        assert_eq!(words.plain, ["a.toml", "--b"]);
        assert!(words.has("--json") && !words.has("--listen") && !words.wants_help);
        assert_eq!(words.values("--unit").collect::<Vec<_>>(), ["1", "2-4"]);
        assert!(parse(&["--help"]).unwrap().wants_help);
    }

    #[test]
    fn every_mistake_names_its_argument() {
        assert_eq!(
            parse(&["--lisen", "x", "--json=1", "--json", "--json", "--listen", "--unit", "3", "--zebra"]),
            Err(vec![
                "there is no argument \"--lisen\"; did you mean \"--listen\"?".to_owned(),
                "--json takes nothing, not \"1\"".to_owned(),
                "--json is given twice".to_owned(),
                "--listen needs a value: --listen ADDRESS".to_owned(),
                "there is no argument \"--zebra\"; known here: --listen, --json, --unit".to_owned(),
            ])
        );
    }
}
