//! Listeners by themselves.

mod tls;

pub(super) use tls::authorities;

use std::net::IpAddr;

use ipnet::IpNet;

use super::Check;
use super::value::all;
use crate::address::{Address, NOBODY};
use crate::model::{Clients, Listener, ListenerHttp2, ListenerTimeouts, ProxyProtocol, UnderscoreHeaders};
use crate::path::Path;
use crate::problem::quoted;
use crate::raw;
use crate::units::ByteRate;

/// Whom a socket in the file system lets connect, unless its listener says something else: its owner and its group.
const SOCKET_MODE: u32 = 0o660;

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Listener) -> Option<Listener> {
    let address = check.take(&Path::Root.key("address"), Address::parse(&raw.address));
    let socket_mode = socket_mode(check, raw, address.as_ref());
    let trusted = networks(check, &Path::Root.key("trustedProxies"), &raw.trusted_proxies);
    let proxy_protocol = raw.proxy_protocol.as_ref().map(|raw| proxy_protocol(check, raw));
    let clients = clients(check, raw.clients.as_ref());
    let timeouts = timeouts(check, raw.timeouts.as_ref());
    let limits = check.references(&Path::Root.key("limits"), &raw.limits);
    let http2 = http2(check, raw.http2.as_ref());
    let tls = raw.tls.as_ref().map(|raw| tls::check(check, raw));
    Some(Listener {
        name: check.source.id.name.clone(),
        address: address?,
        socket_mode: socket_mode?,
        trusted_proxies: trusted?,
        proxy_protocol: proxy_protocol.map_or(Some(None), |proxies| proxies.map(Some))?,
        clients: clients?,
        underscore_headers: match raw.underscore_headers {
            None => UnderscoreHeaders::default(),
            Some(raw::UnderscoreHeaders::Drop) => UnderscoreHeaders::Drop,
            Some(raw::UnderscoreHeaders::Reject) => UnderscoreHeaders::Reject,
            Some(raw::UnderscoreHeaders::Pass) => UnderscoreHeaders::Pass,
        },
        timeouts: timeouts?,
        limits: limits?,
        http2: http2?,
        tls: tls.map_or(Some(None), |tls| tls.map(Some))?,
    })
}

/// Permissions, in octal digits.
fn socket_mode(check: &mut Check<'_>, raw: &raw::Listener, address: Option<&Address>) -> Option<u32> {
    let Some(text) = &raw.socket_mode else { return Some(SOCKET_MODE) };
    let at = Path::Root.key("socketMode");
    if address.is_some_and(|address| address.socket().is_some()) {
        let help = "leave it out, or listen on `unix:/…`";
        check.wrong_but(&at, "only a socket in the file system has permissions", help);
    }
    let digits = text.len() <= 4 && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777);
    check.take(&at, mode.ok_or_else(|| format!("{} is no file mode; write such as \"0660\"", quoted(text))))
}

fn proxy_protocol(check: &mut Check<'_>, raw: &raw::ProxyProtocol) -> Option<ProxyProtocol> {
    let (root, name) = (Path::Root, "proxyProtocol");
    let at = root.key(name);
    let at = at.key("from");
    if raw.from.is_empty() {
        let help = "write the networks of the proxies, or leave `proxyProtocol` out";
        check.wrong_but(&at, "no proxy is listed, so that no header would be read", help);
    }
    Some(ProxyProtocol { from: networks(check, &at, &raw.from)? })
}

fn clients(check: &mut Check<'_>, raw: Option<&raw::Clients>) -> Option<Clients> {
    let Some(raw) = raw else { return Some(Clients::default()) };
    let at = Path::Root.key("clients");
    if raw.allow.as_ref().is_some_and(Vec::is_empty) {
        check.wrong_but(
            &at.key("allow"),
            "nobody is allowed",
            "write networks, or leave `allow` out to let everybody in",
        );
    }
    let allow = networks(check, &at.key("allow"), raw.allow.as_deref().unwrap_or_default());
    let deny = networks(check, &at.key("deny"), raw.deny.as_deref().unwrap_or_default());
    let max_connections = match raw.max_connections {
        None => Some(None),
        most => check.number(&at.key("maxConnections"), "maxConnections", most, 1..=1_000_000, 1).map(Some),
    };
    Some(Clients { allow: allow?, deny: deny?, max_connections: max_connections? })
}

/// Networks, none twice.
fn networks(check: &mut Check<'_>, at: &Path<'_>, texts: &[String]) -> Option<Vec<IpNet>> {
    check.unique(at, texts, |text| quoted(text), String::clone);
    all(texts.iter().enumerate().map(|(n, text)| check.take(&at.index(n), network(text))))
}

fn timeouts(check: &mut Check<'_>, raw: Option<&raw::ListenerTimeouts>) -> Option<ListenerTimeouts> {
    let default = ListenerTimeouts::default();
    let Some(raw) = raw else { return Some(default) };
    let at = Path::Root.key("timeouts");
    let head = check.duration(&at.key("head"), raw.head.as_ref(), default.head);
    let idle = check.duration(&at.key("idle"), raw.idle.as_ref(), default.idle);
    let body_read = check.duration(&at.key("bodyRead"), raw.body_read.as_ref(), default.body_read);
    let body_write = check.duration(&at.key("bodyWrite"), raw.body_write.as_ref(), default.body_write);
    let min_rate = match &raw.min_rate {
        Some(text) => check.take(&at.key("minRate"), ByteRate::parse(text)).map(|rate| rate.per_second),
        None => Some(default.min_rate),
    };
    let (body_read, body_write) = (body_read?, body_write?);
    Some(ListenerTimeouts { head: head?, idle: idle?, body_read, body_write, min_rate: min_rate? })
}

fn http2(check: &mut Check<'_>, raw: Option<&raw::ListenerHttp2>) -> Option<ListenerHttp2> {
    let default = ListenerHttp2::default();
    let Some(raw) = raw else { return Some(default) };
    let at = Path::Root.key("http2");
    let at = at.key("maxStreams");
    let max_streams = check.number(&at, "maxStreams", raw.max_streams, 1..=1_000, default.max_streams)?;
    Some(ListenerHttp2 { enabled: raw.enabled.unwrap_or(default.enabled), max_streams })
}

/// A network, or one address, or whoever comes by a socket in the file system.
fn network(text: &str) -> Result<IpNet, String> {
    if text == "unix" {
        return Ok(IpNet::from(NOBODY));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet =
        text.parse().map_err(|_| format!("{} is not a network; write such as 10.0.0.0/8 or fd00::/8", quoted(text)))?;
    if network.trunc() == network {
        Ok(network)
    } else {
        Err(format!("network {} has bits beyond its length; write {}", quoted(text), network.trunc()))
    }
}
