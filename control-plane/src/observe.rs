//! Asking routers what they counted, the `/tracks` of their admin endpoints, and Prometheus what it knows: all at the same
//! time.

use std::collections::BTreeMap;
use std::time::Duration;

use gridrouter_config::model;
use gridrouter_config::tracks::Tracks;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::ledger::Reading;

/// How long a router may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The most that a router may say.
const BYTES: usize = 64 << 20;

/// Who was asked, and the answer.
type Asked = (Router, Result<Bytes, String>);

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

impl Router {
    /// Why there is no answer, with the address that gave none.
    fn said(&self, why: &str) -> String {
        self.address.as_ref().map_or_else(|| why.to_owned(), |address| format!("{address}: {why}"))
    }

    /// Takes what another router says for no answer of this one. One that was named by its address may have any id.
    fn recognizes(&self, tracks: Tracks) -> Result<Tracks, String> {
        let by_address = self.address.as_ref() == Some(&self.id);
        if by_address || tracks.router.is_empty() || tracks.router == self.id {
            Ok(tracks)
        } else {
            Err(self.said(&mistaken(&tracks.router)))
        }
    }
}

fn mistaken(other: &str) -> String {
    format!(
        "router {other} answers there; give each router an --admin address of its own that can be reached from here"
    )
}

impl Observer {
    /// Nobody is asked yet.
    pub fn new() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map(Self).map_err(|error| format!("cannot start a runtime to ask routers with: {error}"))
    }

    /// What these routers counted, in the order of their names.
    pub fn read(&self, routers: Vec<Router>) -> Vec<Reading> {
        let reading = |(router, answer): Asked| {
            let read =
                |body: Bytes| serde_json::from_slice(&body).map_err(|error| format!("/tracks cannot be read: {error}"));
            let tracks = answer.and_then(read).map_err(|why| router.said(&why));
            let tracks = tracks.and_then(|tracks| router.recognizes(tracks));
            Reading { router: router.id, tracks }
        };
        apart(self.ask_all(routers, "/tracks").into_iter().map(reading).collect())
    }

    /// How many requests these groups of endpoints have had in all these routers since they were started. The error says
    /// which router could not be asked.
    pub fn requests(&self, routers: Vec<Router>, groups: &[String]) -> Result<u64, String> {
        let unread = self.read(routers.clone()).into_iter().find_map(|one| Some((one.router, one.tracks.err()?)));
        if let Some((router, why)) = unread {
            return Err(format!("{router}: {why}"));
        }
        let mut sum = 0_u64;
        for (router, answer) in self.ask_all(routers, "/metrics") {
            let body = answer.map_err(|why| format!("{}: {}", router.id, router.said(&why)))?;
            let text = String::from_utf8_lossy(&body);
            sum = text.lines().filter_map(|line| requests_of(line, groups)).fold(sum, u64::saturating_add);
        }
        Ok(sum)
    }

    /// What each router answers, in the order of their names.
    fn ask_all(&self, routers: Vec<Router>, target: &'static str) -> Vec<Asked> {
        let mut answers = self.0.block_on(async {
            let mut asked = JoinSet::new();
            for router in routers {
                asked.spawn(async move {
                    let answer = match &router.address {
                        None => Err("it has no admin endpoints (--admin)".to_owned()),
                        Some(address) => match tokio::time::timeout(TIMEOUT, ask(address, target)).await {
                            Ok(answer) => answer,
                            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
                        },
                    };
                    (router, answer)
                });
            }
            asked.join_all().await
        });
        answers.sort_by(|one, other| one.0.id.cmp(&other.0.id));
        answers
    }

    /// What Prometheus answers to the queries of an analysis, in their order.
    pub fn ask(&self, prometheus: &model::Prometheus) -> Vec<Result<f64, String>> {
        self.0.block_on(async {
            let mut asked = JoinSet::new();
            for (n, query) in prometheus.queries.iter().enumerate() {
                let authority = prometheus.authority.clone();
                let target = format!("{}/api/v1/query?query={}", prometheus.path, encoded(&query.query));
                asked.spawn(async move {
                    let answer = match tokio::time::timeout(TIMEOUT, get(&authority, &target)).await {
                        Ok(Ok((status, body))) => number(status, &body),
                        Ok(Err(why)) => Err(format!("{authority}: {why}")),
                        Err(_) => Err(format!("{authority} did not answer within {} s", TIMEOUT.as_secs())),
                    };
                    (n, answer)
                });
            }
            let mut answers = asked.join_all().await;
            answers.sort_by_key(|(n, _)| *n);
            answers.into_iter().map(|(_, answer)| answer).collect()
        })
    }
}

