//! Whose a request is: never an id that is none, and what somebody finds who looks at every place by hand.

use bytes::BytesMut;
use gridrouter_config::ids::Name;
use gridrouter_config::model::{Otherwise, TenantRule, TenantSource};
use http::HeaderName;

use super::cursor::Cursor;
use crate::http::path::normalise;
use crate::http1::{Scan, request};
use crate::tenant::{Asked, Found, find};

fn source(cursor: &mut Cursor<'_>) -> TenantSource {
    match cursor.below(5) {
        0 => TenantSource::Header(HeaderName::from_static("x-tenant")),
        1 => TenantSource::HostLabel(cursor.byte() % 3),
        2 => TenantSource::PathSegment(cursor.byte() % 3),
        3 => TenantSource::Query("t".to_owned()),
        _ => TenantSource::Cookie("t".to_owned()),
    }
}

/// What one place says: nothing, an id, or what is none.
fn by_hand(source: &TenantSource, asked: &Asked<'_>) -> Option<Result<String, ()>> {
    let decode = |text: &str, plus: u8| {
        let (mut out, mut bytes) = (Vec::new(), text.bytes());
        while let Some(byte) = bytes.next() {
            out.push(match byte {
                b'%' => {
                    let digits: Vec<u8> = bytes.by_ref().take(2).filter(u8::is_ascii_hexdigit).collect();
                    let digits = str::from_utf8(&digits).ok().filter(|digits| digits.len() == 2).ok_or(())?;
                    u8::from_str_radix(digits, 16).map_err(drop)?
                }
                b'+' => plus,
                byte => byte,
            });
        }
        String::from_utf8(out).map_err(drop)
    };
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(drop);
    let all: Vec<Result<String, ()>> = match source {
        TenantSource::Header(name) => {
            let lines: Vec<&[u8]> = asked.headers.get_all(name.as_str()).collect();
            if lines.windows(2).any(|two| two[0] != two[1]) {
                return Some(Err(()));
            }
            lines.into_iter().map(utf8).collect()
        }
        TenantSource::PathSegment(index) => {
            let segment = asked.path.split('/').nth(usize::from(*index) + 1);
            segment.map(|text| decode(text, b'+')).into_iter().collect()
        }
        TenantSource::Query(name) => {
            let pairs = asked.query.into_iter().flat_map(|query| query.split('&'));
            let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            let ours = pairs.filter(|(key, _)| decode(key, b' ').as_ref() == Ok(name));
            ours.map(|(_, value)| decode(value, b' ')).collect()
        }
        TenantSource::Cookie(name) => {
            let lines = asked.headers.get_all("cookie");
            let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
            let ours = pairs.filter_map(|pair| pair.strip_prefix(format!("{name}=").as_bytes()));
            // A blank before the value is part of it, and so no id: some take it for one and others do not.
            ours.map(utf8).collect()
        }
        TenantSource::HostLabel(_) | TenantSource::ClientCertificate(_) => return None,
    };
    let first = all.first()?.clone();
    Some(if all.iter().all(|one| *one == first) { first } else { Err(()) })
}

pub(super) fn check(bytes: &[u8]) {
    let mut cursor = Cursor(bytes);
    let from: Vec<TenantSource> = (0..=cursor.below(3)).map(|_| source(&mut cursor)).collect();
    let Ok(Some(head)) = request::parse(&mut BytesMut::from(cursor.0), &mut Scan::default()) else { return };
    let Ok(path) = normalise(head.uri.path()) else { return };
    let asked = Asked {
        host: head.fields.get("host").and_then(|host| str::from_utf8(host).ok()).unwrap_or_default(),
        path: &path,
        query: head.uri.query(),
        headers: &head.fields,
        certificate: None,
    };
    let rule = TenantRule { from, otherwise: Otherwise::Reject };
    if let Found::Tenant(id) = find(&rule, &asked) {
        assert!(Name::tenant(&id).is_ok(), "{id:?}");
    }
    for source in rule.from {
        if matches!(source, TenantSource::HostLabel(_)) {
            continue;
        }
        let expected = match by_hand(&source, &asked) {
            None => Found::Missing,
            Some(Ok(id)) if id.is_empty() => Found::Missing,
            Some(Ok(id)) if Name::tenant(&id).is_ok() => Found::Tenant(id.into()),
            Some(_) => Found::Invalid,
        };
        let rule = TenantRule { from: vec![source], otherwise: Otherwise::Reject };
        assert_eq!(find(&rule, &asked), expected, "{rule:?} {asked:?}");
    }
}
