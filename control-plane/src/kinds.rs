//! The words that people use for kinds of documents, and for documents.

use gridrouter_config::ids::{DocumentId, Kind, Name};
use gridrouter_config::problem::did_you_mean;

/// The short form of a kind.
const fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::Listener => "li",
        Kind::Certificate => "crt",
        Kind::Grid => "gr",
        Kind::Cell => "ce",
        Kind::Service => "svc",
        Kind::Route => "rt",
        Kind::Limit => "lim",
        Kind::Plan => "pl",
        Kind::Shift => "sh",
        Kind::Move => "mv",
        Kind::Tenant => "tn",
    }
}

/// Reads a kind in any case, in the singular, in the plural or in its short form.
pub fn parse_kind(word: &str) -> Result<Kind, String> {
    let lower = word.to_lowercase();
    let singular = lower.strip_suffix('s').unwrap_or(&lower);
    let is = |kind: &Kind| {
        let name = kind.as_str().to_lowercase();
        name == lower || name == singular || short(*kind) == lower
    };
    Kind::ALL.into_iter().find(is).ok_or_else(|| {
        let known = Kind::ALL.map(Kind::as_str);
        let help = did_you_mean(singular, known).unwrap_or_else(|| {
            let words = Kind::ALL.map(|kind| format!("{} ({})", kind.as_str().to_lowercase(), short(kind)));
            format!("the kinds are {}", words.join(", "))
        });
        format!("unknown kind \"{}\"; {help}", word.escape_debug())
    })
}

/// Reads a document's name.
pub fn parse_name(kind: Kind, name: &str) -> Result<DocumentId, String> {
    let name = if kind == Kind::Tenant { Name::tenant(name)? } else { Name::parse(name)? };
    Ok(DocumentId { kind, name })
}

/// What `KIND NAME…` or `KIND/NAME…` names: a kind, and documents.
#[derive(Debug, PartialEq, Eq)]
pub enum Selection {
    /// Everything.
    All,
    /// Every document of a kind.
    Kind(Kind),
    /// These documents.
    Documents(Vec<DocumentId>),
}

/// Reads `KIND`, `KIND NAME…` or `KIND/NAME…`.
pub fn select(words: &[String]) -> Result<Selection, String> {
    let Some((first, names)) = words.split_first() else { return Ok(Selection::All) };
    if first.contains('/') {
        let pair = |word: &String| {
            let (kind, name) = word
                .split_once('/')
                .ok_or_else(|| format!("\"{}\" is not KIND/NAME, as the first one is", word.escape_debug()))?;
            parse_name(parse_kind(kind)?, name)
        };
        return Ok(Selection::Documents(words.iter().map(pair).collect::<Result<_, _>>()?));
    }
    if names.is_empty() && first.eq_ignore_ascii_case("all") {
        return Ok(Selection::All);
    }
    let kind = parse_kind(first)?;
    if names.is_empty() {
        return Ok(Selection::Kind(kind));
    }
    Ok(Selection::Documents(names.iter().map(|name| parse_name(kind, name)).collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_many_words() {
        for word in ["Route", "route", "ROUTES", "routes", "rt"] {
            assert_eq!(parse_kind(word), Ok(Kind::Route));
        }
        assert_eq!(parse_kind("svc"), Ok(Kind::Service));
        assert!(parse_kind("tennants").unwrap_err().contains("did you mean \"Tenant\"?"));
        assert!(parse_kind("pod").unwrap_err().contains("listener (li)"));
    }

    #[test]
    fn documents_are_named_in_two_ways() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let two =
            Selection::Documents(vec![parse_name(Kind::Cell, "a").unwrap(), parse_name(Kind::Cell, "b").unwrap()]);
        assert_eq!(select(&words("cells a b")).unwrap(), two);
        assert_eq!(select(&words("cell/a Cell/b")).unwrap(), two);
        let odd = Selection::Documents(vec![parse_name(Kind::Tenant, "a/b").unwrap()]);
        assert_eq!(select(&words("tn/a/b")).unwrap(), odd);
        assert_eq!(select(&words("tn a/b")).unwrap(), odd);
        assert_eq!(select(&[]).unwrap(), Selection::All);
        assert_eq!(select(&words("limits")).unwrap(), Selection::Kind(Kind::Limit));
        assert!(select(&words("cell/a b")).unwrap_err().contains("is not KIND/NAME"));
        assert!(select(&words("cell A")).is_err());
    }
}
