//! Services by themselves.

use std::collections::BTreeMap;

use http::HeaderValue;

use super::Check;
use super::host::{authority, exact};
use super::listener::authorities;
use super::value::all;
use crate::model::{Balance, Service, ServiceTls, TlsVersion, Tracks, UpstreamProtocol};
use crate::path::Path;
use crate::raw;
use crate::track::Track;
use crate::units::parse_duration;

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Service) -> Option<Service> {
    let host = raw.host.as_ref().map(|text| host(check, &Path::Root.key("host"), text));
    let balance = balance(check, raw.balance.as_ref());
    let at = Path::Root.key("cells");
    let cells = all(raw.cells.iter().map(|(cell, raw)| {
        let path = at.key(cell);
        let (name, tracks) = (check.reference(&path, cell), tracks(check, &path, raw));
        Some((name?, tracks?))
    }));
    let endpoints = raw.endpoints.as_ref().map(|raw| tracks(check, &Path::Root.key("endpoints"), raw));
    // A service with a host alone is meant for the ingress of cells, whether a route uses it yet or not.
    if raw.cells.is_empty() && raw.endpoints.is_none() && raw.host.is_none() {
        let message = format!("service \"{}\" has neither `cells` nor `endpoints` nor `host`", check.source.id.name);
        let help = "list its endpoints under `cells` (or `endpoints`, for routes without a grid), or write the `host` \
                    that the cells' ingress knows it by";
        check.wrong_but(&Path::Root, message, help);
    }
    let limits = check.references(&Path::Root.key("limits"), &raw.limits);
    let tls = raw.tls.as_ref().map(|tls| self::tls(check, tls, raw.host.as_deref()));
    let protocol = raw.protocol.unwrap_or(UpstreamProtocol::Http1);
    if raw.proxy_protocol.is_some() && protocol != UpstreamProtocol::Http1 {
        check.wrong_but(
            &Path::Root.key("proxyProtocol"),
            "a connection that speaks HTTP/2 is shared by clients, and the PROXY protocol tells of one",
            "write `protocol: http1`, or leave `proxyProtocol` out and let endpoints read `X-Forwarded-For`",
        );
    }
    Some(Service {
        name: check.source.id.name.clone(),
        host: host.map_or(Some(None), |host| host.map(Some))?,
        balance: balance?,
        cells: cells?.into_iter().collect::<BTreeMap<_, _>>(),
        endpoints: endpoints.unwrap_or_else(|| Some(Tracks::default()))?,
        limits: limits?,
        tls: tls.map_or(Some(None), |tls| tls.map(Some))?,
        proxy_protocol: raw.proxy_protocol,
        protocol,
    })
}

fn tls(check: &mut Check<'_>, raw: &raw::ServiceTls, host: Option<&str>) -> Option<ServiceTls> {
    let at = Path::Root.key("tls");
    let written = raw.server_name.as_ref().map(|text| {
        let bare = |text: &str| exact(&text.to_ascii_lowercase()).map(|name| name.trim_matches(['[', ']']).to_owned());
        check.take(&at.key("serverName"), bare(text))
    });
    // What is wrong with the host is told where it stands.
    let of_host = || {
        let authority = authority(host?).ok()?;
        let port = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        Some(port.map_or(authority.as_str(), |(name, _)| name).trim_matches(['[', ']']).to_owned())
    };
    let authorities = raw.authorities.as_ref().map(|raw| authorities(check, &at.key("authorities"), raw));
    let certificate = raw.client_certificate.as_ref().map(|name| check.reference(&at.key("clientCertificate"), name));
    let verify = raw.verify.unwrap_or(true);
    if !verify && raw.authorities.is_some() {
        let help = "remove `authorities`, or `verify: false`";
        check.wrong_but(&at.key("verify"), "authorities have no effect where certificates are not checked", help);
    }
    Some(ServiceTls {
        server_name: written.map_or_else(|| Some(of_host()), |name| name.map(Some))?,
        authorities: authorities.map_or(Some(None), |authorities| authorities.map(Some))?,
        verify,
        client_certificate: certificate.map_or(Some(None), |name| name.map(Some))?,
        minimum_version: raw.minimum_version.unwrap_or(TlsVersion::Tls12),
    })
}

/// A value of the `Host` header.
pub(super) fn host(check: &mut Check<'_>, path: &Path<'_>, text: &str) -> Option<HeaderValue> {
    let host = check.take(path, authority(text))?;
    check.header_value(path, &host)
}

/// An empty list that is written says that endpoints register themselves; one that is not written is a mistake, where it
/// is of the track in use.
fn tracks(check: &mut Check<'_>, path: &Path<'_>, raw: &raw::Tracks) -> Option<Tracks> {
    let active = raw.active.unwrap_or_default();
    let (used, other, word) = match active {
        Track::Blue => (&raw.blue, &raw.green, active.as_str()),
        Track::Green => (&raw.green, &raw.blue, active.as_str()),
    };
    if used.is_none() {
        if other.is_none() {
            let help = format!(
                "list some under `{word}`, write `{word}: []` if they register themselves, or remove the field"
            );
            check.wrong_but(path, "no endpoints", help);
        } else {
            let help = format!(
                "`{}` gets no traffic without a shift; list them under `{word}`, or write `{word}: []` if they register \
                 themselves",
                active.other().as_str()
            );
            check.wrong_but(path, format!("no endpoints under `{word}`, the version in use"), help);
        }
    }
    let blue = check.endpoints(&path.key("blue"), raw.blue.as_deref().unwrap_or_default());
    let green = check.endpoints(&path.key("green"), raw.green.as_deref().unwrap_or_default());
    Some(Tracks { blue: blue?, green: green?, active })
}

fn balance(check: &mut Check<'_>, raw: Option<&raw::Balance>) -> Option<Balance> {
    let default = Balance::default();
    let Some(raw) = raw else { return Some(default) };
    let fail_timeout_secs = match &raw.fail_timeout {
        None => Some(default.fail_timeout_secs),
        Some(text) => check.take(&Path::Root.key("balance").key("failTimeout"), whole_seconds(text)),
    };
    match raw.algorithm.unwrap_or(raw::BalanceAlgorithm::SmoothWeightedRoundRobin) {
        raw::BalanceAlgorithm::SmoothWeightedRoundRobin => {}
    }
    Some(Balance { max_fails: raw.max_fails.unwrap_or(default.max_fails), fail_timeout_secs: fail_timeout_secs? })
}

fn whole_seconds(text: &str) -> Result<u32, String> {
    let duration = parse_duration(text)?;
    if duration.subsec_nanos() != 0 {
        let above = duration.as_secs() + 1;
        return Err(format!("failTimeout \"{text}\" is not whole seconds; write {above}s"));
    }
    Ok(u32::try_from(duration.as_secs()).unwrap_or(u32::MAX))
}
