//! Regular expressions.

use regex::{Error, Regex, RegexBuilder};

use crate::problem::quoted;

/// The most memory that one compiled expression may take. `\w{100}` alone takes more than the crate's own examples
/// suggest; 1 MiB is enough for every sane pattern and keeps 1,000 insane ones from taking the machine.
const SIZE_LIMIT: usize = 1 << 20;

/// Compiles an expression that must match a whole value.
pub(super) fn anchored(pattern: &str) -> Result<Regex, String> {
    // By itself first: `a)|(b` is no good expression, and would become one between the anchors.
    build(pattern).map_err(|error| explain(pattern, &error))?;
    // The line break ends a comment, should the pattern switch to verbose mode and end with one.
    let verbose = pattern.contains("(?") && pattern.contains('#');
    let end = if verbose { "\n)$" } else { ")$" };
    build(&format!("^(?:{pattern}{end}")).map_err(|error| explain(pattern, &error))
}

fn build(pattern: &str) -> Result<Regex, Error> {
    RegexBuilder::new(pattern).size_limit(SIZE_LIMIT).nest_limit(64).build()
}

fn explain(pattern: &str, error: &Error) -> String {
    let shown = quoted(pattern);
    if let Error::CompiledTooBig(_) = error {
        return format!("regex {shown} is too big; write a simpler one, or an exact or prefix match");
    }
    let text = error.to_string();
    let reason = text.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or("not valid");
    match position(&text) {
        Some(n) => format!("regex {shown} is wrong at character {n}: {reason}"),
        None => format!("regex {shown} is wrong: {reason}"),
    }
}

/// Where in the pattern, starting at 1. The crate marks the place with a caret below the pattern, both indented by
/// four blanks.
fn position(text: &str) -> Option<usize> {
    let line = text.lines().find(|line| line.trim_start().starts_with('^'))?;
    line.chars().position(|c| c == '^')?.checked_sub(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_value_must_match() {
        let regex = anchored("/a|/b").unwrap();
        assert!(regex.is_match("/a") && regex.is_match("/b"));
        assert!(!regex.is_match("/ab") && !regex.is_match("x/b") && !regex.is_match("/b\n"));
        assert!(anchored("(?x) /a # the letter").unwrap().is_match("/a"));
        assert!(anchored("(?m)a").is_ok_and(|regex| !regex.is_match("x\na\nx")));
    }

    #[test]
    fn mistakes_are_placed() {
        assert_eq!(anchored("/a(b").unwrap_err(), "regex \"/a(b\" is wrong at character 3: unclosed group");
        assert!(anchored("a)|(?:b").unwrap_err().contains("at character 2"));
        assert!(anchored("[z-a]").unwrap_err().contains("at character 2"));
        assert!(anchored(r"(\w{500}){100}").unwrap_err().contains("too big"));
        assert!(anchored(&"(".repeat(100_000)).is_err());
    }
}
