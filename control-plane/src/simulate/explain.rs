//! What is wrong with a line of a trace. Looked for only when something is.

use std::sync::Arc;

use gridrouter_config::problem::{Problem, did_you_mean};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

const FIELDS: [&str; 6] = ["at_ns", "key", "cost", "release", "took_ns", "served"];
const EXAMPLE: &str = "write an object a line, such as {\"at_ns\": 0, \"key\": \"a\", \"cost\": 1}";

/// What is wrong, where on its line, and what to write.
#[derive(Debug)]
pub(super) struct Wrong {
    column: usize,
    length: usize,
    message: String,
    help: String,
}

impl Wrong {
    fn new(text: &str, at: usize, length: usize, message: impl Into<String>, help: impl Into<String>) -> Self {
        let column = text.get(..at).unwrap_or(text).chars().count() + 1;
        Self { column, length: length.max(1), message: message.into(), help: help.into() }
    }

    /// As a problem of the file's first line.
    pub(super) fn problem(self, file: &Arc<str>) -> Problem {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let problem = Problem::of_file(file, self.message).with_help(self.help);
        Problem { column: number(self.column), length: number(self.length), ..problem }
    }
}

pub(super) fn not_utf8(bytes: &[u8], good: usize) -> Wrong {
    let before = String::from_utf8_lossy(bytes.get(..good).unwrap_or_default());
    let byte = bytes.get(good).copied().unwrap_or_default();
    Wrong::new(&before, before.len(), 1, format!("byte 0x{byte:02x} is not UTF-8"), "save the file as UTF-8 text")
}

pub(super) fn too_long(most: u64) -> Wrong {
    Wrong::new("", 0, 1, format!("a line is longer than {most} bytes"), EXAMPLE)
}

/// What is wrong with a line that is. `error` is what serde says of it.
pub(super) fn wrong(text: &str, error: Option<&serde_json::Error>) -> Wrong {
    let start = text.len() - text.trim_start().len();
    let whole = |message: String| Wrong::new(text, start, 1, message, EXAMPLE);
    match serde_json::from_str::<Value>(text) {
        Err(error) => {
            let message = error.to_string();
            let message = message.rsplit_once(" at line").map_or(&*message, |(what, _)| what);
            Wrong::new(text, error.column().saturating_sub(1), 1, format!("not JSON: {message}"), EXAMPLE)
        }
        Ok(Value::Object(_)) => {
            let fields = fields(text, start).unwrap_or_default();
            let found = first_wrong(text, &fields);
            let missing = || {
                let help = "write when it comes: {\"at_ns\": 0}";
                let is_missing = fields.iter().all(|field| field.name != "at_ns");
                is_missing.then(|| Wrong::new(text, start, 1, "at_ns is missing", help))
            };
            let unknown = || whole(error.map_or_else(|| "a line is not understood".to_owned(), ToString::to_string));
            found.or_else(missing).unwrap_or_else(unknown)
        }
        Ok(other) => whole(format!("a line is an object, and not {}", kind(&other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A field and where it is.
struct Field<'a> {
    name: String,
    /// Where its name begins, its quotes included, and their length in characters.
    name_at: usize,
    name_length: usize,
    value_at: usize,
    /// As it is written.
    value: &'a str,
}

impl Field<'_> {
    fn says<'t, T: Deserialize<'t>>(&'t self) -> bool {
        serde_json::from_str::<T>(self.value).is_ok()
    }
}

/// The fields of an object that begins at `start` of a text that is JSON, in their order.
fn fields(text: &str, start: usize) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    let mut at = start + 1;
    loop {
        at = skip(text, at, ',');
        let (name, name_end) = value::<String>(text, at)?;
        let value_at = skip(text, name_end, ':');
        let (IgnoredAny, value_end) = value::<IgnoredAny>(text, value_at)?;
        let name_length = text.get(at..name_end)?.chars().count();
        fields.push(Field { name, name_at: at, name_length, value_at, value: text.get(value_at..value_end)? });
        at = value_end;
        if skip(text, at, ' ') >= text.trim_end().len() - 1 {
            return Some(fields);
        }
    }
}

/// Where something other than blanks and this separator comes.
fn skip(text: &str, at: usize, separator: char) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == separator).len()
}

/// A JSON value and where it ends.
fn value<'a, T: Deserialize<'a>>(text: &'a str, at: usize) -> Option<(T, usize)> {
    let mut values = serde_json::Deserializer::from_str(text.get(at..)?).into_iter::<T>();
    let value = values.next()?.ok()?;
    Some((value, at + values.byte_offset()))
}

/// The first field with which something is wrong.
fn first_wrong(text: &str, fields: &[Field<'_>]) -> Option<Wrong> {
    let release = fields.iter().any(|field| field.name == "release" && field.value == "true");
    fields.iter().enumerate().find_map(|(number, field)| {
        let of_name = |message: String, help: String| Wrong::new(text, field.name_at, field.name_length, message, help);
        let name = field.name.as_str();
        let known = FIELDS.contains(&name);
        if !known {
            let help = did_you_mean(name, FIELDS).unwrap_or_else(|| format!("a line has {}", FIELDS.join(", ")));
            return Some(of_name(format!("unknown field \"{}\"", name.escape_debug()), help));
        }
        if fields.iter().take(number).any(|other| other.name == name) {
            return Some(of_name(format!("field \"{name}\" is there twice"), "leave one of them out".to_owned()));
        }
        let absent = field.value == "null";
        let (right, help) = match name {
            "at_ns" => (field.says::<u64>(), "write a whole number of nanoseconds, 0 or more"),
            "took_ns" => (absent || field.says::<u64>(), "write a whole number of nanoseconds, 0 or more"),
            "cost" => (absent || field.says::<std::num::NonZeroU32>(), "write a whole number, 1 to 4294967295"),
            "key" => (field.says::<String>(), "write a text in quotes"),
            "served" => (absent || field.says::<bool>(), "write true or false"),
            _ => (field.says::<bool>(), "write true or false"),
        };
        if !right {
            let shown = cut(field.value);
            let length = field.value.chars().count();
            return Some(Wrong::new(text, field.value_at, length, format!("{name} is {shown}"), help));
        }
        let stray = !release && !absent && matches!(name, "took_ns" | "served");
        stray.then(|| {
            let help = "write \"release\": true with it, or leave it out";
            of_name(format!("{name} is of a release"), help.to_owned())
        })
    })
}

/// A value as messages show it.
fn cut(value: &str) -> String {
    const LONGEST: usize = 40;
    let mut shown: String = value.chars().take(LONGEST).collect();
    if value.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