async fn ask(address: &str, target: &str) -> Result<Bytes, String> {
    let (status, body) = get(address, target).await?;
    if status != StatusCode::OK {
        let help = if status == StatusCode::NOT_FOUND { "; is it an older router?" } else { "" };
        return Err(format!("{target} answered {}{help}", status.as_u16()));
    }
    Ok(body)
}

/// Takes the second answer of one process for none. Where several routers give the same address for their admin endpoints,
/// a loopback one mostly, one would be counted twice and others not at all.
fn apart(mut readings: Vec<Reading>) -> Vec<Reading> {
    let mut known: BTreeMap<u64, String> = BTreeMap::new();
    for reading in &mut readings {
        // Older routers do not say which process they are.
        let process = reading.tracks.as_ref().map_or(0, |tracks| tracks.process);
        match known.get(&process) {
            _ if process == 0 => {}
            Some(other) => reading.tracks = Err(mistaken(other)),
            None => drop(known.insert(process, reading.router.clone())),
        }
    }
    readings
}

/// The number in a line of a router's metrics, if it counts requests to one of these groups.
fn requests_of(line: &str, groups: &[String]) -> Option<u64> {
    let labels = line.strip_prefix("gridrouter_upstream_requests_total{group=\"")?;
    let (group, rest) = labels.split_once('"')?;
    let (_, number) = rest.rsplit_once(' ')?;
    groups.iter().any(|known| known == group).then(|| number.parse().ok()).flatten()
}

/// Gets one thing over a connection of its own.
async fn get(authority: &str, target: &str) -> Result<(StatusCode, Bytes), String> {
    let stream = TcpStream::connect(authority).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let talk = async {
        let request = Request::get(target).header("host", authority).body(Empty::<Bytes>::new());
        let response = sender.send_request(request.map_err(|error| error.to_string())?).await;
        let response = response.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BYTES).collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(talk);
    tokio::select! {
        answer = &mut talk => answer,
        // The answer may be there although the connection ended.
        _ = connection => talk.await,
    }
}

/// Everything but letters and digits is percent-encoded.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.extend(char::from_digit(u32::from(digit), 16));
            }
        }
    }
    out
}

/// What Prometheus says, as far as it is read.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Sample {
    value: (f64, String),
}

