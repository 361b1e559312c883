//! Load over HTTP/2 with TLS, by h2load: streams on connections, flat out or at a rate, with what it writes down of each
//! request.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep};

use crate::error::{Context, Error, Result};
use crate::load::Measured;
use crate::process::Process;
use crate::tools::Tool;

/// h2load says so when it begins to write down what it sees.
const BEGUN: &str = "Main benchmark duration is started";
/// What it says of its connections: all that the clients of the benchmark offer (see [`crate::tls`]).
const AGREED: [&str; 3] = ["TLS Protocol: TLSv1.3", "Cipher: TLS_AES_128_GCM_SHA256", "Application protocol: h2"];
/// How long h2load goes on when what is measured is over, and how long it may take to end after that.
const GOES_ON: Duration = Duration::from_millis(400);
const ENDING: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What to send, and what must come back.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The proxy.
    pub target: SocketAddr,
    /// The host that is asked for.
    pub host: String,
    /// Paths, which each connection asks for in this order.
    pub paths: Vec<String>,
    /// Fields of every request, `name: value`.
    pub fields: Vec<String>,
    /// The body of every request, which is then a POST.
    pub body: Option<Vec<u8>>,
    /// How many bytes the body of every answer has.
    pub answer: usize,
    /// How many connections.
    pub connections: usize,
}

/// How fast to send.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// So many requests at a time on each connection.
    FlatOut(usize),
    /// So many requests a second, over all connections. Each may have as many at a time as this needs.
    Rate(u32),
}

/// Streams of a connection, where the rate is given: as many as every proxy allows.
const ENOUGH_STREAMS: usize = 100;

/// Runs the load: warms up, then measures for `window`. `cpu` tells the proxy's CPU time so far. All files go into
/// `directory`.
pub async fn run(
    plan: &Plan,
    pace: Pace,
    warm_up: Duration,
    window: Duration,
    directory: &Path,
    core: Option<usize>,
    cpu: impl Fn() -> Duration,
) -> Result<Measured> {
    let program = Tool::H2load.find()?;
    let file = |name: &str| directory.join(name);
    let (targets, body, log, said) =
        (file("h2load-uris"), file("h2load-body"), file("h2load-seen"), file("h2load.log"));
    let uris: Vec<String> = plan.paths.iter().map(|path| format!("https://{}{path}", plan.host)).collect();
    std::fs::write(&targets, uris.join("\n") + "\n").context("cannot write what h2load asks for")?;
    // h2load's own warming up would not be written down.
    let duration = warm_up + window + GOES_ON;
    let mut arguments = vec![
        format!("--input-file={}", targets.display()),
        format!("--log-file={}", log.display()),
        format!("--connect-to={}", plan.target),
        format!("--clients={}", plan.connections),
        format!("--duration={}ms", duration.as_millis()),
        // What all clients of the benchmark offer.
        "--groups=X25519".to_owned(),
        "--tls13-ciphers=TLS_AES_128_GCM_SHA256".to_owned(),
        "--npn-list=h2".to_owned(),
    ];
    arguments.extend(plan.fields.iter().map(|field| format!("--header={field}")));
    if let Some(bytes) = &plan.body {
        std::fs::write(&body, bytes).context("cannot write what h2load sends")?;
        arguments.push(format!("--data={}", body.display()));
    }
    let streams = match pace {
        Pace::FlatOut(streams) => streams,
        Pace::Rate(rate) => {
            let each = rate.div_ceil(u32::try_from(plan.connections).unwrap_or(u32::MAX).max(1));
            arguments.push(format!("--rps={each}"));
            ENOUGH_STREAMS
        }
    };
    arguments.push(format!("--max-concurrent-streams={streams}"));

    let mut process = Process::start("h2load", &program, &arguments, directory, core)?;
    let deadline = Instant::now() + ENDING;
    while !std::fs::read_to_string(&said).is_ok_and(|text| text.contains(BEGUN)) {
        process.still_runs()?;
        if Instant::now() > deadline {
            return Err(Error::new(format!("h2load does not begin; it said:\n{}", process.log_tail())));
        }
        sleep(LOOK_AGAIN).await;
    }
    sleep(warm_up).await;
    let (begin, from, cpu_before) = (Instant::now(), micros(), cpu());
    sleep(window).await;
    let (cpu_after, elapsed, to) = (cpu(), begin.elapsed(), micros());
    let status = process.ended(duration + ENDING).await?;
    if !status.success() {
        return Err(Error::new(format!("h2load ended with {status}; it said:\n{}", process.log_tail())));
    }
    let text = std::fs::read_to_string(&said).context("cannot read what h2load said")?;
    if let Some(missing) = AGREED.iter().find(|line| !text.contains(**line)) {
        return Err(Error::new(format!("h2load does not say \"{missing}\"; it said:\n{text}")));
    }
    let seen = std::fs::read_to_string(&log).context("cannot read what h2load saw")?;
    let summary = summary(&text)
        .ok_or_else(|| Error::new(format!("h2load said nothing of its requests: {}", process.log_tail())))?;
    let mut measured = Measured { elapsed, cpu: cpu_after.saturating_sub(cpu_before), ..Measured::default() };
    count(&seen, from..to, &mut measured)?;
    // Bodies that were under way at the end are not done.
    let slack = plan.connections * streams * plan.answer;
    let wanted = summary.done * plan.answer as u64;
    if !(wanted..=wanted + slack as u64).contains(&summary.data) {
        complain(&mut measured, format!("bodies of {} bytes in {} answers", summary.data, summary.done));
        measured.bad += 1;
    }
    if summary.failed > measured.bad + measured.failed {
        measured.failed = summary.failed - measured.bad;
        complain(&mut measured, format!("{} requests failed", summary.failed));
    }
    Ok(measured)
}

