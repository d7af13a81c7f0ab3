//! Rust sources as the layout tests read them: comments, strings and tests told apart from code.
//!
//! Always true: line numbers survive, so that every finding can be shown in its file. This is not a
//! parser; it relies on the sources being formatted by rustfmt, which the gate checks first.

use std::path::{Path, PathBuf};

/// One `.rs` file.
pub(super) struct Source {
    /// Relative to the workspace, for messages.
    pub(super) path: String,
    /// As written.
    pub(super) text: String,
    /// Without tests at its end; comments and the insides of strings are blanks.
    pub(super) code: String,
    /// The same, but strings stay.
    pub(super) code_and_strings: String,
}

impl Source {
    /// Reads `text` as if it stood in `path`.
    pub(super) fn new(path: &str, text: &str) -> Self {
        let body = without_tests(text);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: blank(&body, Keep::CodeOnly),
            code_and_strings: blank(&body, Keep::Strings),
        }
    }

    /// A file that holds nothing but tests.
    pub(super) fn is_test(&self) -> bool {
        let parts: Vec<&str> = self.path.split('/').collect();
        parts.iter().any(|part| matches!(*part, "tests.rs" | "benches" | "examples"))
            || parts.iter().skip(1).any(|part| matches!(*part, "tests" | "cases"))
    }

    /// Lines that count: all but the tests at the end.
    pub(super) fn lines(&self) -> usize {
        self.code.lines().count()
    }
}

/// Every `.rs` file below `folder` of the workspace at `root`, in a stable order.
pub(super) fn read(root: &Path, folder: &str) -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root.join(folder), &mut files);
    files.sort();
    assert!(!files.is_empty(), "no .rs file below {folder}: the layout test would check nothing");
    let relative = |file: &Path| file.strip_prefix(root).expect("below root").to_string_lossy().into_owned();
    files
        .iter()
        .map(|file| Source::new(&relative(file), &std::fs::read_to_string(file).expect("a readable source")))
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Drops every `#[cfg(test)] mod … { … }` that starts a line, and all it holds.
fn without_tests(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let opens_tests = line.starts_with("#[cfg(test)]")
            && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if opens_tests {
            lines.by_ref().find(|line| *line == "}");
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

#[derive(Clone, Copy, PartialEq)]
enum Keep {
    CodeOnly,
    Strings,
}

/// Replaces comments, and strings unless kept, by blanks; lines stay where they are.
fn blank(text: &str, keep: Keep) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, kept) = match token(rest) {
            Some((Token::Comment, length)) => (length, false),
            Some((Token::Text, length)) => (length, keep == Keep::Strings),
            None => (first.len_utf8(), true),
        };
        let (head, tail) = rest.split_at(length);
        if kept {
            out.push_str(head);
        } else {
            out.extend(head.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = tail;
    }
    out
}

enum Token {
    Comment,
    Text,
}

/// The comment or literal that `rest` begins with, and its length in bytes.
fn token(rest: &str) -> Option<(Token, usize)> {
    if rest.starts_with("//") {
        return Some((Token::Comment, rest.find('\n').unwrap_or(rest.len())));
    }
    if rest.starts_with("/*") {
        return Some((Token::Comment, rest.find("*/").map_or(rest.len(), |end| end + 2)));
    }
    if rest.starts_with('"') {
        return Some((Token::Text, closed(rest, '"')));
    }
    for hashes in ["###", "##", "#", ""] {
        if rest.strip_prefix('r').and_then(|r| r.strip_prefix(hashes)).is_some_and(|r| r.starts_with('"')) {
            let start = 2 + hashes.len();
            let end = format!("\"{hashes}");
            let length = rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len());
            return Some((Token::Text, length));
        }
    }
    let mut characters = rest.chars();
    if characters.next() == Some('\'') {
        let (second, third) = (characters.next(), characters.next());
        if second == Some('\\') || third == Some('\'') {
            return Some((Token::Text, closed(rest, '\''))); // otherwise it is a lifetime
        }
    }
    None
}

/// Length of a literal with escapes, quotes included.
fn closed(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// The words of `text` with the line each stands in: `ReadHolding_registers` is `read`, `holding`,
/// `registers`.
pub(super) fn words(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut word = String::new();
        let mut before = ' ';
        for c in line.chars().chain([' ']) {
            let starts_word = c.is_ascii_uppercase() && before.is_ascii_lowercase();
            if (!c.is_ascii_alphabetic() || starts_word) && !word.is_empty() {
                found.push((number + 1, std::mem::take(&mut word)));
            }
            if c.is_ascii_alphabetic() {
                word.push(c.to_ascii_lowercase());
            }
            before = c;
        }
    }
    found
}

/// What `text` names below `crate::`, with the line: `use crate::{row::Row, status}` names `row` and
/// `status`.
pub(super) fn crate_rooms(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, marker) in text.match_indices("crate::") {
        if text[..at].ends_with('$') {
            continue;
        }
        let line = text[..at].matches('\n').count() + 1;
        let rest = &text[at + marker.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group).into_iter().map(|name| (line, name))),
            None => found.push((line, identifier(rest))),
        }
    }
    found
}

/// Where a module is named as seen from the crate's root, where nothing stands before it.
pub(super) fn rooms_of_the_root(text: &str, module: &str) -> Vec<(usize, String)> {
    let path = format!("{module}::");
    let alone = |at: &usize| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    let starts = text.match_indices(&path).map(|(at, _)| at).filter(alone);
    starts.map(|at| (text[..at].matches('\n').count() + 1, module.to_owned())).collect()
}

/// Every chain of `super::`, with its line and how long it is.
pub(super) fn supers(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line;
        while let Some(at) = rest.find("super::") {
            rest = &rest[at..];
            let mut length = 0;
            while let Some(more) = rest.strip_prefix("super::") {
                (rest, length) = (more, length + 1);
            }
            found.push((number + 1, length));
        }
    }
    found
}

/// First names of a `use` group whose `{` was taken off.
fn group_heads(group: &str) -> Vec<String> {
    let (mut heads, mut depth, mut expect_name) = (Vec::new(), 1, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => expect_name = true,
            c if expect_name && !c.is_whitespace() => {
                heads.push(identifier(&group[at..]));
                expect_name = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Functions with the line they start in and how many lines they take.
pub(super) fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let Some(at) = trimmed.find("fn ") else { continue };
        let leads = trimmed[..at].split_whitespace().all(|word| {
            word.starts_with("pub")
                || word.ends_with(')')
                || matches!(word, "const" | "async" | "unsafe" | "in")
        });
        if !leads {
            continue;
        }
        let indent = &line[..line.len() - trimmed.len()];
        let ends = |line: &&str| match line.trim_end().strip_prefix(indent) {
            Some(rest) => rest == "}" || (rest.starts_with(')') && rest.ends_with(';')),
            None => false,
        };
        let one_line = trimmed.trim_end().ends_with(['}', ';']);
        let more = if one_line { 0 } else { 1 + lines[start + 1..].iter().take_while(|l| !ends(l)).count() };
        found.push((start + 1, identifier(&trimmed[at + 3..]), 1 + more));
    }
    found
}
