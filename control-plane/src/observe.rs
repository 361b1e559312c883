//! Asking routers what they counted: the `/tracks` of their admin endpoints, all at the same time.

use std::time::Duration;

use gridrouter_config::tracks::Tracks;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::ledger::Reading;

/// How long a router may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The most that a router may say.
const BYTES: usize = 64 << 20;

/// Asks routers. Every call blocks, for two seconds at the most.
pub struct Observer(tokio::runtime::Runtime);

/// A router to be asked: its name, and where its admin endpoints are, if it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// The name.
    pub id: String,
    /// Address and port.
    pub address: Option<String>,
}

impl Observer {
    /// Nobody is asked yet.
    pub fn new() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map(Self).map_err(|error| format!("cannot start a runtime to ask routers with: {error}"))
    }

    /// What these routers counted, in the order of their names.
    pub fn read(&self, routers: Vec<Router>) -> Vec<Reading> {
        let mut readings = self.0.block_on(async {
            let mut asked = JoinSet::new();
            for Router { id, address } in routers {
                asked.spawn(async move {
                    let tracks = match address {
                        None => Err("it has no admin endpoints (--admin)".to_owned()),
                        Some(address) => match tokio::time::timeout(TIMEOUT, ask(&address)).await {
                            Ok(tracks) => tracks.map_err(|why| format!("{address}: {why}")),
                            Err(_) => Err(format!("{address} did not answer within {} s", TIMEOUT.as_secs())),
                        },
                    };
                    Reading { router: id, tracks }
                });
            }
            asked.join_all().await
        });
        readings.sort_by(|one, other| one.router.cmp(&other.router));
        readings
    }
}

async fn ask(address: &str) -> Result<Tracks, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let talk = async {
        let request = Request::get("/tracks").header("host", address).body(Empty::<Bytes>::new());
        let response = sender.send_request(request.map_err(|error| error.to_string())?).await;
        let response = response.map_err(|error| error.to_string())?;
        let status = response.status();
        if status != StatusCode::OK {
            let help = if status == StatusCode::NOT_FOUND { "; is it an older router?" } else { "" };
            return Err(format!("/tracks answered {}{help}", status.as_u16()));
        }
        let body = Limited::new(response.into_body(), BYTES).collect().await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| format!("/tracks cannot be read: {error}"))
    };
    tokio::pin!(talk);
    tokio::select! {
        tracks = &mut talk => tracks,
        // The answer may be there although the connection ended.
        _ = connection => talk.await,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers one request.
    fn router(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = write!(stream, "{answer}");
        });
        address
    }

    fn read(address: Option<String>) -> Result<Tracks, String> {
        let observer = Observer::new().unwrap();
        observer.read(vec![Router { id: "r".to_owned(), address }]).remove(0).tracks
    }

    #[test]
    fn what_routers_say_is_read_and_what_they_do_not_say_has_a_reason() {
        let good = "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"generation\":7}";
        assert_eq!(read(Some(router(good))).unwrap().generation, 7);
        let older = read(Some(router("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"))).unwrap_err();
        assert!(older.ends_with("/tracks answered 404; is it an older router?"), "{older}");
        let odd = read(Some(router("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n7"))).unwrap_err();
        assert!(odd.contains("/tracks cannot be read: "), "{odd}");
        assert!(read(Some(router("hello"))).is_err());
        assert!(read(None).unwrap_err().contains("--admin"));
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        assert!(read(Some(nobody.clone())).unwrap_err().starts_with(&nobody));
    }

    #[test]
    fn all_are_asked_and_sorted() {
        let routers = ["b", "a", "c"].map(|id| Router { id: id.to_owned(), address: None });
        let names: Vec<String> =
            Observer::new().unwrap().read(routers.into()).into_iter().map(|reading| reading.router).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }
}
