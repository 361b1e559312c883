//! Endpoints that speak HTTP/2: one that is made with h2, and frames by hand.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

use super::{PATIENCE, Peer};

/// One request, as an endpoint has it.
pub(crate) struct Call {
    pub(crate) request: Request<RecvStream>,
    pub(crate) respond: SendResponse<Bytes>,
    /// The connection that it came on, and which of its requests it is.
    pub(crate) connection: usize,
    pub(crate) number: usize,
    control: mpsc::UnboundedSender<Order>,
    log: Sender<String>,
    /// What the test gives when endpoints may go on.
    pub(crate) go: Arc<Semaphore>,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    GoAway,
    Die,
}

/// Sends a body as far as there is room. The error says that the stream was reset.
pub(crate) async fn send_all(
    stream: &mut h2::SendStream<Bytes>,
    mut body: Bytes,
    is_end: bool,
    sent: &AtomicUsize,
) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap_or(Ok(0))?;
        let part = body.split_to(room.min(body.len()));
        sent.fetch_add(part.len(), Ordering::Relaxed);
        stream.send_data(part, is_end && body.is_empty())?;
    }
    Ok(())
}

impl Call {
    pub(crate) fn path(&self) -> String {
        self.request.uri().path().to_owned()
    }

    pub(crate) fn log(&self, text: impl Into<String>) {
        let _gone = self.log.send(text.into());
    }

    /// The same for when the call is gone.
    pub(crate) fn logger(&self) -> impl Fn(String) + Send + use<> {
        let log = self.log.clone();
        move |text| drop(log.send(text))
    }

    /// Reads the body; the error says how it broke off.
    pub(crate) async fn body(&mut self) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
        let (mut all, stream) = (Vec::new(), self.request.body_mut());
        while let Some(data) = stream.data().await {
            let data = data?;
            stream.flow_control().release_capacity(data.len())?;
            all.extend_from_slice(&data);
        }
        Ok((all, stream.trailers().await?))
    }

    /// Answers 200 with this.
    pub(crate) async fn ok(&mut self, body: impl Into<Bytes>) {
        let body = body.into();
        let head = Response::builder().header("content-length", body.len()).body(()).unwrap();
        let Ok(mut stream) = self.respond.send_response(head, body.is_empty()) else { return };
        let _reset = send_all(&mut stream, body, true, &AtomicUsize::new(0)).await;
    }

    /// Makes the stream a tunnel (RFC 8441 §5). Returns it as a socket, with how what is received ends, and what resets it.
    pub(crate) fn agree(
        mut self,
        head: Response<()>,
    ) -> (std::os::unix::net::UnixStream, Receiver<super::mux::End>, mpsc::UnboundedSender<()>) {
        let send = self.respond.send_response(head, false).unwrap();
        let ((tell, end), (abort, aborted)) = (channel(), mpsc::unbounded_channel());
        (super::mux::as_socket(self.request.into_body(), send, tell, aborted, super::mux::PIECE), end, abort)
    }

    /// Waits until the test says so.
    pub(crate) async fn wait(&self) {
        self.go.acquire().await.unwrap().forget();
    }

    pub(crate) fn go_away(&self) {
        self.control.send(Order::GoAway).unwrap();
    }

    /// Ends the connection without a word.
    pub(crate) fn die(&self) {
        self.control.send(Order::Die).unwrap();
    }
}

type Script = Arc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// How an endpoint is.
#[derive(Default, Clone)]
pub(crate) struct Manner {
    pub(crate) max_streams: Option<u32>,
    pub(crate) window: Option<u32>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// Whether requests may become tunnels (RFC 8441).
    pub(crate) connects: bool,
    /// What is done with a connection that agreed to HTTP/1.1, on a thread of its own.
    pub(crate) http1: Option<fn(std::os::unix::net::UnixStream)>,
}

/// An endpoint that speaks HTTP/2.
pub(crate) struct Http2Upstream {
    address: SocketAddr,
    log: Mutex<Receiver<String>>,
    accepted: Arc<AtomicUsize>,
    pub(crate) go: Arc<Semaphore>,
    _stop: oneshot::Sender<()>,
}

