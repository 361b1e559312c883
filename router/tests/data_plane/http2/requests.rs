//! Requests and answers by HTTP/2, from a library's client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, Site, Upstream, eventually};

/// Runs a client on a connection of its own.
pub(crate) fn with_client<T>(site: &Site, act: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    with_client_at(site.address(), act)
}

/// Runs a client of whoever listens at an address.
pub(crate) fn with_client_at<T>(address: SocketAddr, act: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = TcpStream::connect(address).await.unwrap();
        // Room for more streams than one.
        let mut builder = h2::client::Builder::new();
        let handshake = builder.initial_connection_window_size(1024 * 1024).handshake(socket);
        let (send, connection) = handshake.await.unwrap();
        let moving = tokio::spawn(connection);
        let done = tokio::time::timeout(3 * PATIENCE, act(send)).await.expect("a client waits forever");
        moving.abort();
        done
    })
}

/// More than the sockets on the way may hold, and much less than is to be sent.
const MOST: u64 = 24 * 1024 * 1024;

fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://a.test{path}")).body(()).unwrap()
}

/// Sends a request without a body.
async fn ask(client: &SendRequest<Bytes>, request: Request<()>) -> Result<Response<RecvStream>, h2::Error> {
    let mut client = client.clone().ready().await?;
    client.send_request(request, true)?.0.await
}

/// Reads a body to its end.
async fn read(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        all.extend_from_slice(&piece);
    }
    Ok((all, body.trailers().await?))
}

#[test]
fn a_request_is_answered() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-One: 1\r\nX-One: 2\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n\r\nhi",
    );
    let site = Site::of(&upstream);
    with_client(&site, async |client| {
        let mut answer = ask(&client, request("GET", "/a?b")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let lines = answer.headers();
        assert_eq!(lines.get("content-length").unwrap(), "2");
        assert_eq!(lines.get_all("x-one").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert!(lines.contains_key("date") && !lines.contains_key("x-hop") && !lines.contains_key("connection"));
        assert_eq!(read(answer.body_mut()).await.unwrap(), (b"hi".to_vec(), None));
        let answer = ask(&client, request("HEAD", "/a")).await.unwrap();
        assert_eq!(
            (answer.headers().get("content-length").unwrap().as_bytes(), answer.body().is_end_stream()),
            (&b"2"[..], true)
        );
    });
    assert_eq!(upstream.received().first, "GET /a?b HTTP/1.1");
    assert_eq!(upstream.connections(), 1, "the endpoint's connection is used again");
    assert_eq!(site.count("gridrouter_http2_connections_total"), 1);
}

#[test]
fn refusals_say_why() {
    let upstream = Upstream::ok("fine");
    let site = Site::to(&upstream).route("paths: [{prefix: /here}]").start();
    with_client(&site, async |client| {
        let mut answer = ask(&client, request("GET", "/elsewhere")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        assert_eq!(answer.headers().get("x-gridrouter-reject").unwrap(), "no_route");
        let (body, _) = read(answer.body_mut()).await.unwrap();
        assert_eq!(answer.headers().get("content-length").unwrap().to_str().unwrap(), body.len().to_string());
        assert!(String::from_utf8(body).unwrap().contains("no_route"));
        // The connection goes on.
        assert_eq!(ask(&client, request("GET", "/here")).await.unwrap().status(), StatusCode::OK);
    });
}

#[test]
fn many_requests_share_a_connection() {
    let upstream = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            let path = request.first.split(' ').nth(1).unwrap().to_owned();
            peer.ok(&path);
        }
    });
    let site = Site::of(&upstream);
    with_client(&site, async |client| {
        // By its answer it knows how many may be open at a time.
        ask(&client, request("GET", "/")).await.unwrap();
        let mut asked = Vec::new();
        for n in 0..300 {
            let mut client = client.clone().ready().await.unwrap();
            asked.push((n, client.send_request(request("GET", &format!("/{n}")), true).unwrap().0));
        }
        for (n, answer) in asked {
            let mut answer = answer.await.unwrap();
            let (body, _) = read(answer.body_mut()).await.unwrap();
            assert_eq!(String::from_utf8(body).unwrap(), format!("/{n}"));
        }
    });
    assert_eq!(site.count("gridrouter_connections_accepted_total"), 1);
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let upstream = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            let sum: u64 = request.body.iter().map(|byte| u64::from(*byte)).sum();
            let size = request.body.len();
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n");
            for piece in request.body.chunks(40_000) {
                peer.send(format!("{:x}\r\n", piece.len())).send(piece).send("\r\n");
            }
            peer.send(format!("0\r\nx-sum: {sum}\r\nx-size: {size}\r\nset-cookie: a=1\r\n\r\n"));
        }
    });
    let site = Site::of(&upstream);
    let body: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
    with_client(&site, async |client| {
        let mut client = client.ready().await.unwrap();
        let (answer, mut send) = client.send_request(request("POST", "/"), false).unwrap();
        let whole = Bytes::from(body.clone());
        let sending = async {
            for piece in whole.chunks(70_000) {
                send_all(&mut send, whole.slice_ref(piece)).await.unwrap();
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checked", "yes".parse().unwrap());
            send.send_trailers(trailers).unwrap();
        };
        let receiving = async {
            let mut answer = answer.await.unwrap();
            assert!(
                !answer.headers().contains_key("content-length") && !answer.headers().contains_key("transfer-encoding")
            );
            let (got, trailers) = read(answer.body_mut()).await.unwrap();
            assert!(got == body);
            let trailers = trailers.unwrap();
            assert_eq!(trailers.get("x-sum").unwrap().to_str().unwrap(), sum.to_string());
            assert!(!trailers.contains_key("set-cookie"), "that could be taken for a header");
        };
        tokio::join!(sending, receiving);
    });
    assert_eq!(upstream.received().trailers, ["x-checked: yes"]);
}

