//! The tree of one YAML document, with the position of every key and value.

use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use crate::path::{Path, Step, Steps};
use crate::problem::{Problem, quoted};

/// The deepest nesting. Documents need six levels; the bound is what keeps every walk over a tree off the end of the
/// stack, whatever a file holds.
const MAX_DEPTH: usize = 64;

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
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Mark,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something that was refused when it was read; no more is to be said about it.
    Refused,
}

/// One key of a map and its value.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Box<str>,
    pub(crate) key_at: Mark,
    pub(crate) value: Node,
}

/// Text and what YAML 1.2 takes it for.
#[derive(Debug)]
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

/// What came of reading one document's text.
pub(crate) struct Tree {
    /// The document, as far as it could be read; `None` when it is empty.
    pub(crate) root: Option<Node>,
    /// What was refused or could not be read.
    pub(crate) problems: Vec<Problem>,
    /// Whether the text ended early or could not be read to its end.
    pub(crate) complete: bool,
}

/// Reads the text of one document that begins on `first_line` of the file. Never fails and never recurses.
pub(crate) fn read(file: &Arc<str>, first_line: u32, text: &str) -> Tree {
    let mut builder = Builder { file, first_line, stack: Vec::new(), root: None, problems: Vec::new() };
    let complete = builder.run(text);
    builder.unwind();
    Tree { root: builder.root, problems: builder.problems, complete }
}

struct Builder<'a> {
    file: &'a Arc<str>,
    first_line: u32,
    stack: Vec<Frame>,
    root: Option<Node>,
    problems: Vec<Problem>,
}

/// A list or map whose end has not been read yet.
enum Frame {
    List(Mark, Vec<Node>),
    Map(Mark, Vec<Entry>, Pending),
}

/// The key whose value comes next.
enum Pending {
    None,
    Key(Box<str>, Mark),
    /// The value belongs to a key that was refused.
    Skip,
}

