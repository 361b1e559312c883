//! One request by HTTP/2, from its head to the end of its answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::receiving::Receiving;
use super::session::{Open, Session};
use super::{answer, headers};
use crate::grpc::Dialect;
use crate::http::answer::Answer;
use crate::http::client_body::ClientBody;
use crate::http::connection::Connection;
use crate::http::tunnel::Tunnel;
use crate::http::tunnel::end::{End, StreamEnd};
use crate::http1::body::Decoder;
use crate::pipeline::{self, own, upgrade};
use crate::telemetry::Record;
use crate::telemetry::tunnels::Closed;

/// Answers one request.
pub(super) async fn serve(open: Open, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let session = &*open.session;
    let (parts, body) = request.into_parts();
    let connects = parts.extensions.get::<Protocol>().is_some();
    let is_head = parts.method == Method::HEAD;
    let is_whole = body.is_end_stream();
    // A tunnel is no call, whatever it says: 200 would mean that there is one.
    let dialect = if parts.method == Method::CONNECT { Dialect::Plain } else { Dialect::of(&parts.headers) };
    let body = Receiving::new(body, session.reached, connects);
    let (connection, answer) = match headers::request(parts, is_whole) {
        Ok(mut head) => {
            if connects {
                let worker = &session.worker;
                upgrade::complete(&mut head, || [worker.random(), worker.random()]);
            }
            let connection = Connection::of_stream(session, body, head.body);
            connection.dialect.set(dialect);
            connection.begins(head.body, head.expects_continue);
            let answer = {
                let handling = pin!(pipeline::handle(&connection, head, ClientBody::new(&connection)));
                wait(&connection, session, &mut respond, handling).await
            };
            (connection, answer)
        }
        Err(malformed) => {
            let connection = Connection::of_stream(session, body, Decoder::Done);
            connection.dialect.set(dialect);
            let reject = own::reject_for(malformed);
            tracing::debug!(client = %session.origin.peer, code = reject.code(), "request refused: {}", malformed.as_str());
            let record = Record::new(session.worker.read_clock());
            let answer = own::reject(&connection, reject, record, |_| {});
            (connection, Some(answer))
        }
    };
    let Some(answer) = answer else { return };
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        return become_tunnel(open, &connection, answer, respond);
    }
    if answer::send(&connection, &session.guard, answer, respond, is_head).await {
        session.guard.borrow_mut().answered();
    }
}

/// Tells the client that its stream is a tunnel (RFC 8441 §5), and lets that have a task of its own: nothing is left of this one.
fn become_tunnel(open: Open, connection: &Rc<Connection>, answer: Answer, mut respond: SendResponse<Bytes>) {
    let Answer { fields, body, .. } = answer;
    let mut map = headers::map(fields, 1);
    map.remove(upgrade::NOT_BY_HTTP2);
    if !map.contains_key(header::DATE) {
        let date = connection.worker().with_date(HeaderValue::from_bytes);
        map.extend(date.ok().map(|date| (header::DATE, date)));
    }
    let mut response = Response::new(());
    *response.headers_mut() = map;
    let receive = connection.incoming.borrow_mut().take_stream();
    // It fails when the client has gone.
    let (Some(receive), Ok(send)) = (receive, respond.send_response(response, false)) else { return };
    let guard = Rc::clone(&open.session.guard);
    let client = End::Stream(Box::new(StreamEnd::of_client(receive.into_stream(), send, guard)));
    let Some(tunnel) = Tunnel::between(connection, client, Bytes::new(), body) else { return };
    drop(tokio::task::spawn_local(async move {
        if tunnel.run().await != Closed::Broken {
            // Who takes it back at once has not been served.
            open.session.guard.borrow_mut().answered();
        }
        drop(open);
    }));
}

/// Waits for the answer; `None` when the client has taken its request back.
async fn wait(
    connection: &Rc<Connection>,
    session: &Session,
    respond: &mut SendResponse<Bytes>,
    mut handling: Pin<&mut impl Future<Output = Answer>>,
) -> Option<Answer> {
    poll_fn(|cx| {
        connection.register(cx);
        // Looked at first: what is over before it begins costs nobody else anything, an endpoint's connection least of all.
        if has_left(session, respond, cx) {
            return Poll::Ready(None);
        }
        let polled = handling.as_mut().poll(cx);
        say_first(connection, respond);
        polled.map(Some)
    })
    .await
}

/// Whether the request was taken back: by the client, or for what it did wrong.
fn has_left(session: &Session, respond: &mut SendResponse<Bytes>, cx: &mut Context<'_>) -> bool {
    let Poll::Ready(why) = respond.poll_reset(cx) else { return false };
    // The client's own frame was paid for when it came. Clients that have lost interest say CANCEL.
    let is_wrong =
        |reason| matches!(reason, Reason::PROTOCOL_ERROR | Reason::FLOW_CONTROL_ERROR | Reason::STREAM_CLOSED);
    if why.is_ok_and(is_wrong) {
        session.guard.borrow_mut().taken_back();
    }
    true
}

/// Sends the interim responses that there are: that the client may send its body, early hints.
fn say_first(connection: &Connection, respond: &mut SendResponse<Bytes>) {
    let interim = connection.incoming.borrow_mut().take_interim();
    for (status, fields) in interim {
        let mut interim = Response::new(());
        *interim.status_mut() = status;
        *interim.headers_mut() = headers::map(fields, 0);
        // The client must not wait for them forever (RFC 9110 §10.1.1).
        let _sent: Result<(), h2::Error> = respond.send_informational(interim);
    }
}
