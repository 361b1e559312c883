//! Upstreams that fail, one way after the other, under load: the right answer in time, and nobody else hurt.
//!
//! The endpoint of one service in one cell misbehaves. Watched are the tenants of that cell at that service (who must
//! get what `FAULTS` says), and everybody else (who must notice nothing).

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::checks::{Checks, tally};
use super::{Common, Stage, holds_within};
use crate::error::Result;
use crate::site::{Limits, Pin, Route, Site, Timeouts};
use crate::traffic::{Client, Event, Outcome, Traffic, latencies};
use crate::upstream::{Behaviour, Label};

/// What the drilled route allows, in milliseconds.
const TIMES: Timeouts = Timeouts { connect: 300, response_head: 500, response_body: 500, request: 1_500 };
/// What the second route to the same service allows: there the total runs out first.
const TOTAL: Timeouts = Timeouts { connect: 300, response_head: 5_000, response_body: 500, request: 400 };
/// How much later than configured an answer may come: the machine may be busy.
const SLACK: Duration = Duration::from_millis(400);
/// A slow upstream that is not too slow.
const SLOW: Duration = Duration::from_millis(200);
/// After a change, before its effects are looked at.
const SETTLE: Duration = Duration::from_millis(200);

/// What the client must see.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// This status with one of these codes.
    Reject(u16, &'static [&'static str]),
    /// A 200.
    Good,
    /// A 200 whose body is cut short: never a clean end.
    CutShort,
}

/// One way to fail.
struct Fault {
    name: &'static str,
    behaviour: Behaviour,
    /// At the route with [`TIMES`].
    expected: Expected,
    /// How long that may take, in milliseconds.
    within: u64,
    /// At the route with [`TOTAL`], where it is watched too.
    in_total: Option<Expected>,
    /// Whether nginx, standing in, answers with the same status.
    as_nginx: bool,
}

/// The one table of what each fault must look like from outside.
const FAULTS: [Fault; 11] = [
    Fault {
        name: "connections refused",
        behaviour: Behaviour::Refuse,
        expected: Expected::Reject(502, &["upstream_connect_failed"]),
        within: TIMES.connect,
        in_total: Some(Expected::Reject(502, &["upstream_connect_failed"])),
        as_nginx: true,
    },
    Fault {
        name: "connections that never open",
        behaviour: Behaviour::Unreachable,
        expected: Expected::Reject(504, &["upstream_connect_timeout"]),
        within: TIMES.connect,
        in_total: Some(Expected::Reject(504, &["upstream_connect_timeout"])),
        as_nginx: true,
    },
    Fault {
        name: "no answer",
        behaviour: Behaviour::Hang,
        expected: Expected::Reject(504, &["upstream_response_timeout"]),
        within: TIMES.response_head,
        in_total: Some(Expected::Reject(504, &["request_timeout"])),
        as_nginx: true,
    },
    Fault {
        name: "half a head, then nothing",
        behaviour: Behaviour::HangInHead,
        expected: Expected::Reject(504, &["upstream_response_timeout"]),
        within: TIMES.response_head,
        in_total: Some(Expected::Reject(504, &["request_timeout"])),
        as_nginx: true,
    },
    Fault {
        name: "half a head, then closed",
        behaviour: Behaviour::CloseInHead,
        expected: Expected::Reject(502, &["upstream_closed", "upstream_protocol_error"]),
        within: TIMES.response_head,
        in_total: None,
        as_nginx: true,
    },
    Fault {
        name: "half a body, then nothing",
        behaviour: Behaviour::HangInBody,
        expected: Expected::CutShort,
        within: TIMES.response_body,
        in_total: Some(Expected::CutShort),
        as_nginx: true,
    },
    Fault {
        name: "half a body, then closed",
        behaviour: Behaviour::CloseInBody,
        expected: Expected::CutShort,
        within: TIMES.response_body,
        in_total: Some(Expected::CutShort),
        as_nginx: true,
    },
    Fault {
        name: "slow, but in time",
        behaviour: Behaviour::Slow(SLOW),
        expected: Expected::Good,
        within: TIMES.response_head,
        in_total: Some(Expected::Good),
        as_nginx: true,
    },
    Fault {
        name: "reset",
        behaviour: Behaviour::Reset,
        expected: Expected::Reject(502, &["upstream_closed"]),
        within: TIMES.response_head,
        in_total: None,
        as_nginx: true,
    },
    Fault {
        name: "closed without an answer",
        behaviour: Behaviour::Close,
        expected: Expected::Reject(502, &["upstream_closed"]),
        within: TIMES.response_head,
        in_total: None,
        as_nginx: true,
    },
    Fault {
        // nginx takes such bytes for an answer of HTTP/0.9.
        name: "an answer that is not HTTP",
        behaviour: Behaviour::Garbage,
        expected: Expected::Reject(502, &["upstream_protocol_error"]),
        within: TIMES.response_head,
        in_total: None,
        as_nginx: false,
    },
];

