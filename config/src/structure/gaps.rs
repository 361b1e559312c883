//! A document with structural problems, made whole with stand-ins, so that the rest of it can be checked as well.
//!
//! What is wrong is not left out but replaced by something of the right shape: a list keeps its indices, and no other
//! check takes for missing what is there and merely wrong.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::shape::{self, Field, Shape};
use super::{Walk, to_json};
use crate::ids::Kind;
use crate::node::{Entry, Node, Value};
use crate::path::Path;
use crate::problem::{Found, Problem, nearest};
use crate::raw;

/// How every text begins that stands in for another. It is a good name, and nobody would choose it.
pub(crate) const STAND_IN: &str = "stand-in-7c1e9";

/// A whole number that is good in most places, where it is within bounds.
const NUMBER: i128 = 200;

/// Where a document was filled in.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// Places that hold a stand-in.
    filled: BTreeSet<String>,
    /// Maps that have an unknown field: it may be what they seem to lack.
    unclear: BTreeSet<String>,
}

impl Gaps {
    /// Whether nothing can be known of this place: a stand-in is there or around it.
    pub(crate) fn cover(&self, path: &str) -> bool {
        let above = path.match_indices(['.', '[']).filter_map(|(end, _)| path.get(..end));
        above.chain([path, ""]).any(|place| self.filled.contains(place))
    }

    /// Whether a problem may come of a stand-in or of a field that was left out.
    pub(crate) fn explain(&self, problem: &Problem) -> bool {
        let help = problem.help.as_deref().unwrap_or_default();
        self.cover(&problem.path)
            || self.unclear.contains(&problem.path)
            || problem.message.contains(STAND_IN)
            || help.contains(STAND_IN)
    }
}

/// The document with stand-ins for all that the check of its structure reports.
pub(crate) fn fill(file: &Arc<str>, kind: Kind, root: &Node) -> Option<(raw::Document, Gaps)> {
    let mut filler = Filler { file, gaps: Gaps::default() };
    let json = filler.node(root, shape::of_kind(kind), &Path::Root);
    Some((serde_json::from_value(json).ok()?, filler.gaps))
}

struct Filler<'a> {
    file: &'a Arc<str>,
    gaps: Gaps,
}

impl Filler<'_> {
    fn node(&mut self, node: &Node, shape: &Shape, path: &Path<'_>) -> Json {
        match (shape, &node.value) {
            (Shape::List(inner), Value::List(items)) => {
                items.iter().enumerate().map(|(index, item)| self.node(item, inner, &path.index(index))).collect()
            }
            (Shape::Map(inner), Value::Map(entries)) => {
                let value = |entry: &Entry| self.node(&entry.value, inner, &path.key(&entry.key));
                let values: Vec<Json> = entries.iter().map(value).collect();
                Json::Object(entries.iter().map(|entry| entry.key.to_string()).zip(values).collect())
            }
            (Shape::Fields(fields) | Shape::Either { fields, .. }, Value::Map(entries)) => {
                self.fields(entries, fields, path)
            }
            (Shape::Choice { fields, .. }, Value::Map(entries)) => match entries.as_slice() {
                [entry] => match fields.iter().find(|field| field.name == *entry.key) {
                    Some(field) => {
                        let value = self.node(&entry.value, &field.shape, &path.key(&entry.key));
                        Json::Object(Map::from_iter([(field.name.clone(), value)]))
                    }
                    None => self.gap(shape, path),
                },
                _ => self.gap(shape, path),
            },
            _ if self.is_good(node, shape, path) => to_json(node),
            _ => self.gap(shape, path),
        }
    }

    fn is_good(&self, node: &Node, shape: &Shape, path: &Path<'_>) -> bool {
        let mut walk = Walk { file: self.file, found: Found::default() };
        walk.node(node, node.at, shape, path);
        walk.found.count() == 0 && !matches!(node.value, Value::Refused)
    }

    fn fields(&mut self, entries: &[Entry], fields: &[Field], path: &Path<'_>) -> Json {
        let mut json = Map::new();
        let mut unknown = Vec::new();
        for entry in entries {
            match fields.iter().find(|field| field.name == *entry.key) {
                None => unknown.push(&*entry.key),
                Some(field) if field.nullable && entry.value.is_null() => {}
                Some(field) => {
                    json.insert(field.name.clone(), self.node(&entry.value, &field.shape, &path.key(&entry.key)));
                }
            }
        }
        if !unknown.is_empty() {
            self.gaps.unclear.insert(path.to_string());
        }
        let meant: BTreeSet<&str> =
            unknown.iter().filter_map(|key| nearest(key, fields.iter().map(|field| &*field.name))).collect();
        for field in fields.iter().filter(|field| !entries.iter().any(|entry| *entry.key == *field.name)) {
            if field.required || meant.contains(&*field.name) {
                json.insert(field.name.clone(), self.gap(&field.shape, &path.key(&field.name)));
            }
        }
        Json::Object(json)
    }

    fn gap(&mut self, shape: &Shape, path: &Path<'_>) -> Json {
        self.gaps.filled.insert(path.to_string());
        stand_in(shape, self.gaps.filled.len())
    }
}

/// Something of this shape. No two texts are the same, lest one is said to be given twice.
fn stand_in(shape: &Shape, n: usize) -> Json {
    match shape {
        Shape::Text => format!("{STAND_IN}-{n}").into(),
        Shape::Flag => false.into(),
        Shape::Integer { least, most } => {
            let number = if NUMBER < *least { *least } else { NUMBER.min(*most) };
            i64::try_from(number).unwrap_or_default().into()
        }
        Shape::Number => 1.into(),
        Shape::List(inner) => Json::Array(vec![stand_in(inner, n)]),
        Shape::Map(_) => Json::Object(Map::new()),
        Shape::Either { scalar, .. } => stand_in(scalar, n),
        Shape::Fields(fields) => {
            let required = fields.iter().filter(|field| field.required);
            Json::Object(required.map(|field| (field.name.clone(), stand_in(&field.shape, n))).collect())
        }
        Shape::Choice { words, fields } => {
            let of_text = || fields.iter().find(|field| matches!(field.shape, Shape::Text));
            let field = fields.iter().find(|field| field.name == "prefix").or_else(of_text).or(fields.first());
            match (field, words.first()) {
                (Some(field), _) => Json::Object(Map::from_iter([(field.name.clone(), stand_in(&field.shape, n))])),
                (None, Some(word)) => word.clone().into(),
                (None, None) => Json::Null,
            }
        }
        Shape::Any => Json::Null,
    }
}
