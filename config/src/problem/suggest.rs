//! "did you mean": the known word nearest to one that is unknown.

/// The nearest of the known words, if one is near enough to be what was meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = simplified(word);
    // A third of the letters may differ: `adress` finds `address`, `foo` does not find `for` and `from`.
    let most = (plain.chars().count() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        let other = simplified(candidate);
        // Tens of thousands of names may be known; the length alone rules most of them out.
        if other.len().abs_diff(plain.len()) > most * 4 {
            continue;
        }
        let distance = strsim::damerau_levenshtein(&plain, &other);
        if distance <= most && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Case and the ways to join words are no difference: `fail_timeout` is `failTimeout`.
fn simplified(word: &str) -> String {
    word.chars().take(256).filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// `did you mean "x"?`, if a known word is near enough.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|found| format!("did you mean {}?", super::quoted(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["address", "weight", "backup", "failTimeout"];
        assert_eq!(nearest("adress", known), Some("address"));
        assert_eq!(nearest("Weight", known), Some("weight"));
        assert_eq!(nearest("fail_timeout", known), Some("failTimeout"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
