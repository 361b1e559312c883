//! Streams of HTTP/2 that are tunnels, on either side, as sockets for what knows nothing of HTTP/2; and a client with many of them.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream as Socket;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::PATIENCE;

/// How one way of a stream ended: cleanly, or by a reset with this reason; without one the connection has gone.
pub(crate) type End = Result<(), Option<Reason>>;

/// How much is sent at once, unless a test says otherwise.
pub(crate) const PIECE: usize = 64 * 1024;

/// A stream as a socket, from within a runtime. What comes of the receiving way is told when it is over. No frame that is sent has
/// more than `piece` bytes.
pub(crate) fn as_socket(
    mut receive: RecvStream,
    mut send: SendStream<Bytes>,
    ended: Sender<End>,
    mut abort: mpsc::UnboundedReceiver<()>,
    piece: usize,
) -> Socket {
    let (ours, theirs) = Socket::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let (mut reading, mut writing) = UnixStream::from_std(ours).unwrap().into_split();
    tokio::spawn(async move {
        let end = loop {
            match receive.data().await {
                Some(Ok(data)) => {
                    // What nobody takes is not made room for.
                    if writing.write_all(&data).await.is_err() {
                        return;
                    }
                    let _ended: Result<(), _> = receive.flow_control().release_capacity(data.len());
                }
                Some(Err(error)) => break Err(error.reason()),
                None => break Ok(()),
            }
        };
        // First, so that whoever sees the end of the socket knows why.
        let _gone = ended.send(end);
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; piece];
        loop {
            let read = tokio::select! {
                read = reading.read(&mut buffer) => read,
                Some(()) = abort.recv() => return send.send_reset(Reason::CANCEL),
            };
            let Ok(n @ 1..) = read else { break };
            let mut piece = Bytes::copy_from_slice(&buffer[..n]);
            while !piece.is_empty() {
                send.reserve_capacity(piece.len());
                let Some(Ok(room)) = std::future::poll_fn(|cx| send.poll_capacity(cx)).await else { return };
                let part = piece.split_to(room.min(piece.len()));
                if send.send_data(part, false).is_err() {
                    return;
                }
            }
        }
        let _ended: Result<(), _> = send.send_data(Bytes::new(), true);
    });
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    theirs.set_write_timeout(Some(PATIENCE)).unwrap();
    theirs
}

/// What became of a request for a tunnel.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// What the answer has besides, where it is no tunnel.
    pub(crate) body: Vec<u8>,
}

/// A tunnel, from its client's side.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) answer: Answer,
    pub(crate) socket: Socket,
    end: Receiver<End>,
    reset: mpsc::UnboundedSender<()>,
}

impl Tunnel {
    /// How what is received ended.
    #[track_caller]
    pub(crate) fn end(&self) -> End {
        self.end.recv_timeout(PATIENCE).expect("it does not end")
    }

    pub(crate) fn assert_open_for(&self, time: Duration) {
        assert_eq!(self.end.recv_timeout(time), Err(RecvTimeoutError::Timeout));
    }

    /// Takes it back.
    pub(crate) fn reset(&self) {
        self.reset.send(()).unwrap();
    }
}

type Opened = Result<(Answer, Option<(Socket, Receiver<End>)>), h2::Error>;

struct Order {
    request: Request<()>,
    early: Bytes,
    /// Whether the answer's body is wanted as it comes, too.
    streams: bool,
    piece: usize,
    reply: Sender<Opened>,
    reset: mpsc::UnboundedReceiver<()>,
}

/// A client whose requests share a connection, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Mux {
    orders: mpsc::UnboundedSender<Order>,
    over: Receiver<()>,
    piece: usize,
}

/// A request for a tunnel, or for anything else.
pub(crate) fn asking(
    method: Method,
    protocol: Option<&'static str>,
    path: &str,
    lines: &[(&str, &str)],
) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://a.test{path}"));
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let mut request = request.body(()).unwrap();
    if let Some(protocol) = protocol {
        request.extensions_mut().insert(Protocol::from_static(protocol));
    }
    request
}