/// What the clients of a group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// At the faulty endpoint, through the route with [`TIMES`].
    Hurt,
    /// At the faulty endpoint, through the route with [`TOTAL`].
    HurtInTotal,
    /// At the service that loses one of two endpoints, in the same cell.
    Ejecting,
    /// Everywhere else.
    Other,
}

pub(super) async fn run(common: &Common) -> Result<()> {
    let mut checks = Checks::new("upstream-faults");
    let site = site()?;
    let (clients, groups) = clients(&site);
    let stage = Stage::set(common.proxy, site).await?;
    let observe = if common.short { Duration::from_millis(600) } else { Duration::from_secs(2) };
    let traffic = Traffic::start(stage.site.listen, &clients, Duration::from_millis(50));
    let scene = Scene { stage: &stage, traffic: &traffic, groups: &groups, observe };

    sleep(SETTLE).await;
    let calm = scene.observe(Duration::ZERO).await;
    scene.all_good(&mut checks, "before any fault", &calm, |_| true);
    for fault in FAULTS.iter().filter(|fault| stage.is_gridrouter() || fault.as_nginx) {
        scene.go_through(fault, &mut checks).await;
    }
    scene.lose_endpoints(&mut checks).await;
    checks.finish(common)
}

/// Two services: `checkout` with one endpoint a cell, which is never left out, and `orders` with two, which are. The
/// routes `checkout` and `total` lead to the first.
fn site() -> Result<Site> {
    let mut site = Site::new(3, &["checkout", "orders"], 2)?;
    for service in &mut site.services {
        if service.name == "checkout" {
            let mut cells = std::collections::BTreeSet::new();
            service.endpoints.retain(|label| cells.insert(label.cell.clone()));
            service.ejects = false;
        }
    }
    for route in &mut site.routes {
        route.timeouts = Some(TIMES);
    }
    site.routes.push(Route {
        name: "total".to_owned(),
        host: "total.example.com".to_owned(),
        prefix: "/api".to_owned(),
        service: "checkout".to_owned(),
        timeouts: Some(TOTAL),
        limits: Limits::None,
    });
    let pins = site.cells.iter().flat_map(|cell| (0..4).map(move |number| (cell, number)));
    site.pins =
        pins.map(|(cell, number)| Pin { tenant: format!("{cell}-tenant-{number}"), cell: cell.clone() }).collect();
    Ok(site)
}

/// A client of every tenant on every route, and the group of each.
fn clients(site: &Site) -> (Vec<Client>, Vec<Group>) {
    let hurt = site.cells.first();
    let mut clients = Vec::new();
    let mut groups = Vec::new();
    for route in &site.routes {
        for pin in &site.pins {
            clients.push(Client {
                tenant: pin.tenant.clone(),
                host: route.host.clone(),
                path: format!("{}/fault", route.prefix),
            });
            groups.push(match route.name.as_str() {
                _ if hurt != Some(&pin.cell) => Group::Other,
                "checkout" => Group::Hurt,
                "total" => Group::HurtInTotal,
                _ => Group::Ejecting,
            });
        }
    }
    (clients, groups)
}

