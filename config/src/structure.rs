//! Checks a tree against the JSON Schema that is generated from the raw types, and turns it into one of them. All
//! problems at once, each at its place.

mod gaps;
mod shape;

pub(crate) use gaps::{Gaps, STAND_IN, fill};

use std::sync::Arc;

use serde_json::{Map, Number};

use crate::ids::Kind;
use crate::node::{Entry, Mark, Node, Scalar, ScalarKind, Value};
use crate::path::Path;
use crate::problem::{Found, Problem, did_you_mean, nearest, quoted};
use crate::raw;

use shape::{Field, Shape};

/// The kind that a document says it is.
pub(crate) fn kind(file: &Arc<str>, root: &Node) -> Result<Kind, Box<Problem>> {
    let kinds = Kind::ALL.map(Kind::as_str);
    let path = Path::Root.key("kind");
    let Some(entry) = root.entry("kind") else {
        let keys = root.entries().iter().map(|entry| &*entry.key);
        let help = match nearest("kind", keys).and_then(|key| root.entry(key)) {
            Some(entry) => format!("line {} has `{}`; write `kind`", entry.key_at.line, entry.key),
            None => format!("begin it with `kind:` and one of {}", kinds.join(", ")),
        };
        return Err(Box::new(problem(file, root.at, &Path::Root, "document has no `kind`").with_help(help)));
    };
    let Some(word) = entry.value.text() else {
        let message = format!("`kind` must be a word, not {}", found(&entry.value));
        let help = format!("write one of {}", kinds.join(", "));
        return Err(Box::new(problem(file, entry.mark(), &path, message).with_help(help)));
    };
    Kind::parse(word).ok_or_else(|| {
        let help = did_you_mean(word, kinds).unwrap_or_else(|| format!("write one of {}", kinds.join(", ")));
        Box::new(problem(file, entry.mark(), &path, format!("unknown kind {}", quoted(word))).with_help(help))
    })
}

/// Everything about the tree's shape that is not as this kind wants it.
pub(crate) fn check(file: &Arc<str>, kind: Kind, root: &Node) -> Vec<Problem> {
    let mut walk = Walk { file, found: Found::default() };
    walk.node(root, root.at, shape::of_kind(kind), &Path::Root);
    walk.found.into_told()
}

/// The tree as a raw document. The tree has been checked, so an error here is a gap in the check.
pub(crate) fn to_raw(root: &Node) -> Result<raw::Document, String> {
    serde_json::from_value(to_json(root)).map_err(|error| error.to_string())
}

pub(crate) fn to_json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Refused => serde_json::Value::Null,
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => {
            let fields: Map<_, _> =
                entries.iter().map(|entry| (entry.key.to_string(), to_json(&entry.value))).collect();
            serde_json::Value::Object(fields)
        }
        Value::Scalar(scalar) => scalar_to_json(scalar),
    }
}

fn scalar_to_json(scalar: &Scalar) -> serde_json::Value {
    match scalar.kind {
        ScalarKind::Null => serde_json::Value::Null,
        ScalarKind::Bool => scalar.text.starts_with(['t', 'T']).into(),
        ScalarKind::Text => scalar.text.to_string().into(),
        ScalarKind::Integer => match integer(&scalar.text).map(|n| (u64::try_from(n), i64::try_from(n))) {
            Some((Ok(positive), _)) => positive.into(),
            Some((_, Ok(negative))) => negative.into(),
            Some((Err(_), Err(_))) | None => scalar.text.to_string().into(),
        },
        ScalarKind::Float => scalar.text.parse().ok().and_then(Number::from_f64).into(),
    }
}

fn integer(text: &str) -> Option<i128> {
    if let Some(octal) = text.strip_prefix("0o") {
        return i128::from_str_radix(octal, 8).ok();
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return i128::from_str_radix(hex, 16).ok();
    }
    text.parse().ok()
}

fn problem(file: &Arc<str>, at: Mark, path: &Path<'_>, message: impl Into<String>) -> Problem {
    Problem { path: path.to_string(), ..Problem::at(file, at, message) }
}

struct Walk<'a> {
    file: &'a Arc<str>,
    found: Found,
}

