//! What a scalar without quotes is.

use super::ScalarKind;

/// What YAML 1.2's core schema takes a plain scalar for.
pub(super) fn plain_kind(text: &str) -> ScalarKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => ScalarKind::Bool,
        _ if is_integer(text) => ScalarKind::Integer,
        _ if is_float(text) => ScalarKind::Float,
        _ => ScalarKind::Text,
    }
}

fn is_integer(text: &str) -> bool {
    let all = |digits: &str, good: fn(&u8) -> bool| !digits.is_empty() && digits.as_bytes().iter().all(good);
    if let Some(octal) = text.strip_prefix("0o") {
        return all(octal, |b| matches!(b, b'0'..=b'7'));
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return all(hex, u8::is_ascii_hexdigit);
    }
    all(text.strip_prefix(['-', '+']).unwrap_or(text), u8::is_ascii_digit)
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    // Rust reads `inf`, `infinity` and `nan` too, which are words in YAML.
    unsigned.bytes().next().is_some_and(|b| b.is_ascii_digit() || b == b'.')
        && unsigned.bytes().any(|b| b.is_ascii_digit())
        && unsigned.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema_of_yaml_1_2() {
        for (kind, texts) in [
            (ScalarKind::Null, &["", "~", "null", "Null", "NULL"][..]),
            (ScalarKind::Bool, &["true", "False", "TRUE"]),
            (ScalarKind::Integer, &["0", "-1", "+7", "007", "0o17", "0xfF"]),
            (ScalarKind::Float, &["1.5", "-1.", ".5", "1e3", "+1.5E-7", ".inf", "-.INF", ".NaN"]),
            (
                ScalarKind::Text,
                &[
                    "yes", "no", "on", "nULL", "tRUE", "1_000", "0b1", "0o8", "0x", "-", "+", ".", "-.", "e3", "inf",
                    "nan",
                ],
            ),
            (ScalarKind::Text, &["1.2.3", "10.0.0.1:80", "1s", "100/s", "infinity", "-.nan", "1e", "--1", "+-1"]),
        ] {
            for text in texts {
                assert_eq!(plain_kind(text), kind, "{text}");
            }
        }
    }
}