impl Mux {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, PIECE)
    }

    /// One that sends no larger frames.
    pub(crate) fn connect_with(address: SocketAddr, piece: usize) -> Self {
        let (orders, mut ordered) = mpsc::unbounded_channel::<Order>();
        let (tell, over) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let socket = TcpStream::connect(address).await.unwrap();
                let mut builder = h2::client::Builder::new();
                builder.initial_connection_window_size(64 * 1024 * 1024).initial_max_send_streams(0);
                let (client, connection) = builder.handshake(socket).await.unwrap();
                tokio::spawn(async move {
                    let _ended: Result<(), _> = connection.await;
                    let _gone = tell.send(());
                });
                while let Some(order) = ordered.recv().await {
                    tokio::spawn(ask(client.clone(), order));
                }
            });
        });
        Self { orders, over, piece }
    }

    /// Sends a request, with bytes behind it before anything was answered.
    pub(crate) fn send(&self, request: Request<()>, early: impl Into<Bytes>) -> Pending {
        self.order(request, early.into(), false)
    }

    fn order(&self, request: Request<()>, early: Bytes, streams: bool) -> Pending {
        let (reply, answer) = channel();
        let (reset, order_reset) = mpsc::unbounded_channel();
        let piece = self.piece;
        self.orders.send(Order { request, early, streams, piece, reply, reset: order_reset }).unwrap();
        Pending { answer, reset }
    }

    /// The answer to a plain GET, whose body comes by the socket.
    #[track_caller]
    pub(crate) fn stream(&self, path: &str, lines: &[(&str, &str)]) -> Tunnel {
        self.order(asking(Method::GET, None, path, lines), Bytes::new(), true).tunnel()
    }

    /// A tunnel that speaks WebSocket.
    #[track_caller]
    pub(crate) fn websocket(&self, path: &str, lines: &[(&str, &str)]) -> Tunnel {
        self.send(websocket(path, lines), Bytes::new()).tunnel()
    }

    /// The answer to a plain GET.
    #[track_caller]
    pub(crate) fn get(&self, path: &str, lines: &[(&str, &str)]) -> Answer {
        self.send(asking(Method::GET, None, path, lines), Bytes::new()).answer()
    }

    /// Waits until the router has closed the connection.
    #[track_caller]
    pub(crate) fn assert_over(&self) {
        self.over.recv_timeout(PATIENCE).expect("the connection stays open");
    }
}

/// A request for a WebSocket (RFC 8441 §5.1).
pub(crate) fn websocket(path: &str, lines: &[(&str, &str)]) -> Request<()> {
    asking(Method::CONNECT, Some("websocket"), path, &[&[("sec-websocket-version", "13")], lines].concat())
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    answer: Receiver<Opened>,
    reset: mpsc::UnboundedSender<()>,
}

impl Pending {
    #[track_caller]
    fn opened(&self) -> Opened {
        self.answer.recv_timeout(PATIENCE).expect("no answer")
    }

    #[track_caller]
    pub(crate) fn tunnel(self) -> Tunnel {
        let (answer, tunnel) = self.opened().unwrap();
        let Some((socket, end)) = tunnel else { panic!("no tunnel: {answer:?}") };
        Tunnel { answer, socket, end, reset: self.reset }
    }

    #[track_caller]
    pub(crate) fn answer(self) -> Answer {
        let (answer, tunnel) = self.opened().unwrap();
        assert!(tunnel.is_none(), "{answer:?}");
        answer
    }

    /// The status of the answer, whatever it is.
    #[track_caller]
    pub(crate) fn status(self) -> u16 {
        self.opened().unwrap().0.status.as_u16()
    }

    pub(crate) fn assert_unanswered_for(&self, time: Duration) {
        assert!(self.answer.recv_timeout(time).is_err());
    }

    /// Takes it back.
    pub(crate) fn take_back(self) {
        self.reset.send(()).unwrap();
    }
}

async fn ask(client: SendRequest<Bytes>, order: Order) {
    let Order { request, early, streams, piece, reply, mut reset } = order;
    let opened = async {
        let is_connect = request.method() == Method::CONNECT;
        let mut client = client.ready().await?;
        let (answer, mut send) = client.send_request(request, !is_connect)?;
        if !early.is_empty() {
            // As far as there is room: the rest is not sent.
            send.send_data(early, false)?;
        }
        let answer = tokio::select! {
            answer = answer => answer?,
            Some(()) = reset.recv() => {
                send.send_reset(Reason::CANCEL);
                return Err(Reason::CANCEL.into());
            }
        };
        let (head, mut body) = answer.into_parts();
        let mut answer = Answer { status: head.status, headers: head.headers, body: Vec::new() };
        if streams || (is_connect && answer.status.is_success()) {
            let (tell, end) = channel();
            let socket = as_socket(body, send, tell, reset, piece);
            return Ok((answer, Some((socket, end))));
        }
        while let Some(data) = body.data().await {
            let data = data?;
            let _ended: Result<(), _> = body.flow_control().release_capacity(data.len());
            answer.body.extend_from_slice(&data);
        }
        Ok((answer, None))
    };
    let opened = opened.await;
    let _gone = reply.send(opened);
}