impl Walk<'_> {
    fn say(&mut self, at: Mark, path: &Path<'_>, message: impl Into<String>, help: Option<String>) {
        self.found.add(|| Problem { help, ..problem(self.file, at, path, message) });
    }

    /// Checks a value that is to be pointed to at `at`.
    fn node(&mut self, node: &Node, at: Mark, shape: &Shape, path: &Path<'_>) {
        match (shape, &node.value) {
            (Shape::Any, _) | (_, Value::Refused) => {}
            (Shape::List(inner), Value::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.node(item, item.at, inner, &path.index(index));
                }
            }
            (Shape::Map(inner), Value::Map(entries)) => {
                for entry in entries {
                    self.node(&entry.value, entry.mark(), inner, &path.key(&entry.key));
                }
            }
            (Shape::Fields(fields) | Shape::Either { fields, .. }, Value::Map(entries)) => {
                self.fields(entries, at, fields, path);
            }
            (Shape::Choice { words, fields }, Value::Map(entries)) => self.one_of(entries, at, words, fields, path),
            (Shape::Choice { words, fields }, Value::Scalar(scalar)) => {
                self.word(node, scalar, at, words, fields, path);
            }
            (Shape::Either { scalar: inner, .. }, Value::Scalar(scalar)) => {
                // Of a number that is too big that is said; of all else what would do instead.
                let shape = if scalar.kind == ScalarKind::Integer { inner } else { shape };
                self.scalar(node, scalar, at, shape, path);
            }
            (_, Value::Scalar(scalar)) => self.scalar(node, scalar, at, shape, path),
            (_, Value::List(_) | Value::Map(_)) => self.wrong_type(node, at, shape, path),
        }
    }

    fn fields(&mut self, entries: &[Entry], at: Mark, fields: &[Field], path: &Path<'_>) {
        for entry in entries {
            let path = path.key(&entry.key);
            match fields.iter().find(|field| field.name == *entry.key) {
                None => self.unknown_field(entry, fields, &path),
                Some(field) if field.nullable && entry.value.is_null() => {}
                Some(field) => self.node(&entry.value, entry.mark(), &field.shape, &path),
            }
        }
        for field in fields.iter().filter(|field| field.required) {
            if !entries.iter().any(|entry| *entry.key == *field.name) {
                let message = format!("missing field `{}`", field.name);
                let help = format!("add `{}: {}`", field.name, example(&field.shape));
                self.say(at, path, message, Some(help));
            }
        }
    }

    fn unknown_field(&mut self, entry: &Entry, fields: &[Field], path: &Path<'_>) {
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        let help = did_you_mean(&entry.key, names.iter().copied())
            .or_else(|| Some(format!("the fields here are {}", ticked(&names, "and"))));
        self.say(entry.key_at, path, format!("unknown field {}", quoted(&entry.key)), help);
    }

    /// A map with exactly one of several fields.
    fn one_of(&mut self, entries: &[Entry], at: Mark, words: &[String], fields: &[Field], path: &Path<'_>) {
        let before = self.found.count();
        for entry in entries {
            let path = path.key(&entry.key);
            match fields.iter().find(|field| field.name == *entry.key) {
                Some(field) => self.node(&entry.value, entry.mark(), &field.shape, &path),
                None if words.iter().any(|word| *word == *entry.key) => {
                    let help = format!("write `{}` alone", entry.key);
                    self.say(entry.key_at, &path, format!("`{}` takes no value", entry.key), Some(help));
                }
                None => self.unknown_field(entry, fields, &path),
            }
        }
        if self.found.count() == before && entries.len() != 1 {
            let given: Vec<&str> = entries.iter().map(|entry| &*entry.key).collect();
            let what = if given.is_empty() { "nothing".to_owned() } else { ticked(&given, "and") };
            let message = format!("exactly one of {} is wanted, not {what}", options(words, fields));
            self.say(at, path, message, (given.len() > 1).then(|| "make an item of each, or keep one".to_owned()));
        }
    }

    /// A word where one of several is wanted.
    fn word(&mut self, node: &Node, scalar: &Scalar, at: Mark, words: &[String], fields: &[Field], path: &Path<'_>) {
        if scalar.kind == ScalarKind::Text && words.iter().any(|word| *word == *scalar.text) {
            return;
        }
        let message = format!("expected {}, got {}", options(words, fields), found(node));
        let text = &*scalar.text;
        let known = words.iter().map(String::as_str).chain(fields.iter().map(|field| field.name.as_str()));
        let help = if let Some(field) = fields.iter().find(|field| field.name == text) {
            Some(format!("write `{{{text}: {}}}`", example(&field.shape)))
        } else if words.is_empty() && scalar.kind == ScalarKind::Text {
            let first = fields.iter().find(|field| field.name == "prefix").or(fields.first());
            first.map(|field| format!("write `{{{}: {text}}}`", field.name))
        } else {
            did_you_mean(text, known)
        };
        self.say(at, path, message, help);
    }

    fn scalar(&mut self, node: &Node, scalar: &Scalar, at: Mark, shape: &Shape, path: &Path<'_>) {
        match (shape, scalar.kind) {
            (Shape::Text, ScalarKind::Text) | (Shape::Flag, ScalarKind::Bool) => {}
            (Shape::Number, ScalarKind::Integer | ScalarKind::Float) => {
                if !scalar.text.parse().is_ok_and(f64::is_finite) && integer(&scalar.text).is_none() {
                    self.say(at, path, format!("{} is not a finite number", scalar.text), None);
                }
            }
            (Shape::Integer { least, most }, ScalarKind::Integer) => match integer(&scalar.text) {
                Some(n) if n >= *least && n <= *most => {}
                Some(n) if n < *least => {
                    let help =
                        if *least == 0 { "it cannot be negative".to_owned() } else { format!("the least is {least}") };
                    self.say(at, path, format!("{n} is too small"), Some(help));
                }
                _ => self.say(at, path, format!("{} is too big", scalar.text), Some(format!("the most is {most}"))),
            },
            _ => self.wrong_type(node, at, shape, path),
        }
    }

    fn wrong_type(&mut self, node: &Node, at: Mark, shape: &Shape, path: &Path<'_>) {
        let message = format!("expected {}, got {}", wanted(shape), found(node));
        self.say(at, path, message, advice(node, shape));
    }
}

