//! What a limit counts apart.

use crate::check::Check;
use crate::check::value::all;
use crate::model::LimitKeyPart;
use crate::path::Path;
use crate::problem::quoted;
use crate::raw;

/// The longest constant, in bytes.
const MAX_CONSTANT: usize = 128;

pub(super) fn key(check: &mut Check<'_>, raw: &[raw::LimitKeyPart]) -> Option<Vec<LimitKeyPart>> {
    if raw.is_empty() {
        return Some(vec![LimitKeyPart::Tenant]);
    }
    let at = Path::Root.key("key");
    check.unique(&at, raw, word, same);
    all(raw.iter().enumerate().map(|(n, raw)| {
        let item = at.index(n);
        part(check, &item, raw)
    }))
}

fn part(check: &mut Check<'_>, item: &Path<'_>, raw: &raw::LimitKeyPart) -> Option<LimitKeyPart> {
    match raw {
        raw::LimitKeyPart::Tenant => Some(LimitKeyPart::Tenant),
        raw::LimitKeyPart::Route => Some(LimitKeyPart::Route),
        raw::LimitKeyPart::Service => Some(LimitKeyPart::Service),
        raw::LimitKeyPart::Cell => Some(LimitKeyPart::Cell),
        raw::LimitKeyPart::ClientIp => Some(LimitKeyPart::ClientIp),
        raw::LimitKeyPart::Header(name) => check.header_name(&item.key("header"), name).map(LimitKeyPart::Header),
        raw::LimitKeyPart::Cookie(name) => {
            check.take(&item.key("cookie"), cookie(name)).map(|()| LimitKeyPart::Cookie(name.clone()))
        }
        raw::LimitKeyPart::Query(name) => {
            check.take(&item.key("query"), query(name)).map(|()| LimitKeyPart::Query(name.clone()))
        }
        raw::LimitKeyPart::Constant(text) => {
            check.take(&item.key("constant"), constant(text)).map(|()| LimitKeyPart::Constant(text.clone()))
        }
    }
}

/// A cookie's name is a token, as RFC 6265 has it.
fn cookie(name: &str) -> Result<(), String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_token) {
        return Ok(());
    }
    Err(format!("{} is not the name of a cookie; use letters, digits, `-` and `_`, such as session", quoted(name)))
}

fn query(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("name of the query parameter is empty; write such as {query: api_key}".to_owned())
    } else {
        Ok(())
    }
}

fn constant(text: &str) -> Result<(), String> {
    match text.len() {
        0 => Err("constant is empty; write a word, such as {constant: all}".to_owned()),
        1..=MAX_CONSTANT => Ok(()),
        length => Err(format!("constant has {length} bytes; {MAX_CONSTANT} are the most")),
    }
}

fn word(part: &raw::LimitKeyPart) -> String {
    match part {
        raw::LimitKeyPart::Tenant => "`tenant`".to_owned(),
        raw::LimitKeyPart::Route => "`route`".to_owned(),
        raw::LimitKeyPart::Service => "`service`".to_owned(),
        raw::LimitKeyPart::Cell => "`cell`".to_owned(),
        raw::LimitKeyPart::ClientIp => "`clientIp`".to_owned(),
        raw::LimitKeyPart::Header(name) => format!("header {}", quoted(name)),
        raw::LimitKeyPart::Cookie(name) => format!("cookie {}", quoted(name)),
        raw::LimitKeyPart::Query(name) => format!("query parameter {}", quoted(name)),
        raw::LimitKeyPart::Constant(text) => format!("constant {}", quoted(text)),
    }
}

/// Parts that have this in common are the same. Only headers are the same in any case.
fn same(part: &raw::LimitKeyPart) -> String {
    let word = word(part);
    if matches!(part, raw::LimitKeyPart::Header(_)) { word.to_ascii_lowercase() } else { word }
}
