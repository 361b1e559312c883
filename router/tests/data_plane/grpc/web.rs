//! gRPC-Web, as a browser speaks it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};

use super::super::http2::requests::with_client;
use super::super::support::http2::{Call, Http2Upstream, send_all};
use super::super::support::{Builder, Ending, Message, PATIENCE, Site, Upstream, eventually};
use super::{Told, begin, server, to};

const MESSAGE: &[u8] = b"\0\0\0\0\x02hi";

fn site(upstream: &Http2Upstream) -> Site {
    to(upstream.address()).route("grpcWeb: true").start()
}

fn post(path: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a.test\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

const BINARY: &str = "Content-Type: application/grpc-web+proto\r\n";
const TEXT: &str = "Content-Type: application/grpc-web-text\r\nAccept: application/grpc-web-text\r\n";

/// The messages of a body, and the lines of the last.
#[track_caller]
fn parts(mut body: &[u8]) -> (Vec<Vec<u8>>, String) {
    let mut messages = Vec::new();
    loop {
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        let (message, rest) = body[5..].split_at(length);
        if body[0] == 0x80 {
            assert!(rest.is_empty(), "there is more behind the trailers: {rest:?}");
            return (messages, String::from_utf8(message.to_vec()).unwrap());
        }
        messages.push(message.to_vec());
        body = rest;
    }
}

/// What is in pieces of base64, each padded.
fn decoded(text: &[u8]) -> Vec<u8> {
    text.chunks(4).flat_map(|group| STANDARD.decode(group).unwrap()).collect()
}

#[track_caller]
fn assert_web(answer: &Message, content_type: &str) {
    assert_eq!((answer.status(), answer.header("content-type")), (200, Some(content_type)), "{answer:?}");
    assert_eq!((answer.header("content-length"), answer.header("grpc-status")), (None, None), "{answer:?}");
}

#[test]
fn a_call_over_http_1_ends_with_its_trailers_in_the_body() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        let names = ["content-type", "te", "content-length"];
        call.log(format!("{:?}", names.map(|name| call.request.headers().get(name).cloned())));
        let (message, _) = call.body().await.unwrap();
        let head = Response::builder().header("content-type", "application/grpc+proto").body(()).unwrap();
        let mut body = call.respond.send_response(head, false).unwrap();
        body.send_data(message.into(), false).unwrap();
        let line = |(name, value): (&'static str, &str)| (http::HeaderName::from_static(name), value.parse().unwrap());
        body.send_trailers([("grpc-status", "0"), ("x-sum", "7")].map(line).into_iter().collect()).unwrap();
    });
    let site = site(&upstream);
    let mut client = site.client();
    for _ in 0..2 {
        let answer = client.send(post("/s/M", BINARY, MESSAGE)).answer();
        assert_web(&answer, "application/grpc-web+proto");
        assert_eq!(parts(&answer.body), (vec![b"hi".to_vec()], "grpc-status: 0\r\nx-sum: 7\r\n".to_owned()));
        assert_eq!(upstream.logged(), "[Some(\"application/grpc+proto\"), Some(\"trailers\"), Some(\"7\")]");
    }
    // As text, in pieces that are padded wherever the client had nothing more.
    let text = [STANDARD.encode(&MESSAGE[..1]), STANDARD.encode(&MESSAGE[1..])].concat();
    let answer = client.send(post("/s/M", TEXT, text.as_bytes())).answer();
    assert_web(&answer, "application/grpc-web-text+proto");
    assert_eq!(parts(&decoded(&answer.body)), (vec![b"hi".to_vec()], "grpc-status: 0\r\nx-sum: 7\r\n".to_owned()));
    assert_eq!(upstream.logged(), "[Some(\"application/grpc\"), Some(\"trailers\"), None]");
    let ended = || site.count("gridrouter_grpc_calls_total{route=\"all\",status=\"OK\"}");
    eventually("three calls are over", || ended() == 3);
}