/// What to write instead of a value of the wrong type.
fn advice(node: &Node, shape: &Shape) -> Option<String> {
    let scalar = match &node.value {
        Value::Scalar(scalar) => scalar,
        Value::Map(_) if matches!(shape, Shape::List(_)) => return Some("begin each item with `- `".to_owned()),
        Value::Map(_) | Value::List(_) | Value::Refused => return None,
    };
    let text = &*scalar.text;
    match (shape, scalar.kind) {
        (_, ScalarKind::Null) => Some("write a value, or remove the field".to_owned()),
        (Shape::Text, _) => Some(format!("quote it: {}", quoted(text))),
        (Shape::List(_), _) => Some(format!("write a list: [{text}]")),
        (Shape::Integer { .. } | Shape::Number | Shape::Either { .. }, ScalarKind::Text) => {
            let plain: String = text.chars().filter(|c| !matches!(c, '_' | ',' | ' ')).collect();
            plain.parse::<f64>().is_ok_and(f64::is_finite).then(|| format!("write {plain} without quotes"))
        }
        (Shape::Flag, _) => match text {
            "yes" | "Yes" | "on" | "1" | "true" => Some("write true".to_owned()),
            "no" | "No" | "off" | "0" | "false" => Some("write false".to_owned()),
            _ => None,
        },
        _ => None,
    }
}

/// What a shape wants, in words.
fn wanted(shape: &Shape) -> String {
    match shape {
        Shape::Text => "text".to_owned(),
        Shape::Flag => "true or false".to_owned(),
        Shape::Integer { .. } => "a whole number".to_owned(),
        Shape::Number => "a number".to_owned(),
        Shape::List(_) => "a list".to_owned(),
        Shape::Map(_) | Shape::Fields(_) => "a map of fields".to_owned(),
        Shape::Choice { words, fields } => options(words, fields),
        Shape::Either { scalar, fields } => {
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            format!("{} or a map of {}", wanted(scalar), ticked(&names, "and"))
        }
        Shape::Any => "something else".to_owned(),
    }
}

fn options(words: &[String], fields: &[Field]) -> String {
    let fields = fields.iter().map(|field| format!("{{{}: …}}", field.name));
    let all: Vec<String> = words.iter().cloned().chain(fields).collect();
    ticked(&all.iter().map(String::as_str).collect::<Vec<_>>(), "or")
}

/// What is there, in words.
fn found(node: &Node) -> String {
    match &node.value {
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
        Value::Refused => "something unsupported".to_owned(),
        Value::Scalar(scalar) => match scalar.kind {
            ScalarKind::Null => "nothing".to_owned(),
            ScalarKind::Bool => format!("the truth value {}", scalar.text),
            ScalarKind::Integer | ScalarKind::Float => format!("the number {}", scalar.text),
            ScalarKind::Text => format!("the text {}", quoted(&scalar.text)),
        },
    }
}

/// Something short that would do for a shape.
fn example(shape: &Shape) -> String {
    match shape {
        Shape::Choice { words, .. } => words.first().cloned().unwrap_or_else(|| "…".to_owned()),
        Shape::List(_) => "[…]".to_owned(),
        Shape::Map(_) | Shape::Fields(_) => "{…}".to_owned(),
        Shape::Either { scalar, .. } => example(scalar),
        Shape::Text | Shape::Flag | Shape::Integer { .. } | Shape::Number | Shape::Any => "…".to_owned(),
    }
}

/// `` `a`, `b` or `c` ``.
fn ticked(names: &[&str], last_word: &str) -> String {
    let shown: Vec<String> = names.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
    match shown.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} {last_word} {last}", first.join(", ")),
    }
}