impl Http2Upstream {
    pub(crate) fn new<F: Future<Output = ()> + Send + 'static>(
        manner: Manner,
        script: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self {
        let script: Script = Arc::new(move |call| Box::pin(script(call)));
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let (log, received) = channel();
        let (accepted, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (count, may_go) = (Arc::clone(&accepted), Arc::clone(&go));
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(socket).unwrap();
                let accepting = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        stream.set_nodelay(true).unwrap();
                        let number = count.fetch_add(1, Ordering::Relaxed);
                        let (manner, script) = (manner.clone(), Arc::clone(&script));
                        let (log, go) = (log.clone(), Arc::clone(&may_go));
                        tokio::spawn(async move {
                            match &manner.tls {
                                None => serve(stream, number, &manner, script, log, go).await,
                                Some(tls) => {
                                    if let Ok(mut tls) = TlsAcceptor::from(Arc::clone(tls)).accept(stream).await {
                                        if let Some(http1) = manner.http1
                                            && tls.get_ref().1.alpn_protocol() == Some(b"http/1.1")
                                        {
                                            return speak_http1(&mut tls, http1).await;
                                        }
                                        serve(tls, number, &manner, script, log, go).await;
                                    }
                                }
                            }
                        });
                    }
                };
                tokio::select! { () = accepting => {} _ = stopped => {} }
            });
        });
        Self { address, log: Mutex::new(received), accepted, go, _stop: stop }
    }

    /// One that runs `script` for each request.
    pub(crate) fn scripted<F: Future<Output = ()> + Send + 'static>(
        script: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::new(Manner::default(), script)
    }

    /// One that answers with the body that it was sent.
    pub(crate) fn echo(manner: Manner) -> Self {
        Self::new(manner, |mut call| async move {
            let (body, _) = call.body().await.unwrap();
            call.ok(body).await;
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// What it wrote down next.
    #[track_caller]
    pub(crate) fn logged(&self) -> String {
        self.log.lock().unwrap().recv_timeout(PATIENCE).expect("the endpoint wrote nothing down")
    }

    /// All that it wrote down and nobody has read.
    pub(crate) fn drain(&self) -> Vec<String> {
        self.log.lock().unwrap().try_iter().collect()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    number: usize,
    manner: &Manner,
    script: Script,
    log: Sender<String>,
    go: Arc<Semaphore>,
) {
    let mut builder = Builder::new();
    if let Some(most) = manner.max_streams {
        builder.max_concurrent_streams(most);
    }
    if let Some(window) = manner.window {
        builder.initial_window_size(window).initial_connection_window_size(window.max(65_535));
    }
    if manner.connects {
        builder.enable_connect_protocol();
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let (control, mut orders) = mpsc::unbounded_channel();
    let mut requests = 0;
    loop {
        tokio::select! {
            next = connection.accept() => {
                let Some(Ok((request, respond))) = next else { break };
                requests += 1;
                let (control, log, go) = (control.clone(), log.clone(), Arc::clone(&go));
                let call = Call { request, respond, connection: number, number: requests, control, log, go };
                tokio::spawn(script(call));
            }
            Some(order) = orders.recv() => match order {
                Order::GoAway => connection.graceful_shutdown(),
                Order::Die => break,
            }
        }
    }
    drop(connection);
    let _gone = log.send(format!("connection {number} ended"));
}

/// Lets something that knows nothing of runtimes speak HTTP/1.1.
async fn speak_http1(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), act: fn(std::os::unix::net::UnixStream)) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut ours = tokio::net::UnixStream::from_std(ours).unwrap();
    std::thread::spawn(move || act(theirs));
    let _ended: std::io::Result<_> = tokio::io::copy_bidirectional(stream, &mut ours).await;
}

/// The reason that a stream was reset for; waits for it.
pub(crate) async fn reset_of(respond: &mut SendResponse<Bytes>) -> Result<Reason, h2::Error> {
    std::future::poll_fn(|cx| respond.poll_reset(cx)).await
}

/// A frame as it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

impl Frame {
    pub(crate) fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend_from_slice(&[self.kind, self.flags]);
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// A block of header fields, each literal.
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            if let Ok(length @ 0..127) = u8::try_from(text.len()) {
                block.push(length);
            } else {
                block.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    block.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                block.push(rest as u8);
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Frames by hand, on the connection of a scripted endpoint.
pub(crate) struct Frames<'a> {
    peer: &'a mut Peer,
    pub(crate) seen: VecDeque<Frame>,
}

impl<'a> Frames<'a> {
    /// Reads the greeting, and sends one.
    pub(crate) fn on(peer: &'a mut Peer) -> Self {
        assert_eq!(peer.bytes(24), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        peer.try_send(Frame::new(SETTINGS, 0, 0, []).bytes());
        Self { peer, seen: VecDeque::new() }
    }

    pub(crate) fn send(&mut self, frame: &Frame) -> &mut Self {
        self.peer.try_send(frame.bytes());
        self
    }

    /// The next frame of this kind; none if the connection ends before.
    pub(crate) fn next(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let head = self.peer.try_bytes(9)?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let frame = Frame::new(head[3], head[4], stream, self.peer.try_bytes(length)?);
            if frame.kind == kind {
                return Some(frame);
            }
            self.seen.push_back(frame);
        }
    }
}
