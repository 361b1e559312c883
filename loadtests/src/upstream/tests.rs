//! The endpoint, asked over a socket.

use super::*;
use crate::http::{Connection, Failed};
use crate::http2;

fn label(port_of: &str) -> Label {
    let address = crate::ports::free(1).unwrap()[0];
    format!("{address}=checkout/{port_of}").parse().unwrap()
}

#[test]
fn labels() {
    let label: Label = "127.0.0.1:9101=checkout/eu-1".parse().unwrap();
    assert_eq!(label.served_by(), "eu-1/checkout/127.0.0.1:9101");
    for bad in ["", "127.0.0.1:9101", "x=a/b", "127.0.0.1:9101=a", "127.0.0.1:9101=/b"] {
        assert!(bad.parse::<Label>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn answers_say_who_answered_and_what_was_received() {
    let label = label("eu-1");
    let _endpoint = Endpoint::start(&label).unwrap();
    let mut connection = Connection::open(label.address).await.unwrap();
    let answer = connection.exchange(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(answer.header("x-served-by"), Some(label.served_by().as_str()));
    assert!(answer.keeps_alive);
    let sent = b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = connection.exchange(sent).await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(answer.body).unwrap();
    assert_eq!(json["cell"], "eu-1");
    assert_eq!(json["received"], 3);
    let answer = connection.exchange(b"GET /a/bytes/70000?x=/1 HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(answer.body.len(), 70_000);
    let answer = connection.exchange(b"HEAD /a/bytes/70000 HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!((answer.header("content-length"), answer.body.len()), (Some("70000"), 0));
}

#[tokio::test]
async fn misbehaviour_is_what_it_says_and_ends_when_told() {
    let label = label("eu-1");
    let endpoint = Endpoint::start(&label).unwrap();
    let request = b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n";
    let ask = async || {
        let limit = Duration::from_millis(300);
        let exchange = async { Connection::open(label.address).await?.exchange(request).await.map(|a| a.status) };
        tokio::time::timeout(limit, exchange).await.unwrap_or(Err(Failed::TooLate))
    };
    // The endpoint's task takes a moment to hear of the change; the deadline is the test's own patience.
    let becomes = async |wanted: fn(&std::result::Result<u16, Failed>) -> bool| {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let got = ask().await;
            if wanted(&got) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "still {got:?}");
        }
    };
    endpoint.behave(Behaviour::Refuse);
    becomes(|got| matches!(got, Err(Failed::Connect(_)))).await;
    endpoint.behave(Behaviour::Unreachable);
    becomes(|got| matches!(got, Err(Failed::TooLate))).await;
    endpoint.behave(Behaviour::CloseInBody);
    becomes(|got| matches!(got, Err(Failed::CutShort(200)))).await;
    endpoint.behave(Behaviour::CloseInHead);
    becomes(|got| matches!(got, Err(Failed::CutShort(0)))).await;
    endpoint.behave(Behaviour::Close);
    becomes(|got| matches!(got, Err(Failed::Closed))).await;
    endpoint.behave(Behaviour::Reset);
    becomes(|got| matches!(got, Err(Failed::Broken(_)))).await;
    endpoint.behave(Behaviour::Garbage);
    becomes(|got| matches!(got, Err(Failed::Malformed(_)))).await;
    endpoint.behave(Behaviour::Hang);
    becomes(|got| matches!(got, Err(Failed::TooLate))).await;
    endpoint.behave(Behaviour::Slow(Duration::from_millis(50)));
    becomes(|got| matches!(got, Ok(200))).await;
    endpoint.behave(Behaviour::Answer);
    becomes(|got| matches!(got, Ok(200))).await;
}

#[tokio::test]
async fn visits_are_written_down_and_answers_delayed() {
    let (label, journal) = (label("eu-1"), Arc::new(journal::Journal::default()));
    let _endpoint = Endpoint::recorded(&label, Arc::clone(&journal)).unwrap();
    let mut connection = Connection::open(label.address).await.unwrap();
    let began = tokio::time::Instant::now();
    connection.exchange(b"GET /a/delay/30 HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(30));
    connection.exchange(b"GET /ab?x HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let [visit] = journal.visits("/a").try_into().unwrap();
    assert!(&*visit.path == "/a/delay/30" && visit.left.unwrap() - visit.came >= Duration::from_millis(30));
    assert_eq!(journal.visits("/ab").len(), 1);
}

#[tokio::test]
async fn one_in_so_many_fails_and_the_journal_says_which() {
    let (label, journal) = (label("eu-1"), Arc::new(Journal::default()));
    let endpoint = Endpoint::recorded(&label, Arc::clone(&journal)).unwrap();
    let request = b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut connection = Connection::open(label.address).await.unwrap();
    assert_eq!(connection.exchange(request).await.unwrap().status, 200);
    endpoint.behave(Behaviour::FailOneIn(4));
    // The endpoint closes connections when it has heard; the deadline is the test's own patience.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while connection.exchange(request).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "the connection stays open");
    }
    let before = journal.count();
    let mut connection = Connection::open(label.address).await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(connection.exchange(request).await.unwrap().status);
    }
    assert_eq!(statuses, [200, 200, 500, 200, 200, 200, 500, 200]);
    let failed: Vec<bool> = journal.visits("/x").iter().skip(before).map(|visit| visit.failed).collect();
    assert_eq!(failed, statuses.iter().map(|status| *status == 500).collect::<Vec<_>>());
    assert_eq!(journal.count(), before + 8);
    assert!(journal.last().is_some());
}

#[tokio::test]
async fn a_connection_that_begins_with_http2_speaks_it_and_calls_of_grpc_have_trailers() {
    let label = label("eu-1");
    let _endpoint = Endpoint::start(&label).unwrap();
    let ask = |path: &str, kind: &str, body: bytes::Bytes| {
        let uri = format!("http://bench.example.com{path}");
        let request = ::http::Request::post(uri).header("content-type", kind).body(body).unwrap();
        http2::exchange(label.address, None, request)
    };

    let plain = ask("/api", "text/plain", bytes::Bytes::from_static(b"12345")).await.unwrap();
    assert_eq!((plain.status.as_u16(), plain.field("x-served-by")), (200, label.served_by().as_str()));
    assert!(plain.body.ends_with(b"\"received\":5}") && plain.trailers.is_none(), "{plain:?}");
    let large = ask("/bytes/300000", "text/plain", bytes::Bytes::new()).await.unwrap();
    assert_eq!(large.body.len(), 300_000);

    let call = ask("/a/B", http2::GRPC, http2::message(b"hello")).await.unwrap();
    assert!(call.of_grpc().unwrap().ends_with(b"\"received\":5}"), "{call:?}");
    let cut = http2::message(b"hello").slice(..9);
    let refused = ask("/a/B", http2::GRPC, cut).await.unwrap();
    assert_eq!(refused.trailers.as_ref().unwrap()[http2::GRPC_STATUS], "3");
    assert!(refused.of_grpc().is_err() && plain.of_grpc().is_err());
}