#[test]
fn an_answer_that_is_all_trailers_has_them_in_the_body_too() {
    let upstream = server();
    let site = site(&upstream);
    let answer = site.exchange(post("/head/5", BINARY, MESSAGE));
    assert_web(&answer, "application/grpc-web");
    assert_eq!(parts(&answer.body), (vec![], "grpc-status: 5\r\ngrpc-message: no%25\r\n".to_owned()));
    // What is no answer of gRPC's passes as it is.
    let answer = site.exchange(post("/html/503", BINARY, MESSAGE));
    assert_eq!(
        (answer.status(), answer.header("content-type"), answer.text().as_str()),
        (503, Some("text/html"), "<h1>")
    );
    // Without a status it is none that passes for done.
    let answer = site.exchange(post("/none", BINARY, MESSAGE));
    let unknown = "grpc-status: 2\r\ngrpc-message: the answer has no status\r\n";
    assert_eq!(parts(&answer.body), (vec![b"hi".to_vec()], unknown.to_owned()));
}

#[test]
fn refusals_and_deadlines_are_statuses_as_well() {
    let upstream = Http2Upstream::scripted(|call: Call| async move { call.wait().await });
    let site = to(upstream.address())
        .route("grpcWeb: true\nlimits: [per]")
        .document("kind: Limit\nname: per\nkey: [route]\nfixedWindow: {limit: 1, window: 1h}")
        .start();
    let late = site.exchange(post("/s/M", &format!("{BINARY}grpc-timeout: 200m\r\n"), MESSAGE));
    assert_eq!((late.status(), late.header("x-gridrouter-reject")), (200, Some("request_timeout")));
    assert_eq!(parts(&late.body).1, "grpc-status: 4\r\ngrpc-message: the request took too long\r\n");
    let refused = site.exchange(post("/s/M", TEXT, b"AAAAAAA="));
    assert_eq!((refused.status(), refused.header("x-gridrouter-reject")), (200, Some("limit_exceeded")));
    assert!(refused.header("retry-after").is_some());
    let (none, lines) = parts(&decoded(&refused.body));
    assert!(
        none.is_empty()
            && lines.starts_with("grpc-status: 8\r\ngrpc-message: too many requests\r\ngrpc-retry-pushback-ms: "),
        "{lines}"
    );
    // The connection's next request is one of HTTP again.
    let mut client = site.client();
    client.send(post("/s/M", BINARY, MESSAGE)).answer();
    client.get("/").assert_reject(429, "limit_exceeded");
}

#[test]
fn what_is_no_text_is_refused() {
    let upstream = server();
    let site = site(&upstream);
    let answer = site.exchange(post("/ok", TEXT, b"AAAA!!!!"));
    assert_eq!((answer.status(), answer.header("x-gridrouter-reject")), (200, Some("malformed_request")));
    assert!(parts(&decoded(&answer.body)).1.starts_with("grpc-status: 3\r\n"));
    let answer = site.exchange(post("/ok", TEXT, b"AAAAA"));
    assert!(parts(&decoded(&answer.body)).1.starts_with("grpc-status: 3\r\n"), "it lacks three letters");
}

#[test]
fn messages_pass_as_they_come_whatever_their_size() {
    const SIZE: usize = 3_000_001;
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut body = call.respond.send_response(head, false).unwrap();
        body.send_data(Bytes::from_static(MESSAGE), false).unwrap();
        // The rest when the client has that.
        call.wait().await;
        let (request, _) = call.body().await.unwrap();
        call.log(request.len().to_string());
        send_all(&mut body, request.into(), false, &std::sync::atomic::AtomicUsize::new(0)).await.unwrap();
        body.send_trailers(
            std::iter::once((http::HeaderName::from_static("grpc-status"), "0".parse().unwrap())).collect(),
        )
        .unwrap();
    });
    let site = site(&upstream);
    with_client(&site, async |client| {
        let mut big = vec![0];
        big.extend_from_slice(&(SIZE as u32).to_be_bytes());
        big.extend((0..SIZE).map(|at| (at % 251) as u8));
        let request =
            Request::post("http://a.test/s/M").header("content-type", "application/grpc-web-text").body(()).unwrap();
        let (answer, mut send) = begin(&client, request).await;
        let text = STANDARD.encode(&big);
        let sending = tokio::spawn(async move {
            send_all(&mut send, text.into(), true, &std::sync::atomic::AtomicUsize::new(0)).await.unwrap();
        });
        let mut answer = answer.await.unwrap();
        let first = answer.body_mut().data().await.unwrap().unwrap();
        answer.body_mut().flow_control().release_capacity(first.len()).unwrap();
        assert_eq!(decoded(&first), MESSAGE, "a message waits for what comes behind");
        upstream.go.add_permits(1);
        let told = Told::of(answer).await;
        sending.await.unwrap();
        assert_eq!((told.header("content-type"), told.trailers.is_none()), ("application/grpc-web-text", true));
        let (messages, lines) = parts(&decoded(&told.body));
        assert_eq!((messages.len(), messages[0] == big[5..], &*lines), (1, true, "grpc-status: 0\r\n"));
    });
    assert_eq!(upstream.logged(), (SIZE + 5).to_string());
}

