//! YAML events → tree.

use std::collections::{HashMap, hash_map};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::plain::plain_kind;
use super::{Entry, Mark, Node, Scalar, ScalarKind, Value};
use crate::path::{Step, Steps};
use crate::problem::{Found, Problem, quoted};

/// The deepest nesting. Documents need six levels; the bound is what keeps every walk over a tree off the end of the
/// stack, whatever a file holds.
const MAX_DEPTH: usize = 64;

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
    let mut builder = Builder { file, first_line, stack: Vec::new(), root: None, found: Found::default() };
    // The parser is somebody else's and has its `unreachable!`s. None was ever reached by any test, and if one is, it
    // must cost one document and not the thread that keeps the configuration.
    let complete = catch_unwind(AssertUnwindSafe(|| builder.run(text))).unwrap_or_else(|_| {
        let at = Mark { line: first_line, ..Mark::START };
        builder.found.add(|| Problem::at(file, at, "this document cannot be read: the YAML parser failed on it"));
        false
    });
    builder.unwind();
    Tree { root: builder.root, problems: builder.found.into_told(), complete }
}

struct Builder<'a> {
    file: &'a Arc<str>,
    first_line: u32,
    stack: Vec<Frame>,
    root: Option<Node>,
    found: Found,
}

/// A list or map whose end has not been read yet.
enum Frame {
    List(Mark, Vec<Node>),
    Map(Mark, Vec<Entry>, Pending, Seen),
}

/// The lines of a map's keys, by key. A look through the entries would do for documents as people write them, and take
/// hours for a map of a million keys.
type Seen = HashMap<Box<str>, u32>;

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
                    let problem = self.syntax_error(&error, text);
                    self.found.add(|| problem);
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
                return self.open(at, Frame::Map(at, Vec::new(), Pending::None, Seen::new()));
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
        true
    }

    fn scalar(&mut self, at: Mark, text: &str, style: ScalarStyle) {
        if let Some(Frame::Map(_, _, pending @ Pending::None, seen)) = self.stack.last_mut() {
            let key = Key::of(text, style, at, seen);
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
        if let Some(Frame::Map(_, _, Pending::None, _)) = self.stack.last() {
            self.refuse(at, "a list or map cannot be a key", "keys are plain text");
        }
        self.stack.push(frame);
        true
    }

    fn close(&mut self) {
        match self.stack.pop() {
            Some(Frame::List(at, items)) => self.value(Node { at, value: Value::List(items) }),
            Some(Frame::Map(at, entries, ..)) => self.value(Node { at, value: Value::Map(entries) }),
            None => {}
        }
    }

    /// Puts a finished value where it belongs.
    fn value(&mut self, node: Node) {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List(_, items)) => items.push(node),
            Some(Frame::Map(_, entries, pending, _)) => match std::mem::replace(pending, Pending::None) {
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
        self.found.add(|| Problem { path, ..Problem::at(self.file, at, message).with_help(help) });
    }

    /// The path of what is being read, or of a key of the map being read.
    fn path(&self, key: Option<&str>) -> String {
        let steps = self.stack.iter().filter_map(|frame| match frame {
            Frame::List(_, items) => Some(Step::Index(items.len())),
            Frame::Map(_, _, Pending::Key(key, _), _) => Some(Step::Key(key)),
            Frame::Map(_, _, Pending::None | Pending::Skip, _) => None,
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
            info if info.contains("Unicode character escape") => {
                problem.with_help("write the character itself instead of its `\\u` escapes")
            }
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
    fn of(text: &str, style: ScalarStyle, at: Mark, seen: &mut Seen) -> Key {
        let plain = style == ScalarStyle::Plain;
        if plain && text == "<<" {
            return Key::Merge;
        }
        if plain && plain_kind(text) != ScalarKind::Text {
            return Key::NotText;
        }
        match seen.entry(text.into()) {
            hash_map::Entry::Occupied(first) => Key::Duplicate(*first.get()),
            hash_map::Entry::Vacant(place) => {
                place.insert(at.line);
                Key::Good
            }
        }
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
