//! A little DNS server that says what it is told to say.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What is said of a name.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These addresses, for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// The same, but by UDP only that it is too long for that.
    TooLong(Vec<IpAddr>, u32),
    /// There is no such name.
    NoName,
    /// There is one, without addresses.
    Nothing,
    /// The server has a problem.
    Trouble,
    /// Nothing at all.
    Silence,
}

type Records = Arc<Mutex<HashMap<String, Reply>>>;

/// The server, on both protocols at one address.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    records: Records,
    asked: Arc<AtomicUsize>,
}

impl Dns {
    pub(crate) fn new() -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                break (tcp, udp);
            }
        };
        let (address, records, asked) = (udp.local_addr().unwrap(), Records::default(), Arc::default());
        let (said, count) = (Arc::clone(&records), Arc::clone(&asked));
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((length, from)) = udp.recv_from(&mut query) {
                AtomicUsize::fetch_add(&count, 1, Ordering::Relaxed);
                if let Some(answer) = answer(&query[..length], &said, true) {
                    udp.send_to(&answer, from).unwrap();
                }
            }
        });
        let said = Arc::clone(&records);
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let (mut stream, said) = (stream.unwrap(), Arc::clone(&said));
                std::thread::spawn(move || {
                    let mut length = [0; 2];
                    while stream.read_exact(&mut length).is_ok() {
                        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                        stream.read_exact(&mut query).unwrap();
                        let Some(answer) = answer(&query, &said, false) else { continue };
                        let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                        if stream.write_all(&[&length[..], &answer].concat()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, records, asked }
    }

    /// Says this of a name from now on.
    pub(crate) fn say(&self, name: &str, reply: Reply) {
        self.records.lock().unwrap().insert(name.to_owned(), reply);
    }

    /// Says these addresses of a name, for a second.
    pub(crate) fn addresses(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.say(name, Reply::Addresses(addresses, 1));
    }

    /// Questions by UDP so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// The answer to a query, unless there is to be none.
fn answer(query: &[u8], records: &Records, by_udp: bool) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..=at + length].to_vec()).unwrap().to_ascii_lowercase());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let question = &query[12..at + 5];
    let reply = records.lock().unwrap().get(&labels.join(".")).cloned().unwrap_or(Reply::NoName);
    let (code, cut, addresses, ttl) = match reply {
        Reply::TooLong(_, ttl) if by_udp => (0, true, Vec::new(), ttl),
        Reply::Addresses(addresses, ttl) | Reply::TooLong(addresses, ttl) => (0, false, addresses, ttl),
        Reply::NoName => (3, false, Vec::new(), 0),
        Reply::Nothing => (0, false, Vec::new(), 0),
        Reply::Trouble => (2, false, Vec::new(), 0),
        Reply::Silence => return None,
    };
    let wanted = |address: &&IpAddr| (kind == 1 && address.is_ipv4()) || (kind == 28 && address.is_ipv6());
    let addresses: Vec<_> = addresses.iter().filter(wanted).collect();
    let mut answer = query[..2].to_vec();
    answer.extend([0x81 | if cut { 2 } else { 0 }, 0x80 | code, 0, 1]);
    answer.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(question);
    for address in addresses {
        let octets = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1]);
        answer.extend(ttl.to_be_bytes());
        answer.extend(u16::try_from(octets.len()).unwrap().to_be_bytes());
        answer.extend(octets);
    }
    Some(answer)
}
