//! The tree of one YAML document, with the position of every key and value.

mod plain;
mod read;

pub(crate) use read::read;

use crate::path::{Path, Step};

/// Where something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The line in the file, starting at 1.
    pub(crate) line: u32,
    /// The column in characters, starting at 1.
    pub(crate) column: u32,
    /// Characters on that line, at least 1.
    pub(crate) length: u32,
}

impl Mark {
    /// The beginning of a file.
    pub(crate) const START: Mark = Mark { line: 1, column: 1, length: 1 };
}

/// A value and where it is.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Mark,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something that was refused when it was read; no more is to be said about it.
    Refused,
}

/// One key of a map and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Box<str>,
    pub(crate) key_at: Mark,
    pub(crate) value: Node,
}

/// Text and what YAML 1.2 takes it for.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) kind: ScalarKind,
    pub(crate) text: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    Null,
    Bool,
    Integer,
    Float,
    Text,
}

impl Node {
    /// The entries, if this is a map.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Scalar(_) | Value::List(_) | Value::Refused => &[],
        }
    }

    /// The entry of this key.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| &*entry.key == key)
    }

    /// Whether nothing is written.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind == ScalarKind::Null)
    }

    /// The text of a scalar that is text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(Scalar { kind: ScalarKind::Text, text }) => Some(text),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) | Value::Refused => None,
        }
    }

    /// Where to point for a path: at a scalar itself, at the key of anything bigger; at the nearest thing that is
    /// written when the place itself is not.
    pub(crate) fn locate(&self, path: &Path<'_>) -> Mark {
        let (mut node, mut mark) = (self, self.at);
        for step in path.steps() {
            let next = match (step, &node.value) {
                (Step::Key(key), _) => node.entry(key).map(|entry| (&entry.value, entry.mark())),
                (Step::Index(index), Value::List(items)) => items.get(index).map(|item| (item, item.at)),
                (Step::Index(_), Value::Scalar(_) | Value::Map(_) | Value::Refused) => None,
            };
            let Some((child, at)) = next else { break };
            (node, mark) = (child, at);
        }
        mark
    }

    /// Drops the texts and keeps the positions, once the document has been read.
    pub(crate) fn forget_values(&mut self) {
        match &mut self.value {
            Value::Scalar(scalar) => scalar.text = Box::default(),
            Value::List(items) => {
                items.shrink_to_fit();
                items.iter_mut().for_each(Node::forget_values);
            }
            Value::Map(entries) => {
                entries.shrink_to_fit();
                for entry in entries {
                    entry.value.forget_values();
                }
            }
            Value::Refused => {}
        }
    }
}

impl Entry {
    /// Where to point for the entry's value.
    pub(crate) fn mark(&self) -> Mark {
        match &self.value.value {
            Value::Scalar(scalar) if scalar.kind != ScalarKind::Null => self.value.at,
            Value::Scalar(_) | Value::List(_) | Value::Map(_) | Value::Refused => self.key_at,
        }
    }
}
