//! Documents as people write them: YAML made from the JSON that is stored, with the fields in their own order.
//!
//! Only what this needs of YAML: maps and lists as blocks, and every text in quotes that any reader, also one of YAML 1.1,
//! could take for something else. What is written here and read again says the same, which a test checks.

use std::fmt::{self, Write};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// A JSON value that keeps the order of its fields.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

/// A document as YAML, from its JSON; what is no JSON is shown as it is, as far as it is text.
pub fn from_json(bytes: &[u8]) -> String {
    let Ok(tree) = serde_json::from_slice::<Tree>(bytes) else {
        // It goes to a terminal, which nothing in it may steer.
        let harmless = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
        let mut text: String = String::from_utf8_lossy(bytes).chars().map(harmless).collect();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        return text;
    };
    let mut out = String::new();
    block(&mut out, &tree, 0);
    out
}

/// Writes a value that begins on a line of its own, or after `- `.
fn block(out: &mut String, tree: &Tree, depth: usize) {
    match tree {
        Tree::Map(fields) if !fields.is_empty() => {
            for (n, (key, value)) in fields.iter().enumerate() {
                if n > 0 {
                    indent(out, depth);
                }
                scalar(out, key);
                out.push(':');
                nested(out, value, depth, depth + 1);
            }
        }
        Tree::List(items) if !items.is_empty() => {
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    indent(out, depth);
                }
                out.push('-');
                out.push(' ');
                block(out, item, depth + 1);
            }
        }
        Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::Text(_) | Tree::List(_) | Tree::Map(_) => {
            leaf(out, tree);
            out.push('\n');
        }
    }
}

/// Writes what follows a `:`: a leaf on the same line, the rest on lines below.
fn nested(out: &mut String, tree: &Tree, depth: usize, below: usize) {
    let (filled, at) = match tree {
        Tree::Map(fields) => (!fields.is_empty(), below),
        // A list stands as deep as its key, as most people write it.
        Tree::List(items) => (!items.is_empty(), depth),
        Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::Text(_) => (false, below),
    };
    if filled {
        out.push('\n');
        indent(out, at);
    } else {
        out.push(' ');
    }
    block(out, tree, at);
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn leaf(out: &mut String, tree: &Tree) {
    // Writing to a String cannot fail.
    let _ = match tree {
        Tree::Null => write!(out, "null"),
        Tree::Bool(value) => write!(out, "{value}"),
        Tree::Number(number) => write!(out, "{number}"),
        Tree::Text(text) => {
            scalar(out, text);
            Ok(())
        }
        Tree::List(_) => write!(out, "[]"),
        Tree::Map(_) => write!(out, "{{}}"),
    };
}

fn scalar(out: &mut String, text: &str) {
    if is_plain(text) { out.push_str(text) } else { quote(out, text) }
}

/// Whether every reader takes these characters for a text, without quotes.
fn is_plain(text: &str) -> bool {
    /// Words that some version of YAML takes for something else.
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let bytes = text.as_bytes();
    let Some((first, rest)) = bytes.split_first() else { return false };
    let opens = first.is_ascii_alphanumeric() || *first == b'/';
    // A colon is safe where no blank follows, and text that ends with one has quotes.
    let inner =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-' | b'@' | b'+' | b'=' | b':');
    let dots = text.matches('.').count();
    let numeric = |b: &u8| b.is_ascii_hexdigit() || matches!(b, b'.' | b'_' | b':' | b'+' | b'-' | b'x' | b'o');
    // Numbers, dates, hours and minutes, whatever their notation; two dots make it none of them.
    let number = first.is_ascii_digit() && dots < 2 && bytes.iter().all(numeric);
    opens
        && rest.iter().all(inner)
        && !number
        && !text.ends_with(':')
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        let _ = match c {
            '"' => write!(out, "\\\""),
            '\\' => write!(out, "\\\\"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                write!(out, "\\u{:04x}", u32::from(c))
            }
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Build)
    }
}

struct Build;

impl<'de> Visitor<'de> for Build {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Number::from_f64(value).map_or(Tree::Null, Tree::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = entries.next_entry()? {
            fields.push(field);
        }
        Ok(Tree::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use gridrouter_config::codec::to_json;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Value {
        to_json("test", text.as_bytes()).unwrap_or_else(|problem| panic!("{problem:?} in\n{text}"))
    }

    #[test]
    fn looks_as_people_write_it() {
        let json = br#"{"kind":"Service","name":"checkout","cells":{"eu-1":{"blue":[{"address":"127.0.0.1:9101","weight":4}],"green":[]}},"hosts":["*.a","b"],"rate":"100/s","share":1.25}"#;
        let wanted = "\
kind: Service
name: checkout
cells:
  eu-1:
    blue:
    - address: 127.0.0.1:9101
      weight: 4
    green: []
hosts:
- \"*.a\"
- b
rate: 100/s
share: 1.25
";
        assert_eq!(from_json(json), wanted);
        assert_eq!(from_json(b"no json\x1b[2J"), "no json\u{fffd}[2J\n");
    }

    #[test]
    fn what_could_be_taken_for_something_else_is_in_quotes() {
        for text in
            ["", "no", "On", "1", "1.5", "1e3", "0x1f", "12:30", "2026-01-01", "a: b", "a:", "- a", "#", "~", " a"]
        {
            assert!(!is_plain(text), "{text}");
        }
        for text in ["eu-1", "127.0.0.1:8080", "30s", "100/s", "/api/x", "a.example.com", "no-cache", "Accept"] {
            assert!(is_plain(text), "{text}");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ -~]{0,12}".prop_map(Value::from),
            "\\PC{0,6}".prop_map(Value::from),
            prop::sample::select(vec![
                "a\nb",
                "\u{85}",
                "\u{feff}x",
                "\u{7f}",
                "0o7",
                ".5",
                "+1",
                "a # b",
                "[a]",
                "1_000"
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-zA-Z0-9 :.-]{1,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_and_read_again_is_the_same(value in values()) {
            let value = json!({ "kind": "Any", "value": value });
            let text = from_json(&serde_json::to_vec(&value).unwrap());
            prop_assert_eq!(read(&text), value, "{}", text);
        }
    }
}
