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
        let shared =
            Arc::new(Shared { weather: Mutex::new(Weather::Fair), changed: Condvar::new(), open: Mutex::default() });
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
}

fn copy(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let silent = shared.weather.lock().unwrap();
        let weather = shared.changed.wait_while(silent, |weather| *weather == Weather::Silent).unwrap();
        drop(weather);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
