//! A network that can be cut: a proxy for TCP connections.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::{free_port, local};

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// Bytes arrive.
    Fair,
    /// Connections are refused or reset.
    Cut,
    /// Bytes vanish, and nobody is told.
    Silent,
}

struct Shared {
    weather: Mutex<Weather>,
    changed: Condvar,
    open: Mutex<Vec<TcpStream>>,
    /// What is held up on its way, and whether anything is.
    hold: Mutex<(Option<&'static str>, bool)>,
    released: Condvar,
}

/// A proxy. Its threads end with the test's process.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind(local(free_port())).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            weather: Mutex::new(Weather::Fair),
            changed: Condvar::new(),
            open: Mutex::default(),
            hold: Mutex::default(),
            released: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if *own.weather.lock().unwrap() == Weather::Cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(local(port)) else { continue };
                let mut open = own.open.lock().unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    open.push(from.try_clone().unwrap());
                    let shared = Arc::clone(&own);
                    thread::spawn(move || copy(from, to, &shared));
                }
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn set(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap() = weather;
        self.shared.changed.notify_all();
    }

    /// Resets all connections and refuses new ones.
    pub(crate) fn cut(&self) {
        self.set(Weather::Cut);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Keeps all connections, and lets nothing through.
    pub(crate) fn silence(&self) {
        self.set(Weather::Silent);
    }

    pub(crate) fn heal(&self) {
        self.set(Weather::Fair);
    }

    /// Holds up the next bytes with this text in them, and what comes behind them.
    pub(crate) fn hold(&self, text: &'static str) {
        *self.shared.hold.lock().unwrap() = (Some(text), false);
    }

    /// Whether something is held up.
    pub(crate) fn holds(&self) -> bool {
        self.shared.hold.lock().unwrap().1
    }

    /// Lets it through.
    pub(crate) fn release(&self) {
        *self.shared.hold.lock().unwrap() = (None, false);
        self.shared.released.notify_all();
    }
}

impl Shared {
    fn let_through(&self, bytes: &[u8]) {
        let contains = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        let mut hold = self.hold.lock().unwrap();
        if hold.0.is_some_and(contains) {
            hold.1 = true;
            drop(self.released.wait_while(hold, |hold| hold.0.is_some()).unwrap());
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let silent = shared.weather.lock().unwrap();
        let weather = shared.changed.wait_while(silent, |weather| *weather == Weather::Silent).unwrap();
        drop(weather);
        shared.let_through(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