struct Scene<'a> {
    stage: &'a Stage,
    traffic: &'a Traffic,
    groups: &'a [Group],
    observe: Duration,
}

impl Scene<'_> {
    /// What is sent from now on for a while, when all of it has ended: which takes as long as the longest time out.
    async fn observe(&self, longest: Duration) -> Vec<Event> {
        let from = Instant::now();
        sleep(self.observe).await;
        let until = Instant::now();
        sleep(longest + SLACK).await;
        self.traffic.between(from, until)
    }

    fn of<'e>(&self, events: &'e [Event], wanted: impl Fn(Group) -> bool) -> Vec<&'e Event> {
        events.iter().filter(|event| self.groups.get(event.client).is_some_and(|group| wanted(*group))).collect()
    }

    /// The endpoints of a service in the hurt cell.
    fn behave(&self, service: &str, behaviours: &[Behaviour]) {
        let cell = self.stage.site.cells.first();
        let inside = |label: &Label| label.service == service && Some(&label.cell) == cell;
        let pairs = self.stage.site.endpoints().zip(&self.stage.endpoints).filter(|(label, _)| inside(label));
        for ((_, endpoint), behaviour) in pairs.zip(behaviours) {
            endpoint.behave(*behaviour);
        }
    }

    async fn go_through(&self, fault: &Fault, checks: &mut Checks) {
        self.behave("checkout", &[fault.behaviour]);
        sleep(SETTLE).await;
        let within = Duration::from_millis(fault.within);
        let events = self.observe(within).await;

        let expected = |group: Group| match group {
            Group::Hurt => Some(fault.expected),
            Group::HurtInTotal => fault.in_total,
            Group::Ejecting | Group::Other => None,
        };
        for group in [Group::Hurt, Group::HurtInTotal] {
            // Without codes, nginx's total is only its time for the head, which is another.
            if group == Group::HurtInTotal && !self.stage.is_gridrouter() {
                continue;
            }
            let Some(expected) = expected(group) else { continue };
            let hurt = self.of(&events, |of| of == group);
            let right = !hurt.is_empty() && hurt.iter().all(|event| self.is(&event.outcome, expected));
            let route = if group == Group::Hurt { "" } else { " (a short total)" };
            let seen = tally(hurt.iter().map(|event| event.outcome.brief()));
            checks.check(format_args!("{}{route}: {}", fault.name, words(expected)), right, seen);
            let longest = hurt.iter().map(|event| event.took).max().unwrap_or_default();
            let in_time = longest <= within + SLACK;
            checks.check(
                format_args!("{}{route}: known within {} ms", fault.name, fault.within),
                in_time,
                format_args!("longest {} ms", longest.as_millis()),
            );
        }
        self.all_good(checks, fault.name, &events, |group| matches!(group, Group::Other | Group::Ejecting));
        self.recover(checks, fault.name, "checkout").await;
    }

    /// Everybody of these groups gets a 200.
    fn all_good(&self, checks: &mut Checks, when: &str, events: &[Event], wanted: impl Fn(Group) -> bool) {
        let those = self.of(events, wanted);
        let bad = tally(those.iter().filter(|event| !event.outcome.is_good()).map(|event| event.outcome.brief()));
        let p99 = latencies(those.iter().copied()).percentile(99.0).as_micros();
        let seen = format!("{bad} of {} went wrong, p99 {p99} us", those.len());
        checks.check(format_args!("{when}: nobody else notices"), bad == "nothing" && !those.is_empty(), seen);
    }

    /// Ends the fault; soon all is well.
    async fn recover(&self, checks: &mut Checks, after: &str, service: &str) {
        self.behave(service, &[Behaviour::Answer, Behaviour::Answer]);
        let ended = Instant::now();
        let hurt = |group: Group| !matches!(group, Group::Other);
        // Requests that were under way may still fail. Afterwards every client that was hurt is answered.
        let all_answered = async || {
            let events = self.traffic.between(ended, Instant::now());
            let clients: Vec<usize> =
                (0..self.groups.len()).filter(|client| self.groups.get(*client).is_some_and(|of| hurt(*of))).collect();
            clients.iter().all(|client| {
                events.iter().rev().find(|event| event.client == *client).is_some_and(|event| event.outcome.is_good())
            })
        };
        let recovered = holds_within(Duration::from_secs(5), all_answered).await;
        let took = ended.elapsed().as_millis();
        let from = Instant::now();
        sleep(SETTLE * 2).await;
        let events = self.traffic.between(from, Instant::now());
        let bad = tally(events.iter().filter(|event| !event.outcome.is_good()).map(|event| event.outcome.brief()));
        checks.check(
            format_args!("{after}: recovers"),
            recovered && bad == "nothing" && !events.is_empty(),
            format_args!("after {took} ms; then {bad} of {} went wrong", events.len()),
        );
    }

    /// One endpoint of two, and then both, refuse connections: those that failed are left out.
    async fn lose_endpoints(&self, checks: &mut Checks) {
        self.behave("orders", &[Behaviour::Refuse]);
        sleep(SETTLE).await;
        let events = self.observe(Duration::ZERO).await;
        let hurt = self.of(&events, |group| group == Group::Ejecting);
        let bad = hurt.iter().filter(|event| !event.outcome.is_good()).count();
        let tries = 1 + self.observe.as_secs() as usize;
        let seen = tally(hurt.iter().map(|event| event.outcome.brief()));
        // Once in a second, one request tries whether the endpoint is back.
        checks.check(
            format_args!("one of two endpoints refuses: at most {} requests feel it", 2 * tries),
            bad <= 2 * tries,
            seen,
        );
        self.all_good(checks, "one of two endpoints refuses", &events, |group| group != Group::Ejecting);

        self.behave("orders", &[Behaviour::Refuse, Behaviour::Refuse]);
        sleep(SETTLE).await;
        let events = self.observe(Duration::ZERO).await;
        let hurt = self.of(&events, |group| group == Group::Ejecting);
        let failed = Expected::Reject(502, &["upstream_connect_failed"]);
        let none = Expected::Reject(503, &["no_endpoint_available"]);
        let right = hurt.iter().all(|event| self.is(&event.outcome, failed) || self.is(&event.outcome, none));
        let seen = tally(hurt.iter().map(|event| event.outcome.brief()));
        checks.check("both endpoints refuse: 502 upstream_connect_failed or 503 no_endpoint_available", right, seen);
        self.all_good(checks, "both endpoints refuse", &events, |group| group != Group::Ejecting);
        self.recover(checks, "both endpoints refuse", "orders").await;
    }

    fn is(&self, outcome: &Outcome, expected: Expected) -> bool {
        match expected {
            Expected::Good => outcome.is_good(),
            Expected::CutShort => *outcome == Outcome::CutShort(200),
            Expected::Reject(wanted, codes) => match outcome {
                Outcome::Answered { status, .. } if !self.stage.is_gridrouter() => *status == wanted,
                // The same code in the header and in the body, and nothing of an upstream's.
                Outcome::Answered { status, served_by, reject: Some((header, Some(body))), .. } => {
                    *status == wanted && served_by.is_none() && header == body && codes.contains(&header.as_str())
                }
                Outcome::Answered { .. } | Outcome::CutShort(_) | Outcome::Failed(_) => false,
            },
        }
    }
}

fn words(expected: Expected) -> String {
    match expected {
        Expected::Good => "200".to_owned(),
        Expected::CutShort => "the body is cut short, not ended".to_owned(),
        Expected::Reject(status, codes) => format!("{status} {}", codes.join(" or ")),
    }
}
