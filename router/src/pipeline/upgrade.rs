//! Requests that ask to change to another protocol: which of them are passed on, and which answers are believed.
//!
//! What a client sends behind such a request is nothing but bytes to whoever agreed to the change, and a request to whoever did
//! not. Gateways that guessed which of the two had happened let requests pass that nobody had checked. So the offer is made anew
//! for the endpoint, in our own words, and only its own 101, which has to say exactly what was asked for, makes a tunnel.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gridrouter_config::model::{Action, Upgrade};
use http::{Method, StatusCode};

use super::decide::Facts;
use crate::http::fields::{Fields, Known};
use crate::http::reject::Reject;
use crate::http1::has_token;
use crate::http1::request::Head;
use crate::http1::response;
use crate::snapshot::RoutePlan;

const KEY: &str = "sec-websocket-key";
const VERSION: &str = "sec-websocket-version";
const ACCEPT: &str = "sec-websocket-accept";
/// What is put behind a key before it is hashed (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The protocol that a request asks for and may have. Asked only of requests whose `Connection` names `upgrade`.
///
/// One that is not passed on is sent without its `Upgrade`, as if it had none: to ignore it is everybody's right (RFC 9110
/// §7.8). That goes for what the route does not name, for a choice of several, for requests with a body, which the
/// other protocol would begin in the middle of, and for opening handshakes of WebSocket that are none.
pub(super) fn wanted<'a>(
    method: &Method,
    fields: &Fields,
    has_body: bool,
    allowed: &'a [Upgrade],
) -> Option<&'a Upgrade> {
    let token = single(fields.known(Known::Upgrade))?.trim_ascii();
    let upgrade = allowed.iter().find(|one| token.eq_ignore_ascii_case(one.token().as_bytes()))?;
    let is_fit = match upgrade {
        Upgrade::Websocket => *method == Method::GET && is_handshake(fields),
        Upgrade::Other(_) => true,
    };
    (is_fit && !has_body).then_some(upgrade)
}

/// The same of a request that has come whole.
pub(super) fn of<'a>(route: &'a RoutePlan, head: &Head) -> Option<&'a Upgrade> {
    if !head.upgrades {
        return None;
    }
    wanted(&head.method, &head.fields, !head.body.is_done(), allowed(route))
}

/// Makes the opening handshake of a WebSocket that was asked for by HTTP/2 (RFC 8441) what it would be by HTTP/1.1: with a key of
/// the router's own, `numbers` in base64, that the client has no use for.
pub(crate) fn complete(head: &mut Head, numbers: impl FnOnce() -> [u64; 2]) {
    let is_websocket = |token: &[u8]| token.eq_ignore_ascii_case(Upgrade::Websocket.token().as_bytes());
    if head.upgrades && head.fields.known(Known::Upgrade).any(is_websocket) {
        let [first, second] = numbers().map(u64::to_be_bytes);
        head.fields.insert(KEY, STANDARD.encode([first, second].concat()));
    }
}

/// What a client does not get by HTTP/2 of an answer that agrees.
pub(crate) const NOT_BY_HTTP2: &str = ACCEPT;

/// Why a request that asks for a tunnel by HTTP/2 cannot go where this route leads: an answer of 2xx would say that there is one. One
/// that asks by HTTP/1.1 goes there without its `Upgrade`.
pub(super) fn is_unfit(route: &RoutePlan, head: &Head) -> Option<Reject> {
    match &route.document.action {
        Action::Redirect(_) => None,
        Action::Respond(respond) => respond.status.is_success().then_some(Reject::UpgradeNotSupported),
        Action::Forward(_) if of(route, head).is_some() => None,
        Action::Forward(forward) => {
            let named =
                |token: &[u8]| forward.upgrades.iter().any(|one| token.eq_ignore_ascii_case(one.token().as_bytes()));
            // One that is named and not fit is no handshake.
            let is_named = head.fields.known(Known::Upgrade).any(named);
            Some(if is_named { Reject::MalformedRequest } else { Reject::UpgradeNotSupported })
        }
    }
}

/// Whether a request may become a tunnel, as far as its headers say.
pub(super) fn is_asked_for(facts: &Facts<'_>, route: &RoutePlan) -> bool {
    facts.headers.known(Known::Connection).any(|tokens| has_token(tokens, b"upgrade"))
        && wanted(facts.method, facts.headers, false, allowed(route)).is_some()
}