/// Sends a piece as far and as fast as there is room for it.
async fn send_all(send: &mut h2::SendStream<Bytes>, mut piece: Bytes) -> Result<(), h2::Error> {
    while !piece.is_empty() {
        send.reserve_capacity(piece.len());
        let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
        let room = room.ok_or(Reason::STREAM_CLOSED)??;
        send.send_data(piece.split_to(room.min(piece.len())), false)?;
    }
    Ok(())
}

/// An endpoint that does not read keeps its client from sending: what is on its way is bounded by the windows and the sockets.
#[test]
fn an_endpoint_that_does_not_take_a_body_holds_its_client() {
    let (go, gone) = channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let upstream = Upstream::scripted(move |peer| {
        if peer.try_head().is_some() {
            let _over: Result<(), _> = gone.lock().unwrap().recv_timeout(PATIENCE);
        }
    });
    let site = Site::of(&upstream);
    let sent = Arc::new(AtomicU64::new(0));
    with_client(&site, async |client| {
        let mut client = client.ready().await.unwrap();
        let (_answer, mut body) = client.send_request(request("POST", "/"), false).unwrap();
        let piece = Bytes::from(vec![0; 64 * 1024]);
        while sent.load(Ordering::Relaxed) <= MOST {
            let sending = tokio::time::timeout(Duration::from_secs(2), send_all(&mut body, piece.clone()));
            match sending.await {
                Ok(done) => done.unwrap(),
                Err(_) => break,
            }
            sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    });
    drop(go);
    assert!(
        sent.load(Ordering::Relaxed) <= MOST,
        "{} bytes were taken from a client whose endpoint reads nothing",
        sent.load(Ordering::Relaxed)
    );
}

/// A client that does not take an answer keeps its endpoint from sending, and others are served meanwhile.
#[test]
fn a_client_that_does_not_take_an_answer_holds_its_endpoint() {
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let upstream = Upstream::scripted(move |peer| {
        while let Some(request) = peer.request() {
            if !request.first.contains("/endless") {
                peer.ok("soon");
                continue;
            }
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
            let piece = vec![0; 64 * 1024];
            while count.load(Ordering::Relaxed) <= MOST && peer.try_send(&piece) {
                count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
            return;
        }
    });
    let site = Site::of(&upstream);
    with_client(&site, async |client| {
        let endless = ask(&client, request("GET", "/endless")).await.unwrap();
        let (mut last, mut same) = (0, 0);
        while same < 20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = sent.load(Ordering::Relaxed);
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        assert!(last <= MOST, "{last} bytes of an answer that nobody takes");
        let mut answer = ask(&client, request("GET", "/other")).await.unwrap();
        assert_eq!(read(answer.body_mut()).await.unwrap().0, b"soon");
        drop(endless);
    });
}

#[test]
fn an_endpoint_that_breaks_off_resets_the_stream_and_nothing_else() {
    let upstream = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            if request.first.contains("/breaks") {
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
                return;
            }
            peer.ok("whole");
        }
    });
    let site = Site::of(&upstream);
    with_client(&site, async |client| {
        // The answer's head may be overtaken by the end.
        let broken = match ask(&client, request("GET", "/breaks")).await {
            Ok(mut answer) => read(answer.body_mut()).await.unwrap_err(),
            Err(broken) => broken,
        };
        assert_eq!(broken.reason(), Some(Reason::INTERNAL_ERROR));
        let mut answer = ask(&client, request("GET", "/fine")).await.unwrap();
        assert_eq!(read(answer.body_mut()).await.unwrap().0, b"whole");
    });
    eventually("it is counted", || site.count("gridrouter_responses_broken_off_total") == 1);
}