#[test]
fn a_route_that_says_nothing_of_it_passes_it_on() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web\r\nContent-Length: 5\r\n\r\n\u{1}\0\0\0\0",
    );
    let site = Site::of(&upstream);
    let answer = site.exchange(post("/s/M", BINARY, MESSAGE));
    assert_eq!((answer.header("content-length"), answer.body.len()), (Some("5"), 5));
    let received = upstream.received();
    assert_eq!((received.header("content-type"), &*received.body), (Some("application/grpc-web+proto"), MESSAGE));
}

#[test]
fn an_endpoint_that_turns_out_to_speak_http_1_gets_no_call() {
    let upstream = Upstream::ok("fine");
    let site = Site::builder()
        .document(&format!(
            "kind: Service\nname: all\nendpoints: {{blue: [{{address: {}}}]}}\nprotocol: h2",
            upstream.address()
        ))
        .route("grpcWeb: true")
        .start();
    let answer = site.exchange(post("/s/M", BINARY, MESSAGE));
    assert_eq!((answer.status(), answer.header("x-gridrouter-reject")), (200, Some("upstream_no_http2")));
    assert!(parts(&answer.body).1.starts_with("grpc-status: 14\r\n"));
}

/// A service of either protocol, whose endpoint speaks HTTP/1.1.
fn auto(upstream: &Upstream) -> Builder {
    let blue = format!("{{blue: [{{address: {}}}]}}", upstream.address());
    Site::builder().document(&format!("kind: Service\nname: all\nendpoints: {blue}\nprotocol: auto"))
}

/// One look at the type of a request's content must not take endpoints away from everybody else.
#[test]
fn a_call_to_endpoints_of_http_1_is_nobodys_failure() {
    let upstream = Upstream::ok("fine");
    let site = auto(&upstream).route("grpcWeb: true").start();
    for _ in 0..3 {
        let answer = site.exchange(post("/s/M", BINARY, MESSAGE));
        assert_eq!(answer.header("x-gridrouter-reject"), Some("upstream_no_http2"));
        site.get("/").assert_ok("fine");
    }
}

/// What is written in the middle of a message its client takes for the rest of it.
#[test]
fn a_deadline_in_the_middle_of_a_message_cuts_the_answer() {
    for (ahead, is_cut) in [(&b"\0\0\0\0\x28half of it"[..], true), (b"\0\0\0", true), (MESSAGE, false)] {
        let upstream = Http2Upstream::scripted(move |mut call: Call| async move {
            let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut stream = call.respond.send_response(head, false).unwrap();
            stream.send_data(Bytes::from_static(ahead), false).unwrap();
            call.wait().await;
        });
        let site = site(&upstream);
        let mut client = site.client();
        client.send(post("/s/M", &format!("{BINARY}grpc-timeout: 300m\r\n"), b""));
        assert_eq!(client.head().status(), 200);
        let (Ending::Closed(rest) | Ending::Reset(rest) | Ending::Open(rest)) = client.ending_within(PATIENCE);
        let text = String::from_utf8_lossy(&rest);
        assert_eq!((text.contains("grpc-status"), text.ends_with("0\r\n\r\n")), (!is_cut, !is_cut), "{text:?}");
    }
}

/// 200 would say that there is a tunnel.
#[test]
fn what_asks_for_another_protocol_is_no_call() {
    let upstream = Upstream::ok("fine");
    let site = auto(&upstream)
        .document("kind: Limit\nname: none\nkey: [route]\nfixedWindow: {limit: 1, window: 1h}")
        .route("grpcWeb: true\nlimits: [none]")
        .start();
    site.get("/").assert_ok("fine");
    let lines = format!("GET / HTTP/1.1\r\nHost: a\r\n{BINARY}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    site.exchange(lines).assert_reject(429, "limit_exceeded");
}
