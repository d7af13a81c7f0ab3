//! Lines that fit a terminal of 80 columns.
//!
//! Always true: no word is cut and none is lost; what does not fit goes on below, indented; colours do not
//! count as width.

/// As wide as the narrowest terminal people have.
pub(super) const WIDTH: usize = 80;
/// What goes on stands below the second column, if that begins before this one.
const DEEPEST: usize = 12;
/// And else here.
const INDENT: usize = 4;

/// The same text in lines of at most [`WIDTH`] columns, as far as its words allow.
pub(super) fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if width(line) <= WIDTH {
            out.push_str(line);
        } else {
            one(line, &mut out);
        }
        out.push('\n');
    }
    out
}

fn one(line: &str, out: &mut String) {
    let indent = indent(line);
    let (mut column, mut blanks) = (0, 0);
    for (place, word) in line.split(' ').enumerate() {
        blanks += usize::from(place > 0);
        if word.is_empty() {
            continue;
        }
        let wide = width(word);
        if column + blanks + wide > WIDTH && column > indent {
            out.push('\n');
            (column, blanks) = (0, indent);
        }
        out.extend(std::iter::repeat_n(' ', blanks));
        out.push_str(word);
        column += blanks + wide;
        blanks = 0;
    }
}

/// Where what does not fit goes on.
fn indent(line: &str) -> usize {
    let leading = line.len() - line.trim_start_matches(' ').len();
    if leading > 0 {
        return leading.min(WIDTH / 2);
    }
    let second = line
        .split_once("  ")
        .map(|(first, rest)| width(first) + 2 + rest.len() - rest.trim_start_matches(' ').len());
    second.filter(|column| *column <= DEEPEST).unwrap_or(INDENT)
}

/// Columns it takes; `ESC [ … m` takes none.
fn width(text: &str) -> usize {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().chars().count();
    let after = |part: &str| part.split_once('m').map_or(0, |(_, text)| text.chars().count());
    first + parts.map(after).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_not_fit_goes_on_below_the_second_column() {
        let long = "a broker that cannot be reached because of a certificate that nobody here has signed";
        let text = format!("platform  {long}\n          {long}\nconnection-of-a-long-name  {long}\nshort\n");
        let expected = "\
platform  a broker that cannot be reached because of a certificate that nobody
          here has signed
          a broker that cannot be reached because of a certificate that nobody
          here has signed
connection-of-a-long-name  a broker that cannot be reached because of a
    certificate that nobody here has signed
short
";
        assert_eq!(fold(&text), expected);
        let coloured = text.replace("broker", "\x1b[31mbroker\x1b[0m");
        assert_eq!(fold(&coloured).replace("\x1b[31m", "").replace("\x1b[0m", ""), expected);
    }

    proptest! {
        #[test]
        fn words_stay_whole_and_lines_end_in_time(words in proptest::collection::vec("[a-z]{1,30}", 1..60)) {
            let folded = fold(&words.join(" "));
            prop_assert!(folded.lines().all(|line| line.chars().count() <= WIDTH));
            prop_assert_eq!(folded.split_whitespace().collect::<Vec<_>>(), words);
        }

        #[test]
        fn any_text_can_be_folded(text in "(.|\n|\x1b\\[|  ){0,200}") {
            let kept = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(kept(&fold(&text)), kept(&text));
        }
    }
}