fn allowed(route: &RoutePlan) -> &[Upgrade] {
    match &route.document.action {
        Action::Forward(forward) => &forward.upgrades,
        Action::Redirect(_) | Action::Respond(_) => &[],
    }
}

/// RFC 6455 §4.2.1. What the version says is for the endpoint to judge; what is no key, two may read differently, and then an
/// answer that is not as expected would be the client's fault.
fn is_handshake(fields: &Fields) -> bool {
    single(fields.get_all(KEY)).is_some_and(is_key) && single(fields.get_all(VERSION)).is_some()
}

/// Sixteen bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|digits| digits.len() == 22 && digits.iter().all(is_digit))
}

fn single<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    lines.next().filter(|_| lines.next().is_none())
}

/// A change of protocol that an endpoint was asked for.
#[derive(Debug)]
pub(crate) struct Switch {
    protocol: Upgrade,
    /// What `Sec-WebSocket-Accept` has to say.
    accept: Option<String>,
}

impl Switch {
    /// Makes the offer anew in the fields of a request that is about to be sent. `None`: they do not make one any more, because
    /// the client or the route has removed what belongs to it.
    pub(super) fn offer(protocol: &Upgrade, fields: &mut Fields) -> Option<Self> {
        let accept = match protocol {
            Upgrade::Websocket if !is_handshake(fields) => return None,
            Upgrade::Websocket => fields.get(KEY).map(accept_for),
            Upgrade::Other(_) => None,
        };
        let switch = Self { protocol: protocol.clone(), accept };
        switch.write(fields);
        Some(switch)
    }

    /// Adds what says that the protocol changes.
    pub(super) fn write(&self, fields: &mut Fields) {
        fields.append(Known::Connection.as_str(), "upgrade");
        fields.append(Known::Upgrade.as_str(), self.protocol.token());
    }

    /// Whether a 101 with these fields agrees to what was asked for, and to nothing else.
    pub(crate) fn is_confirmed(&self, fields: &Fields) -> bool {
        let token = single(fields.known(Known::Upgrade)).map(<[u8]>::trim_ascii);
        token.is_some_and(|token| token.eq_ignore_ascii_case(self.protocol.token().as_bytes()))
            && fields.known(Known::Connection).any(|tokens| has_token(tokens, b"upgrade"))
            && self.accept.as_ref().is_none_or(|accept| single(fields.get_all(ACCEPT)) == Some(accept.as_bytes()))
    }

    /// The protocol's name.
    pub(crate) fn token(&self) -> &str {
        self.protocol.token()
    }

    /// Makes of an answer that agrees by HTTP/2 (RFC 8441 §5) what it would have been by HTTP/1.1. There it proves nothing that it
    /// agrees, and need not: no server says so by accident to a method of its own.
    pub(crate) fn agree(&self, head: &mut response::Head) {
        head.status = StatusCode::SWITCHING_PROTOCOLS;
        // RFC 9110 §9.3.6: whatever it says of a length.
        head.fields.retain(|known, name| known != Known::ContentLength && name != ACCEPT.as_bytes());
        if let Some(accept) = &self.accept {
            head.fields.append(ACCEPT, accept);
        }
        self.write(&mut head.fields);
    }

    /// Whether what passes are WebSocket's frames.
    pub(super) fn is_websocket(&self) -> bool {
        self.protocol == Upgrade::Websocket
    }
}