impl Builder<'_> {
    /// Whether the whole text was read.
    fn run(&mut self, text: &str) -> bool {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            match event {
                Ok((event, span)) => {
                    if !self.take(event, span) {
                        return false;
                    }
                }
                Err(error) => {
                    self.problems.push(self.syntax_error(&error, text));
                    return false;
                }
            }
        }
        true
    }

    /// Takes one event; `false` ends the reading.
    fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        let at = self.mark(span);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
            Event::Alias(_) => {
                self.refuse(at, "an alias (`*name`) is not supported", "write the value out");
                self.value(Node { at, value: Value::Refused });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(at, anchor, tag.is_some());
                self.scalar(at, &text, style);
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(at, anchor, tag.is_some());
                return self.open(at, Frame::List(at, Vec::new()));
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(at, anchor, tag.is_some());
                return self.open(at, Frame::Map(at, Vec::new(), Pending::None));
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
        true
    }

    fn scalar(&mut self, at: Mark, text: &str, style: ScalarStyle) {
        if let Some(Frame::Map(_, entries, pending @ Pending::None)) = self.stack.last_mut() {
            let key = Key::of(text, style, entries);
            *pending = match &key {
                Key::Good => Pending::Key(text.into(), at),
                Key::Merge | Key::NotText | Key::Duplicate(_) => Pending::Skip,
            };
            self.report_key(at, text, &key);
            return;
        }
        let kind = if style == ScalarStyle::Plain { plain_kind(text) } else { ScalarKind::Text };
        self.value(Node { at, value: Value::Scalar(Scalar { kind, text: text.into() }) });
    }

    fn report_key(&mut self, at: Mark, text: &str, key: &Key) {
        match key {
            Key::Good => {}
            Key::Merge => self.refuse(at, "the merge key `<<` is not supported", "write the fields out"),
            Key::NotText => {
                let message = format!("the key {text} is not text");
                self.refuse(at, &message, &format!("quote it: {}", quoted(text)));
            }
            Key::Duplicate(line) => {
                let message = format!("the key {} is given twice", quoted(text));
                let help = format!("the first is on line {line}; remove one of the two");
                self.refuse_at(at, self.path(Some(text)), &message, &help);
            }
        }
    }

    fn open(&mut self, at: Mark, frame: Frame) -> bool {
        if self.stack.len() >= MAX_DEPTH {
            self.refuse(at, &format!("nested more than {MAX_DEPTH} levels deep"), "no document needs that many");
            return false;
        }
        if let Some(Frame::Map(_, _, Pending::None)) = self.stack.last() {
            self.refuse(at, "a list or map cannot be a key", "keys are plain text");
        }
        self.stack.push(frame);
        true
    }

    fn close(&mut self) {
        match self.stack.pop() {
            Some(Frame::List(at, items)) => self.value(Node { at, value: Value::List(items) }),
            Some(Frame::Map(at, entries, _)) => self.value(Node { at, value: Value::Map(entries) }),
            None => {}
        }
    }

    /// Puts a finished value where it belongs.
    fn value(&mut self, node: Node) {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List(_, items)) => items.push(node),
            Some(Frame::Map(_, entries, pending)) => match std::mem::replace(pending, Pending::None) {
                Pending::Key(key, key_at) => entries.push(Entry { key, key_at, value: node }),
                Pending::Skip => {}
                // It stands where a key is wanted, and was refused there.
                Pending::None => *pending = Pending::Skip,
            },
        }
    }

    /// Closes what was open when the reading ended, so that the names read so far are known.
    fn unwind(&mut self) {
        while !self.stack.is_empty() {
            self.close();
        }
    }

    fn refuse_extras(&mut self, at: Mark, anchor: usize, tag: bool) {
        if anchor > 0 {
            self.refuse(at, "an anchor (`&name`) is not supported", "write the value out where it is used");
        }
        if tag {
            self.refuse(at, "a tag (`!name`) is not supported", "remove it");
        }
    }

    fn refuse(&mut self, at: Mark, message: &str, help: &str) {
        self.refuse_at(at, self.path(None), message, help);
    }

    fn refuse_at(&mut self, at: Mark, path: String, message: &str, help: &str) {
        self.problems.push(Problem { path, ..Problem::at(self.file, at, message).with_help(help) });
    }

    /// The path of what is being read, or of a key of the map being read.
    fn path(&self, key: Option<&str>) -> String {
        let steps = self.stack.iter().filter_map(|frame| match frame {
            Frame::List(_, items) => Some(Step::Index(items.len())),
            Frame::Map(_, _, Pending::Key(key, _)) => Some(Step::Key(key)),
            Frame::Map(_, _, Pending::None | Pending::Skip) => None,
        });
        let steps: Vec<Step<'_>> = steps.chain(key.map(Step::Key)).collect();
        Steps(&steps).to_string()
    }

    fn syntax_error(&self, error: &ScanError, text: &str) -> Problem {
        let marker = *error.marker();
        let at = self.mark(Span::empty(marker));
        let problem = Problem::at(self.file, at, format!("invalid YAML: {}", error.info()));
        let line = text.lines().nth(marker.line().saturating_sub(1)).unwrap_or_default();
        let indent = line.chars().take_while(|c| c.is_whitespace());
        if indent.into_iter().any(|c| c == '\t') {
            return problem.with_help("indent with spaces, not tabs");
        }
        match error.info() {
            "simple key expect ':'" => problem.with_help("the line before lacks a `:` and a blank after its key"),
            _ => problem,
        }
    }

    fn mark(&self, span: Span) -> Mark {
        let length = if span.start.line() == span.end.line() {
            span.end.col().saturating_sub(span.start.col()).max(1)
        } else {
            1
        };
        Mark {
            line: self.first_line.saturating_add(count(span.start.line())).saturating_sub(1),
            column: count(span.start.col()).saturating_add(1),
            length: count(length),
        }
    }
}

enum Key {
    Good,
    Merge,
    NotText,
    /// The line of the first.
    Duplicate(u32),
}

impl Key {
    fn of(text: &str, style: ScalarStyle, entries: &[Entry]) -> Key {
        let plain = style == ScalarStyle::Plain;
        if plain && text == "<<" {
            return Key::Merge;
        }
        if plain && plain_kind(text) != ScalarKind::Text {
            return Key::NotText;
        }
        // Maps with thousands of keys (labels, cells of a service) are scanned once a key; this is the price of
        // keeping no index, a few milliseconds at 10,000.
        match entries.iter().find(|entry| &*entry.key == text) {
            Some(first) => Key::Duplicate(first.key_at.line),
            None => Key::Good,
        }
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// What YAML 1.2's core schema takes a plain scalar for.
fn plain_kind(text: &str) -> ScalarKind {
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