fn complain(measured: &mut Measured, words: String) {
    measured.complaint.get_or_insert(words);
}

/// Now, as h2load writes it down.
fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// What h2load counted by itself.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    done: u64,
    failed: u64,
    /// Bytes of bodies.
    data: u64,
}

fn summary(text: &str) -> Option<Summary> {
    let line = |begins: &str| text.lines().find_map(|line| line.strip_prefix(begins));
    let number = |part: &str| part.split_ascii_whitespace().next()?.parse().ok();
    let mut requests = line("requests: ")?.split(", ");
    let done = number(requests.find(|part| part.ends_with(" done"))?)?;
    let failed = number(requests.find(|part| part.ends_with(" failed"))?)?;
    let data = line("traffic: ")?.split(", ").find(|part| part.ends_with(" data"))?;
    let data = data.split_once('(')?.1.split_once(')')?.0.parse().ok()?;
    Some(Summary { done, failed, data })
}

/// Counts the requests that ended in the window, and the bad ones at any time.
fn count(seen: &str, window: std::ops::Range<u64>, measured: &mut Measured) -> Result<()> {
    for line in seen.lines() {
        let mut columns = line.split('\t');
        let mut next = || columns.next()?.parse::<i64>().ok();
        let (Some(start), Some(status), Some(took)) = (next(), next(), next()) else {
            return Err(Error::new(format!("h2load wrote \"{line}\"")));
        };
        match status {
            200..300 => {
                let end = u64::try_from(start + took).unwrap_or_default();
                if window.contains(&end) {
                    measured.good += 1;
                    measured.latency.record(Duration::from_micros(u64::try_from(took).unwrap_or_default()));
                }
            }
            -1 => {
                measured.failed += 1;
                complain(measured, "a stream failed".to_owned());
            }
            other => {
                measured.bad += 1;
                complain(measured, format!("status {other}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_read() {
        let text = "\nfinished in 1.20s, 26261.00 req/s, 2.28MB/s\n\
            requests: 26270 total, 26270 started, 26261 done, 26259 succeeded, 2 failed, 1 errored, 0 timeout\n\
            status codes: 26261 2xx, 0 3xx, 0 4xx, 0 5xx\n\
            traffic: 2.28MB (2389751) total, 1.38MB (1443050) headers (space savings 50.51%), 316.36KB (323950) data\n";
        assert_eq!(summary(text), Some(Summary { done: 26_261, failed: 2, data: 323_950 }));
        assert_eq!(summary("finished"), None);
    }

    #[test]
    fn what_ends_in_the_window_counts_and_what_fails_at_any_time() {
        let seen = "100\t200\t50\n100\t200\t100\n190\t204\t20\n190\t200\t200\n0\t503\t5\n1000\t-1\t5\n";
        let mut measured = Measured::default();
        count(seen, 200..300, &mut measured).unwrap();
        assert_eq!([measured.good, measured.bad, measured.failed], [2, 1, 1]);
        assert_eq!(measured.latency.len(), 2);
        assert_eq!(measured.complaint.as_deref(), Some("status 503"));
        assert!(count("1\t2", 0..1, &mut measured).is_err());
    }
}
