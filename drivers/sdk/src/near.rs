//! What somebody meant by a word that is none of the known ones.
//!
//! Always true: gateway and drivers guess alike and say it in the same words; two letters that
//! changed places are one mistake, upper and lower case are none.

/// One mistake is forgiven per this many letters, and one in shorter words.
const LETTERS_PER_MISTAKE: usize = 3;

/// `did you mean "scale"?`, when one of the words is near enough to be meant.
pub fn did_you_mean<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<String> {
    let lower = word.to_lowercase();
    let distance = |known: &str| strsim::osa_distance(&lower, &known.to_lowercase());
    let (mistakes, nearest) = known.into_iter().map(|known| (distance(known), known)).min()?;
    let allowed = (word.chars().count() / LETTERS_PER_MISTAKE).max(1);
    (mistakes <= allowed).then(|| format!("did you mean {nearest:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_known_by_its_mistakes() {
        let known = ["host", "port", "scale", "tcp", "timeout", "turnaround"];
        for (word, meant) in [
            ("tpc", "tcp"),
            ("prot", "port"),
            ("hots", "host"),
            ("timout", "timeout"),
            ("timeuot", "timeout"),
            ("Trunaruond", "turnaround"),
            ("SCALE", "scale"),
        ] {
            assert_eq!(did_you_mean(word, known), Some(format!("did you mean {meant:?}?")), "{word}");
        }
        for word in ["", "u", "serial", "offline", "pct"] {
            assert_eq!(did_you_mean(word, known), None, "{word}");
        }
        assert_eq!(did_you_mean("tcp", []), None);
    }
}
