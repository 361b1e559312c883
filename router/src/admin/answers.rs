//! One function an endpoint.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use gridrouter_config::model::Model;
use gridrouter_config::tracks::Tracks;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::Full;
use serde_json::json;
use tokio::sync::oneshot;

use super::{json, text, typed};
use crate::http::fields::Fields;
use crate::lifecycle::View;
use crate::listener::worker::{Message, Shared};
use crate::pipeline::explain::Question;
use crate::presence::Presence;
use crate::resolver::NameView;
use crate::telemetry::{render, tracks};
use crate::tls::table::CertificateView;

/// Whether the router can take requests: it has a configuration and is not about to end.
pub(super) fn ready(view: &View) -> Response<Full<Bytes>> {
    let draining = view.shared.draining.load(Ordering::Relaxed);
    let status = view.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let code = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let mut body = serde_json::to_value(&status).unwrap_or_default();
    if let Some(body) = body.as_object_mut() {
        let refused = view.sockets.lock().unwrap_or_else(PoisonError::into_inner).refused().to_vec();
        body.insert("listenersRefused".to_owned(), json!(refused));
        body.insert("ready".to_owned(), json!(!draining));
        body.insert("ageSeconds".to_owned(), json!(status.age_seconds()));
        body.insert("storeSilentSeconds".to_owned(), json!(status.silent_seconds()));
        let presence = view.presence.get().map(Presence::standing);
        let presence = presence
            .map(|standing| json!({"id": standing.id, "registered": standing.registered, "trouble": standing.trouble}));
        body.insert("presence".to_owned(), json!(presence));
        body.insert("certificateFaults".to_owned(), json!(certificate_faults(view)));
        let unresolved = view.board.names().into_iter().filter(|one| one.addresses.is_empty());
        body.insert("namesUnresolved".to_owned(), json!(unresolved.map(|one| one.name).collect::<Vec<_>>()));
        body.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    }
    json(code, &body)
}

/// The names of endpoints, and what they were resolved to.
pub(super) fn names(view: &View) -> Response<Full<Bytes>> {
    let told = |one: NameView| {
        let age = one.answered.map(|at| at.elapsed().as_secs());
        let told = json!({"addresses": one.addresses, "ageSeconds": age, "lookups": one.lookups,
            "failures": one.failures, "error": one.error});
        (one.name.to_string(), told)
    };
    let names: serde_json::Map<_, _> = view.board.names().into_iter().map(told).collect();
    json(StatusCode::OK, &names)
}

/// What is wrong with certificates, one text each.
fn certificate_faults(view: &View) -> Vec<String> {
    let table = view.shared.tls.load();
    let fault = |one: &CertificateView| one.fault.as_ref().map(|why| format!("certificate {}: {why}", one.name));
    table.certificates.iter().filter_map(fault).chain(table.faults.iter().cloned()).collect()
}

/// The certificates that are served.
fn certificates(view: &View) -> Vec<serde_json::Value> {
    let told = |one: &CertificateView| {
        json!({"name": &*one.name, "hosts": one.hosts, "expires": one.expires, "fingerprint": one.fingerprint,
               "fault": one.fault})
    };
    view.shared.tls.load().certificates.iter().map(told).collect()
}

