//! Endpoints that do what a script says.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Client, Message, PATIENCE, QUIET};

/// A connection from the router, as a script sees it.
pub(crate) struct Peer {
    wire: Client,
    /// Which connection of the endpoint this is, from 0.
    pub(crate) number: usize,
    requests: usize,
    log: Sender<Message>,
}

impl Peer {
    /// Reads and logs the next whole request; none when the router closes.
    pub(crate) fn request(&mut self) -> Option<Message> {
        let request = self.wire.try_request()?;
        self.requests += 1;
        self.log(&request);
        Some(request)
    }

    /// Closes the connection.
    pub(crate) fn close(&mut self) {
        let nowhere = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = std::net::TcpStream::connect(nowhere.local_addr().unwrap()).unwrap();
        self.wire = Client::on(other);
    }

    /// Whole requests read so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests
    }

    /// Tells the test of a request.
    pub(crate) fn log(&self, request: &Message) {
        let _gone: Result<(), _> = self.log.send(request.clone());
    }

    /// Answers 200 with this body.
    pub(crate) fn ok(&mut self, body: &str) {
        self.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    }
}

impl std::ops::Deref for Peer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.wire
    }
}

impl std::ops::DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.wire
    }
}

/// An endpoint.
pub(crate) struct Upstream {
    address: SocketAddr,
    log: Mutex<Receiver<Message>>,
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Upstream {
    /// One that runs `script` for each connection, on a thread of its own.
    pub(crate) fn scripted(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (log, received) = channel();
        let (accepted, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopping, script) = (Arc::clone(&accepted), Arc::clone(&stop), Arc::new(script));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = socket.accept() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let number = count.fetch_add(1, Ordering::Relaxed);
                let mut peer = Peer { wire: Client::on(stream), number, requests: 0, log: log.clone() };
                let script = Arc::clone(&script);
                std::thread::spawn(move || script(&mut peer));
            }
        });
        Self { address, log: Mutex::new(received), accepted, stop }
    }

    /// One that gives every request this answer, as raw bytes.
    pub(crate) fn answering(answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        Self::scripted(move |peer| {
            while peer.request().is_some() {
                peer.send(&answer);
            }
        })
    }

    /// One that answers 200 with this body.
    pub(crate) fn ok(body: &'static str) -> Self {
        Self::scripted(move |peer| {
            while peer.request().is_some() {
                peer.ok(body);
            }
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// The next request that reached it.
    #[track_caller]
    pub(crate) fn received(&self) -> Message {
        self.log.lock().unwrap().recv_timeout(PATIENCE).expect("no request reached the endpoint")
    }

    /// Everything that reached it and was not looked at yet.
    pub(crate) fn drain(&self) -> Vec<Message> {
        self.log.lock().unwrap().try_iter().collect()
    }

    /// Asserts that no request reaches it.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        self.assert_quiet_for(QUIET);
    }

    #[track_caller]
    pub(crate) fn assert_quiet_for(&self, time: Duration) {
        match self.log.lock().unwrap().recv_timeout(time) {
            Ok(request) => panic!("the endpoint got {request:?}"),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, so that it sees that it should end.
        drop(std::net::TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
    }
}

/// An address at which nobody listens.
pub(crate) fn closed_port() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}
