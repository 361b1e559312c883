//! Requests that a fence keeps away wait for its end.

use std::rc::Rc;
use std::time::Duration;

use super::departure::{depart, forward, forward_later};
use super::fencing::{Fencing, Place};
use super::waiting::Counted;
use super::{Begun, ToWait, begin, own};
use crate::http::answer::Answer;
use crate::http::client_body::ClientBody;
use crate::http::connection::Connection;
use crate::http1::request::Head;
use crate::listener::worker::Worker;
use crate::snapshot::fences::is_write;
use crate::telemetry::Record;

/// A place to wait in for the end of a fence, where the fence grants a time and there is one.
pub(super) fn place(worker: &Rc<Worker>, refused: &own::Refused) -> Option<Place> {
    let fence = refused.fence.as_ref()?;
    if fence.document.hold.is_zero() { None } else { Fencing::hold(worker) }
}

/// Waits until no fence keeps a request away, and decides on it anew: by then the tenant may be on another cell.
pub(super) async fn hold(
    connection: &Rc<Connection>,
    place: Place,
    mut refused: own::Refused,
    head: Head,
    body: ClientBody,
) -> Answer {
    let worker = connection.worker();
    let hold = refused.fence.as_ref().map_or(Duration::ZERO, |fence| fence.document.hold);
    // What has a deadline of its own waits no longer than that.
    let own = connection.request_deadline.get();
    let left = Duration::from_millis(own.0.saturating_sub(worker.now_millis().0));
    let until = tokio::time::Instant::now() + hold.min(left);
    let counted = Counted::new(worker, Record::new(worker.now()));
    connection.waits.set(true);
    let (snapshot, begun) = loop {
        let news = worker.fencing.news();
        let snapshot = worker.snapshot();
        // A look at the fence alone first: a thousand may wait while another one goes.
        let is_up = refused.fence.as_ref().is_some_and(|fence| {
            let is_write = is_write(&head.method) || head.upgrades;
            let fences = snapshot.fences.as_ref();
            fences.and_then(|all| all.find(fence.hash, fence.document.tenant.as_str(), fence.grid, is_write)).is_some()
        });
        if !is_up {
            match begin(connection, &snapshot, &head, worker.read_clock()) {
                Err(again) if again.fence.is_some() => refused = *again,
                begun => break (snapshot, begun),
            }
        }
        if tokio::time::timeout_at(until, news).await.is_err() {
            let is_late = worker.read_clock().millis() >= own;
            break (snapshot, Err(Box::new(if is_late { refused.late() } else { refused })));
        }
    };
    connection.waits.set(false);
    counted.done();
    drop(place);
    let expects = head.expects_continue;
    match begun {
        Ok(Begun::Going(going, picked)) => {
            let mut departure = depart(connection, &snapshot, going, picked, head, body);
            forward(connection, &snapshot, &mut departure).await
        }
        Ok(Begun::Waiting(waiting)) => {
            let ToWait { turn, group, going } = *waiting;
            forward_later(connection, &snapshot, turn, &group, going, head, body).await
        }
        Ok(Begun::Own(own)) => own::answer(connection, own, body, expects).await,
        Err(refused) => own::refuse(connection, *refused, body, expects).await,
    }
}
