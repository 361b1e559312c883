//! What a route does.

use http::{HeaderValue, StatusCode};

use super::super::{Check, host, service, url_path};
use super::upgrade;
use crate::model::{Action, FixedResponse, Forward, Redirect, RedirectPath, RouteTimeouts};
use crate::path::Path;
use crate::raw;
use crate::units::parse_duration;

pub(super) fn action(check: &mut Check<'_>, raw: &raw::Route) -> Option<Action> {
    let given =
        [("service", raw.service.is_some()), ("redirect", raw.redirect.is_some()), ("respond", raw.respond.is_some())];
    let given: Vec<&str> = given.into_iter().filter_map(|(word, is)| is.then_some(word)).collect();
    match given.as_slice() {
        [_] => {}
        [] => check.wrong_but(&Path::Root, "route does nothing", "add one of `service`, `redirect` and `respond`"),
        [first, second, ..] => check.wrong_but(
            &Path::Root.key(second),
            format!("both `{first}` and `{second}`"),
            "keep one of `service`, `redirect` and `respond`",
        ),
    }
    let forward = raw.service.as_ref().map(|service| forward(check, raw, service).map(Box::new).map(Action::Forward));
    let redirected = raw.redirect.as_ref().map(|one| redirect(check, raw, one).map(Action::Redirect));
    let answered = raw.respond.as_ref().map(|one| respond(check, one).map(Action::Respond));
    if raw.service.is_none() {
        only_with_a_service(check, raw, given.first().copied());
    }
    forward.or(redirected).or(answered).flatten()
}

/// Fields that say how to send a request on say nothing where it is answered here.
fn only_with_a_service(check: &mut Check<'_>, raw: &raw::Route, action: Option<&str>) {
    let fields = [
        ("grid", raw.grid.is_some()),
        ("timeouts", raw.timeouts.is_some()),
        ("upgrades", raw.upgrades.is_some()),
        ("grpcWeb", raw.grpc_web.is_some()),
        ("rewrite", raw.rewrite.is_some()),
        ("requestHeaders", raw.request_headers.is_some()),
    ];
    let Some(action) = action else { return };
    for (field, _) in fields.into_iter().filter(|(_, given)| *given) {
        let message = format!("`{field}` has no effect beside `{action}`");
        check.wrong_but(
            &Path::Root.key(field),
            message,
            format!("remove it, or name a `service` instead of `{action}`"),
        );
    }
}

fn forward(check: &mut Check<'_>, raw: &raw::Route, service: &str) -> Option<Forward> {
    let grid = raw.grid.as_ref().map(|text| check.reference(&Path::Root.key("grid"), text));
    let service = check.reference(&Path::Root.key("service"), service);
    let timeouts = timeouts(check, raw.timeouts.as_ref());
    let at = Path::Root.key("rewrite");
    let rewrite = raw.rewrite.clone().unwrap_or_default();
    let prefix = rewrite.prefix.map(|text| new_prefix(check, &at.key("prefix"), raw, &text));
    let host = rewrite.host.map(|text| service::host(check, &at.key("host"), &text));
    let upgrades = upgrade::upgrades(check, raw.upgrades.as_deref());
    let request_headers = check.header_edits(&Path::Root.key("requestHeaders"), raw.request_headers.as_ref());
    Some(Forward {
        grid: grid.map_or(Some(None), |grid| grid.map(Some))?,
        service: service?,
        timeouts: timeouts?,
        prefix_rewrite: prefix.map_or(Some(None), |prefix| prefix.map(Some))?,
        host_rewrite: host.map_or(Some(None), |host| host.map(Some))?,
        upgrades: upgrades?,
        grpc_web: raw.grpc_web.unwrap_or(false),
        request_headers: request_headers?,
    })
}

fn timeouts(check: &mut Check<'_>, raw: Option<&raw::RouteTimeouts>) -> Option<RouteTimeouts> {
    let default = RouteTimeouts::default();
    let Some(raw) = raw else { return Some(default) };
    let at = Path::Root.key("timeouts");
    let connect = check.duration(&at.key("connect"), raw.connect.as_ref(), default.connect);
    let response_head = check.duration(&at.key("responseHead"), raw.response_head.as_ref(), default.response_head);
    let request = raw.request.as_ref().map(|text| check.take(&at.key("request"), parse_duration(text)));
    let response_body = check.duration(&at.key("responseBody"), raw.response_body.as_ref(), default.response_body);
    let tunnel_idle = check.duration(&at.key("tunnelIdle"), raw.tunnel_idle.as_ref(), default.tunnel_idle);
    let upstream_idle = check.duration(&at.key("upstreamIdle"), raw.upstream_idle.as_ref(), default.upstream_idle);
    Some(RouteTimeouts {
        connect: connect?,
        response_head: response_head?,
        request: request.map_or(Some(None), |request| request.map(Some))?,
        response_body: response_body?,
        tunnel_idle: tunnel_idle?,
        upstream_idle: upstream_idle?,
    })
}

