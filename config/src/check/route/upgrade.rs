//! Protocols that a client may change to on its connection.

use super::super::Check;
use super::super::value::all;
use crate::model::Upgrade;
use crate::path::Path;
use crate::problem::quoted;

/// Those of a route; WebSocket, where it says nothing.
pub(super) fn upgrades(check: &mut Check<'_>, raw: Option<&[String]>) -> Option<Vec<Upgrade>> {
    let Some(raw) = raw else { return Some(vec![Upgrade::Websocket]) };
    let at = Path::Root.key("upgrades");
    check.unique(&at, raw, |text| quoted(text), |text| text.to_ascii_lowercase());
    all(raw.iter().enumerate().map(|(n, text)| check.take(&at.index(n), upgrade(text))))
}

fn upgrade(text: &str) -> Result<Upgrade, String> {
    let lower = text.to_ascii_lowercase();
    let (name, version) = lower.split_once('/').map_or((lower.as_str(), None), |(name, version)| (name, Some(version)));
    if !is_token(name) || !version.is_none_or(is_token) {
        return Err(format!("{} is no protocol; write one such as websocket or tcp", quoted(text)));
    }
    match name {
        "websocket" if version.is_none() => Ok(Upgrade::Websocket),
        // Requests in the tunnel would pass by every route, tenant and limit.
        "h2c" | "h2" | "h3" | "http" => {
            Err(format!("{} would carry requests that nobody checks; remove it", quoted(text)))
        }
        "tls" => Err(format!("{} is not passed on; a listener speaks TLS by its own `tls`", quoted(text))),
        _ => Ok(Upgrade::Other(lower)),
    }
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