/// The one number of an answer.
fn number(status: StatusCode, body: &[u8]) -> Result<f64, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| format!("Prometheus answered {}, which cannot be read: {error}", status.as_u16()))?;
    let Some(data) = answer.data else {
        return Err(format!("Prometheus answered {}: {}", status.as_u16(), answer.error));
    };
    let unread = |error: serde_json::Error| format!("the answer of Prometheus cannot be read: {error}");
    let text = match data.result_type.as_str() {
        "scalar" => serde_json::from_value::<(f64, String)>(data.result).map_err(unread)?.1,
        "vector" => {
            let samples: Vec<Sample> = serde_json::from_value(data.result).map_err(unread)?;
            match <[Sample; 1]>::try_from(samples) {
                Ok([one]) => one.value.1,
                Err(samples) if samples.is_empty() => return Err("Prometheus has no data".to_owned()),
                Err(samples) => return Err(format!("Prometheus has {} numbers, and one is wanted", samples.len())),
            }
        }
        _ => return Err("the answer of Prometheus is no number".to_owned()),
    };
    let number: f64 = text.parse().map_err(|_| format!("Prometheus answered {text}, which is no number"))?;
    // Nothing divided by nothing is no data.
    if number.is_nan() { Err("Prometheus has no data (NaN)".to_owned()) } else { Ok(number) }
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

    #[test]
    fn a_router_that_answers_for_another_one_is_not_counted_twice() {
        let said = |id: &str, process| Tracks { router: id.to_owned(), process, ..Tracks::default() };
        let asked = |id: &str, address: &str| Router { id: id.to_owned(), address: Some(address.to_owned()) };
        assert!(asked("r1", "a:1").recognizes(said("r1", 1)).is_ok());
        assert!(asked("a:1", "a:1").recognizes(said("r1", 1)).is_ok());
        assert!(asked("r1", "a:1").recognizes(said("", 0)).is_ok(), "an older one does not say");
        let other = asked("r1", "a:1").recognizes(said("r2", 1)).unwrap_err();
        assert!(other.starts_with("a:1: router r2 answers there; give each router an --admin address"), "{other}");
        let reading = |(n, process): (usize, &u64)| Reading { router: format!("r{n}"), tracks: Ok(said("", *process)) };
        let readings = apart([5, 6, 5, 0, 0].iter().enumerate().map(reading).collect());
        let missing: Vec<bool> = readings.iter().map(|one| one.tracks.is_err()).collect();
        assert_eq!(missing, [false, false, true, false, false]);
    }

    #[test]
    fn requests_of_the_groups_in_question_are_added_up() {
        let text = "gridrouter_upstream_requests_total{group=\"s/a/blue\",status=\"2xx\"} 7\n\
                    gridrouter_upstream_requests_total{group=\"s/a/blue\",status=\"5xx\"} 2\n\
                    gridrouter_upstream_requests_total{group=\"s/a/green\",status=\"2xx\"} 100\n\
                    gridrouter_upstream_response_bytes_total{group=\"s/a/blue\"} 1000\n\
                    gridrouter_route_requests_total{route=\"s/a/blue\",status=\"2xx\"} 1000\n\
                    gridrouter_upstream_requests_total{group=\"s/b/blue\",status=\"2xx\"} 30\nnonsense";
        let groups = ["s/a/blue".to_owned(), "s/b/blue".to_owned()];
        assert_eq!(text.lines().filter_map(|line| requests_of(line, &groups)).sum::<u64>(), 39);
        let observer = Observer::new().unwrap();
        let nobody = observer.requests(vec![Router { id: "r".to_owned(), address: None }], &groups);
        assert_eq!(nobody, Err("r: it has no admin endpoints (--admin)".to_owned()));
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

    fn answered(body: &str) -> Result<f64, String> {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let authority = router(answer.leak());
        let query = |name: &str| model::PrometheusQuery {
            name: name.to_owned(),
            query: "up".to_owned(),
            max: Some(1.0),
            min: None,
        };
        let prometheus = model::Prometheus { authority, path: String::new(), queries: vec![query("a")] };
        Observer::new().unwrap().ask(&prometheus).remove(0)
    }

    #[test]
    fn prometheus_has_one_number_or_none() {
        let vector = |samples: &str| {
            let text = r#"{"status":"success","data":{"resultType":"vector","result":[SAMPLES]}}"#;
            answered(&text.replace("SAMPLES", samples))
        };
        let sample = |value: &str| format!(r#"{{"metric":{{"a":"b"}},"value":[1.5,"{value}"]}}"#);
        assert_eq!(vector(&sample("0.25")), Ok(0.25));
        assert_eq!(vector(&sample("+Inf")), Ok(f64::INFINITY));
        assert_eq!(vector("").unwrap_err(), "Prometheus has no data");
        assert_eq!(vector(&sample("NaN")).unwrap_err(), "Prometheus has no data (NaN)");
        assert_eq!(
            vector(&[sample("1"), sample("2")].join(",")).unwrap_err(),
            "Prometheus has 2 numbers, and one is wanted"
        );
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#;
        assert_eq!(answered(scalar), Ok(7.0));
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        assert_eq!(answered(matrix).unwrap_err(), "the answer of Prometheus is no number");
        let error = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert_eq!(answered(error).unwrap_err(), "Prometheus answered 200: parse error");
        assert!(answered("<html>").unwrap_err().contains("cannot be read"));
        assert_eq!(encoded("a{b=\"c\"}[1m] ä"), "a%7bb%3d%22c%22%7d%5b1m%5d%20%c3%a4");
    }

    #[test]
    fn all_are_asked_and_sorted() {
        let routers = ["b", "a", "c"].map(|id| Router { id: id.to_owned(), address: None });
        let names: Vec<String> =
            Observer::new().unwrap().read(routers.into()).into_iter().map(|reading| reading.router).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }
}