/// What replaces the prefix that matched.
fn new_prefix(check: &mut Check<'_>, path: &Path<'_>, raw: &raw::Route, text: &str) -> Option<String> {
    let bad = raw.paths.iter().position(|one| !matches!(one, raw::PathMatch::Prefix(_)));
    if let Some(n) = bad {
        let message = format!("a prefix can be replaced only where a prefix matched, and paths[{n}] is none");
        check.wrong_but(path, message, "make every path a prefix, or move the others to a route of their own");
    }
    let prefix = check.take(path, url_path::prefix(text))?;
    bad.is_none().then_some(prefix)
}

fn redirect(check: &mut Check<'_>, route: &raw::Route, raw: &raw::Redirect) -> Option<Redirect> {
    let at = Path::Root.key("redirect");
    let status = redirect_status(check, &at.key("status"), raw.status.unwrap_or(302));
    let host = raw.host.as_ref().map(|text| check.take(&at.key("host"), host::exact(&text.to_ascii_lowercase())));
    if raw.port == Some(0) {
        check.wrong_but(&at.key("port"), "port is 0", "write 1 to 65535");
    }
    if *raw == (raw::Redirect { status: raw.status, ..raw::Redirect::default() }) {
        let message = "redirect leads back to where it came from";
        check.wrong_but(&at, message, "add one of `scheme`, `host`, `port`, `path` and `prefix`");
    }
    let path = redirect_path(check, &at, route, raw);
    let scheme = raw.scheme.map(|scheme| match scheme {
        raw::Scheme::Http => "http".to_owned(),
        raw::Scheme::Https => "https".to_owned(),
    });
    Some(Redirect {
        status: status?,
        scheme,
        host: host.map_or(Some(None), |host| host.map(Some))?,
        port: raw.port,
        path: path?,
    })
}

fn redirect_status(check: &mut Check<'_>, path: &Path<'_>, status: u16) -> Option<StatusCode> {
    if matches!(status, 301 | 302 | 303 | 307 | 308) {
        return StatusCode::from_u16(status).ok();
    }
    check.wrong_but(path, format!("status {status} is no redirect"), "write 301, 302, 303, 307 or 308");
    None
}

fn redirect_path(
    check: &mut Check<'_>,
    at: &Path<'_>,
    route: &raw::Route,
    raw: &raw::Redirect,
) -> Option<RedirectPath> {
    let path = raw.path.as_ref().map(|text| check.take(&at.key("path"), url_path::check(text)));
    let prefix = raw.prefix.as_ref().map(|text| new_prefix(check, &at.key("prefix"), route, text));
    match (path, prefix) {
        (None, None) => Some(RedirectPath::Keep),
        (Some(path), None) => path.map(RedirectPath::Replace),
        (None, Some(prefix)) => prefix.map(RedirectPath::ReplacePrefix),
        (Some(_), Some(_)) => {
            check.wrong_but(&at.key("prefix"), "both `path` and `prefix`", "keep one of the two");
            None
        }
    }
}

fn respond(check: &mut Check<'_>, raw: &raw::FixedResponse) -> Option<FixedResponse> {
    let at = Path::Root.key("respond");
    let status = StatusCode::from_u16(raw.status).ok().filter(|status| (200..=599).contains(&status.as_u16()));
    if status.is_none() {
        check.wrong_but(&at.key("status"), format!("status {} is no final answer", raw.status), "write 200 to 599");
    }
    let body = raw.body.clone().unwrap_or_default();
    if matches!(raw.status, 204 | 205 | 304) && !body.is_empty() {
        let message = format!("status {} has no body", raw.status);
        check.wrong_but(&at.key("body"), message, "remove the body, or write another status");
    }
    let content_type = match &raw.content_type {
        None => Some(HeaderValue::from_static("text/plain; charset=utf-8")),
        Some(text) => check.header_value(&at.key("contentType"), text),
    };
    Some(FixedResponse { status: status?, body, content_type: content_type? })
}
