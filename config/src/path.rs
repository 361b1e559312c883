//! Where in a document: a chain of keys and indices, built on the stack while a document is walked and written out
//! only when there is something to say.

use std::fmt;

/// A place in a document, such as `cells.eu-1.blue[0].address`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path<'a> {
    /// The document itself.
    Root,
    /// A field or an entry of a map.
    Key(&'a Path<'a>, &'a str),
    /// An item of a list.
    Index(&'a Path<'a>, usize),
}

/// One step of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A field or an entry of a map.
    Key(&'a str),
    /// An item of a list.
    Index(usize),
}

impl<'a> Path<'a> {
    /// The field or entry of this name.
    pub(crate) fn key(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }

    /// The item at this index.
    pub(crate) fn index(&'a self, index: usize) -> Path<'a> {
        Path::Index(self, index)
    }

    /// The steps from the document to this place.
    pub(crate) fn steps(&self) -> Vec<Step<'a>> {
        let mut steps = Vec::new();
        let mut at = *self;
        loop {
            let (parent, step) = match at {
                Path::Root => break,
                Path::Key(parent, key) => (parent, Step::Key(key)),
                Path::Index(parent, index) => (parent, Step::Index(index)),
            };
            steps.push(step);
            at = *parent;
        }
        steps.reverse();
        steps
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Steps(&self.steps()).fmt(f)
    }
}

/// Steps as they are written.
pub(crate) struct Steps<'a>(pub(crate) &'a [Step<'a>]);

impl fmt::Display for Steps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if n > 0 {
                        f.write_str(".")?;
                    }
                    write_key(f, key)?;
                }
            }
        }
        Ok(())
    }
}

/// A key with anything but letters, digits, `-` and `_` is quoted, so that its dots are not read as steps.
fn write_key(f: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    if plain { f.write_str(key) } else { write!(f, "\"{}\"", key.escape_debug()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_people_write_them() {
        let root = Path::Root;
        assert_eq!(root.to_string(), "");
        assert_eq!(
            root.key("cells").key("eu-1").key("blue").index(0).key("address").to_string(),
            "cells.eu-1.blue[0].address"
        );
        assert_eq!(root.key("cells").key("eu.1").to_string(), "cells.\"eu.1\"");
    }
}
