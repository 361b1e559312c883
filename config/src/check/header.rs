//! Header names, values and edits.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use super::Check;
use super::value::all;
use crate::model::HeaderEdits;
use crate::path::Path;
use crate::problem::quoted;
use crate::raw;

/// Headers that belong to one connection or delimit the message. The router writes them itself.
const FRAMING: [&str; 7] =
    ["connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

impl Check<'_> {
    /// The name of a header.
    pub(super) fn header_name(&mut self, path: &Path<'_>, text: &str) -> Option<HeaderName> {
        self.take(path, name(text))
    }

    /// The value of a header.
    pub(super) fn header_value(&mut self, path: &Path<'_>, text: &str) -> Option<HeaderValue> {
        self.take(path, value(text))
    }

    /// Changes to headers.
    pub(super) fn header_edits(&mut self, path: &Path<'_>, raw: Option<&raw::HeaderEdits>) -> Option<HeaderEdits> {
        let Some(raw) = raw else { return Some(HeaderEdits::default()) };
        let at = path.key("remove");
        self.unique(&at, &raw.remove, |text| format!("header {}", quoted(text)), |text| text.to_ascii_lowercase());
        let remove = all(raw.remove.iter().enumerate().map(|(n, text)| self.edited_name(&at.index(n), text)));
        let set = self.header_lines(&path.key("set"), &raw.set);
        let add = self.header_lines(&path.key("add"), &raw.add);
        Some(HeaderEdits { remove: remove?, set: set?, add: add? })
    }

    fn header_lines(
        &mut self,
        path: &Path<'_>,
        raw: &BTreeMap<String, String>,
    ) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let mut seen = BTreeMap::new();
        all(raw.iter().map(|(key, text)| {
            let at = path.key(key);
            if let Some(other) = seen.insert(key.to_ascii_lowercase(), key) {
                let message = format!("header {} is also written {}", quoted(key), quoted(other));
                self.wrong_but(&at, message, "remove one of the two; case makes no difference");
            }
            let (name, value) = (self.edited_name(&at, key), self.header_value(&at, text));
            Some((name?, value?))
        }))
    }

    /// The name of a header that may be edited.
    pub(super) fn edited_name(&mut self, path: &Path<'_>, text: &str) -> Option<HeaderName> {
        let name = self.header_name(path, text)?;
        let word = name.as_str();
        if word == "host" {
            self.wrong_but(path, "header \"host\" cannot be edited", "use `rewrite: {host: …}`");
            return None;
        }
        if FRAMING.contains(&word) || word.starts_with("proxy-") {
            let message = format!("header {} belongs to the connection and cannot be edited", quoted(word));
            self.wrong_but(path, message, "remove it; the router sets it as needed");
            return None;
        }
        Some(name)
    }
}

pub(super) fn name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("{} is not a header name; use letters, digits and `-`, such as x-tenant-id", quoted(text)))
}

pub(super) fn value(text: &str) -> Result<HeaderValue, String> {
    if text.trim_ascii() != text {
        return Err(format!("header value {} has blanks around it; remove them", quoted(text)));
    }
    HeaderValue::from_str(text).map_err(|_| {
        format!("header value {} has a character that headers cannot hold; use visible ASCII", quoted(text))
    })
}