/// What an endpoint that has understood an opening handshake answers (RFC 6455 §4.2.2). One that fetched its status from
/// somewhere else, and so says 101 without knowing, does not.
fn accept_for(key: &[u8]) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDSHAKE: [(&str, &str); 3] = [("upgrade", "WebSocket"), (KEY, "dGhlIHNhbXBsZSBub25jZQ=="), (VERSION, "13")];

    fn allowed() -> Vec<Upgrade> {
        vec![Upgrade::Websocket, Upgrade::Other("tcp".to_owned())]
    }

    fn is_wanted(method: &Method, lines: &[(&str, &str)], has_body: bool) -> bool {
        wanted(method, &lines.iter().copied().collect(), has_body, &allowed()).is_some()
    }

    #[test]
    fn what_is_no_handshake_is_not_passed_on() {
        assert!(is_wanted(&Method::GET, &HANDSHAKE, false));
        assert!(is_wanted(&Method::POST, &[("upgrade", "tcp")], false));
        assert!(!is_wanted(&Method::POST, &HANDSHAKE, false));
        assert!(!is_wanted(&Method::GET, &HANDSHAKE, true));
        assert!(!is_wanted(&Method::POST, &[("upgrade", "tcp")], true));
        for left_out in 0..3 {
            let lines: Vec<_> = HANDSHAKE.into_iter().enumerate().filter(|(n, _)| *n != left_out).collect();
            let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
            assert!(!is_wanted(&Method::GET, &lines, false), "{lines:?}");
        }
        for twice in HANDSHAKE {
            let lines: Vec<_> = HANDSHAKE.into_iter().chain([twice]).collect();
            assert!(!is_wanted(&Method::GET, &lines, false), "{lines:?}");
        }
        for token in ["h2c", "tcp, h2c", "tcp, tcp", "tcp/1", "tc", "", "websocket, h2c"] {
            assert!(!is_wanted(&Method::GET, &[&HANDSHAKE[1..], &[("upgrade", token)]].concat(), false), "{token}");
        }
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        for (key, is_good) in [
            ("dGhlIHNhbXBsZSBub25jZQ==", true),
            ("+/+/IHNhbXBsZSBub25jZQ==", true),
            ("", false),
            ("dGhlIHNhbXBsZSBub25jZQ", false),
            ("dGhlIHNhbXBsZSBub25jZQ=", false),
            ("dGhlIHNhbXBsZSBub25jZ===", false),
            ("dGhlIHNhbXBs SBub25jZQ==", false),
            ("dGhlIHNhbXBsZSBub25jZQAA==", false),
            ("dGhlIHNhbXBsZSBub25jZ\u{e9}==", false),
        ] {
            assert_eq!(is_key(key.as_bytes()), is_good, "{key}");
        }
    }

    #[test]
    fn only_what_was_asked_for_is_confirmed() {
        let mut request: Fields = HANDSHAKE[1..].iter().copied().collect();
        let switch = Switch::offer(&Upgrade::Websocket, &mut request).unwrap();
        assert_eq!(
            (request.get("connection"), request.get("upgrade")),
            (Some(&b"upgrade"[..]), Some(&b"websocket"[..]))
        );
        // The example of RFC 6455 §1.3.
        let good = [("upgrade", "WebSocket"), ("connection", "x, Upgrade"), (ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")];
        let confirms = |lines: &[(&str, &str)]| switch.is_confirmed(&lines.iter().copied().collect());
        assert!(confirms(&good));
        for left_out in 0..3 {
            let lines: Vec<_> = good.into_iter().enumerate().filter(|(n, _)| *n != left_out).collect();
            let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
            assert!(!confirms(&lines), "{lines:?}");
        }
        for (name, value) in [
            ("upgrade", "h2c"),
            ("upgrade", "websocket, h2c"),
            ("connection", "close"),
            (ACCEPT, "S3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ] {
            let changed = good.map(|line| if line.0 == name { (name, value) } else { line });
            assert!(!confirms(&changed), "{changed:?}");
        }
        assert!(!confirms(&[good[0], good[0], good[1], good[2]]));
    }

    /// By HTTP/2 the router proves to itself what an endpoint of HTTP/1.1 would have.
    #[test]
    fn an_answer_that_agrees_by_http2_is_what_it_would_have_been() {
        let lines = [("content-length", "7"), ("x", "1"), (ACCEPT, "forged"), ("sec-websocket-protocol", "chat")];
        for (protocol, request) in [(Upgrade::Websocket, &HANDSHAKE[1..]), (Upgrade::Other("tcp".to_owned()), &[])] {
            let mut request: Fields = request.iter().copied().collect();
            let switch = Switch::offer(&protocol, &mut request).unwrap();
            let mut head = response::delimited(StatusCode::OK, lines.into_iter().collect(), false).unwrap();
            assert!(!switch.is_confirmed(&head.fields));
            switch.agree(&mut head);
            assert_eq!(head.status, StatusCode::SWITCHING_PROTOCOLS);
            assert!(switch.is_confirmed(&head.fields) && !head.fields.has(Known::ContentLength));
            assert_eq!(
                (head.fields.get("x"), head.fields.get("sec-websocket-protocol")),
                (Some(&b"1"[..]), Some(&b"chat"[..]))
            );
        }
    }

    #[test]
    fn what_the_client_has_removed_is_no_offer_any_more() {
        let mut request: Fields = HANDSHAKE[2..].iter().copied().collect();
        assert!(Switch::offer(&Upgrade::Websocket, &mut request).is_none());
        assert!(!request.has(Known::Upgrade) && !request.has(Known::Connection));
    }
}