/// The metrics, in the Prometheus text format.
pub(super) fn metrics(view: &View) -> Response<Full<Bytes>> {
    match render::render(view) {
        Ok(body) => typed(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot be rendered: {error}\n")),
    }
}

/// What is in force.
pub(super) fn snapshot(view: &View) -> Response<Full<Bytes>> {
    let snapshot = view.shared.snapshot.load_full();
    let Model { cells, services, routes, limits, tenants, .. } = &*snapshot.model;
    let listeners: serde_json::Map<_, _> = view
        .sockets
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .addresses()
        .into_iter()
        .map(|(name, address)| (name, json!(address.to_string())))
        .collect();
    let cells: serde_json::Map<_, _> = cells
        .values()
        .map(|cell| (cell.name.to_string(), json!({"weight": cell.weight, "state": cell.state.as_str()})))
        .collect();
    let placement: serde_json::Map<_, _> = snapshot
        .grids
        .iter()
        .flatten()
        .map(|grid| {
            let mut buckets = serde_json::Map::new();
            for (index, id) in (0_u16..).zip(&grid.placed) {
                let count = (0..crate::placement::BUCKETS)
                    .filter(|bucket| grid.assignment.cell_of(*bucket as u16) == Some(index))
                    .count();
                let name = snapshot.cell(*id).map(|cell| cell.name.to_string()).unwrap_or_default();
                buckets.insert(name, json!(count));
            }
            (grid.document.name.to_string(), json!({"buckets": buckets}))
        })
        .collect();
    json(
        StatusCode::OK,
        &json!({
            "generation": snapshot.generation,
            "digest": &*snapshot.digest,
            "compiledInMicros": u64::try_from(snapshot.compiled_in.as_micros()).unwrap_or(u64::MAX),
            "listeners": listeners,
            "grids": placement,
            "cells": cells,
            "services": services.keys().collect::<Vec<_>>(),
            "routes": routes.keys().collect::<Vec<_>>(),
            "limits": limits.keys().collect::<Vec<_>>(),
            "certificates": certificates(view),
            "tenants": tenants.len(),
            "pins": tenants.iter().filter(|tenant| tenant.pin().is_some()).count(),
            "moves": crate::presence::moves(&view.shared),
            "threads": view.shared.threads.len(),
        }),
    )
}

/// What was counted of the tracks of shifts.
pub(super) fn tracks(view: &View) -> Response<Full<Bytes>> {
    let snapshot = view.shared.snapshot.load_full();
    let threads: Vec<_> = view.shared.threads.iter().map(|thread| &*thread.counters).collect();
    let shifts = tracks::sums(&snapshot.runs, &threads).into_iter().map(tracks::told).collect();
    let router = view.presence.get().map(|presence| presence.standing().id.to_string()).unwrap_or_default();
    let Shared { started: router_started, process, .. } = *view.shared;
    json(StatusCode::OK, &Tracks { generation: snapshot.generation, router_started, router, process, shifts })
}

/// What would happen to a request: `method`, `host`, `path` (with its query, percent-encoded), `header` (repeatable,
/// `name:value`), `client`, `listener`.
pub(super) async fn explain(view: &View, query: &str) -> Response<Full<Bytes>> {
    let question = match question(view, query) {
        Ok(question) => question,
        Err(what) => return json(StatusCode::BAD_REQUEST, &json!({"error": what, "example": EXAMPLE})),
    };
    let (reply, explanation) = oneshot::channel();
    if let Some(thread) = view.shared.threads.first() {
        thread.tell(Message::Explain(Box::new(question), reply));
    }
    match explanation.await {
        Ok(explanation) => json(StatusCode::OK, &explanation),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the data plane has ended\n".to_owned()),
    }
}

const EXAMPLE: &str = "/explain?method=GET&host=shop.example.com&path=/api/checkout&header=x-tenant-id:acme";

fn question(view: &View, query: &str) -> Result<Question, String> {
    let (mut method, mut uri) = (Method::GET, Uri::from_static("/"));
    let mut client = IpAddr::from([127, 0, 0, 1]);
    let (mut headers, mut listener) = (Fields::new(), None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value).ok_or_else(|| format!("the value of {name} is not percent-encoded UTF-8"))?;
        match name {
            "method" => method = value.parse().map_err(|_| format!("\"{value}\" is not a method"))?,
            "path" if !value.starts_with('/') || value.contains('#') => {
                return Err(format!("\"{value}\" is not a path: it begins with / and has no #"));
            }
            "path" => uri = value.parse().map_err(|_| format!("\"{value}\" is not a path"))?,
            "client" => client = value.parse().map_err(|_| format!("\"{value}\" is not an IP address"))?,
            "listener" => listener = Some(value),
            "host" => add(&mut headers, "host", &value)?,
            "header" => {
                let (name, value) =
                    value.split_once(':').ok_or_else(|| format!("header \"{value}\" is not name:value"))?;
                add(&mut headers, name.trim(), value.trim())?;
            }
            _ => {
                return Err(format!(
                    "unknown parameter {name}; there are method, host, path, header, client, listener"
                ));
            }
        }
    }
    let sockets = view.sockets.lock().unwrap_or_else(PoisonError::into_inner);
    let listener = sockets
        .find(listener.as_deref())
        .ok_or_else(|| format!("there is no listener {}", listener.unwrap_or_default()))?;
    Ok(Question { listener, client, method, uri, headers })
}

fn add(headers: &mut Fields, name: &str, value: &str) -> Result<(), String> {
    let name: HeaderName = name.parse().map_err(|_| format!("\"{name}\" is not a header name"))?;
    let value = HeaderValue::from_str(value).map_err(|_| format!("\"{value}\" is not a header value"))?;
    headers.append(name, value);
    Ok(())
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high << 4 | low).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}