#[test]
fn a_client_that_takes_its_request_back_frees_the_endpoint() {
    let (tell, told) = channel();
    let tell = std::sync::Mutex::new(tell);
    let upstream = Upstream::scripted(move |peer| {
        while let Some(request) = peer.request() {
            if request.first.contains("/slow") {
                // It ends when the router closes the connection.
                let ending = peer.ending();
                tell.lock().unwrap().send(ending).unwrap();
                return;
            }
            peer.ok("next");
        }
    });
    let site = Site::of(&upstream);
    with_client(&site, async |client| {
        let mut ready = client.clone().ready().await.unwrap();
        let (answer, mut send) = ready.send_request(request("GET", "/slow"), true).unwrap();
        while site.count("gridrouter_connections_accepted_total") == 0 || upstream.connections() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        upstream.received();
        send.send_reset(Reason::CANCEL);
        drop(answer);
        assert_eq!(ask(&client, request("GET", "/next")).await.unwrap().status(), StatusCode::OK);
    });
    told.recv_timeout(PATIENCE).expect("the endpoint's connection stays");
}

#[test]
fn a_body_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let upstream = Upstream::ok("fine");
    let site = Site::to(&upstream).route("maxBody: 100B").start();
    with_client(&site, async |client| {
        let mut ready = client.clone().ready().await.unwrap();
        let (answer, mut send) = ready.send_request(request("POST", "/"), false).unwrap();
        let sending = send_all(&mut send, Bytes::from(vec![0; 1_000_000]));
        let (answer, _cut) = tokio::join!(answer, sending);
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(ask(&client, request("GET", "/")).await.unwrap().status(), StatusCode::OK);
    });
}

#[test]
fn who_expects_to_be_told_to_continue_is_told() {
    let upstream = Upstream::ok("fine");
    let site = Site::of(&upstream);
    with_client(&site, async |client| {
        let mut ready = client.ready().await.unwrap();
        let mut asked = request("POST", "/");
        asked.headers_mut().insert("expect", "100-continue".parse().unwrap());
        let (mut answer, mut send) = ready.send_request(asked, false).unwrap();
        let told = std::future::poll_fn(|cx| answer.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!(told.status(), StatusCode::CONTINUE);
        send.send_data(Bytes::from_static(b"body"), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
    });
    let got = upstream.received();
    assert_eq!((&got.body[..], got.header("expect")), (&b"body"[..], None));
}

/// A drain: the client is told to open no more streams, and those that are open go on.
#[test]
fn a_router_that_stops_lets_requests_end() {
    let (go, going) = channel::<()>();
    let going = std::sync::Mutex::new(going);
    let upstream = Upstream::scripted(move |peer| {
        if peer.request().is_some() {
            going.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            peer.ok("late");
        }
    });
    let site = Site::to(&upstream).route("").drain(PATIENCE).start();
    let address = site.address();
    let client = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = TcpStream::connect(address).await.unwrap();
            let (send, connection) = h2::client::handshake(socket).await.unwrap();
            let moving = tokio::spawn(connection);
            let mut answer = ask(&send, request("GET", "/")).await.unwrap();
            let body = read(answer.body_mut()).await.unwrap().0;
            drop(send);
            // The router closes the connection.
            moving.await.unwrap().unwrap();
            body
        })
    });
    upstream.received();
    let stopping = std::thread::spawn(move || site.stop());
    eventually("it takes no more connections", || std::net::TcpStream::connect(address).is_err());
    go.send(()).unwrap();
    assert_eq!(client.join().unwrap(), b"late");
    assert_eq!(stopping.join().unwrap(), 0, "nobody was cut off");
}

#[test]
fn early_hints_come_before_the_answer() {
    let upstream = Upstream::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Own: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    );
    let site = Site::of(&upstream);
    with_client(&site, async |client| {
        let mut ready = client.ready().await.unwrap();
        let (mut answer, _) = ready.send_request(request("GET", "/"), true).unwrap();
        let hint = std::future::poll_fn(|cx| answer.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!((hint.status(), hint.headers().len()), (StatusCode::EARLY_HINTS, 1));
        assert_eq!(hint.headers().get("link").unwrap(), "</a.css>; rel=preload");
        let mut answer = answer.await.unwrap();
        assert_eq!(read(answer.body_mut()).await.unwrap().0, b"hi");
    });
}

#[test]
fn an_upload_that_is_taken_back_is_no_mistake_of_its_client() {
    let upstream = Upstream::scripted(|peer| while peer.request().is_some() {});
    let site = Site::of(&upstream);
    with_client(&site, async |client| {
        let mut ready = client.clone().ready().await.unwrap();
        let (answer, mut body) = ready.send_request(request("POST", "/"), false).unwrap();
        send_all(&mut body, Bytes::from_static(b"half")).await.unwrap();
        while upstream.connections() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        body.send_reset(Reason::CANCEL);
        drop(answer);
    });
    eventually("it is counted", || site.count("gridrouter_route_requests_total{route=\"all\",status=\"4xx\"}") == 1);
    assert_eq!(site.count("gridrouter_rejects_total{code=\"malformed_request\"}"), 0);
}
