//! k6: on `k6/pin.js`, with what it writes down while it runs, and on `k6/limits.js` and `k6/shift.js`, with what it says at
//! the end.

pub mod crowd;

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::error::{Context, Error, Result};
use crate::process::Process;
use crate::tools::Tool;

/// With this k6 ends when it is interrupted.
const INTERRUPTED: i32 = 105;
/// How long k6 may take to end: it sums up what it has measured.
const ENDING: Duration = Duration::from_mins(1);
/// Between two looks at k6's file, which it writes to five times a second.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// An answer, as k6 noted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whose request it was.
    pub tenant: String,
    /// The cell that answered, if one did.
    pub cell: Option<String>,
    /// `ok`, or what was wrong.
    pub outcome: String,
    /// When the request was sent, in milliseconds since 1970.
    pub sent: i64,
}

/// What k6 counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Requests.
    pub requests: u64,
    /// Of these, the failed ones.
    pub failed: u64,
}

/// What k6 said at the end.
#[derive(Debug)]
pub struct Summary {
    metrics: Value,
    /// The last lines of what it complained of.
    pub complaints: String,
}

impl Summary {
    /// How often something was counted.
    pub fn count(&self, metric: &str) -> u64 {
        self.number(metric, "count") as u64
    }

    /// How many requests failed. In a rate, the passes are the samples that are true.
    pub fn failed(&self) -> u64 {
        self.number("http_req_failed", "passes") as u64
    }

    /// The mean (`avg`), the most (`max`) or another of the figures that the script asks for, of something in milliseconds;
    /// zero when there was nothing.
    pub fn millis(&self, metric: &str, which: &str) -> f64 {
        self.number(metric, which)
    }

    /// k6 leaves out what never happened.
    fn number(&self, metric: &str, field: &str) -> f64 {
        let number = || self.metrics.get(metric)?.get(field)?.as_f64();
        number().unwrap_or(0.0)
    }
}

/// Runs `k6/limits.js` with this list of limits, to its end within `limit`.
pub async fn limits(target: SocketAddr, list: &Value, directory: &Path, limit: Duration) -> Result<Summary> {
    let program = Tool::K6.find()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("k6/limits.js");
    let summary = directory.join("k6-limits.json");
    let (target, list) = (format!("TARGET=http://{target}"), format!("LIMITS={list}"));
    let flags =
        ["run", "--quiet", "--no-usage-report", "--no-color", "--address", "", "--env", &target, "--env", &list];
    let flags = flags.iter().map(AsRef::as_ref);
    let arguments = flags.chain(["--summary-export".as_ref(), summary.as_os_str(), script.as_os_str()]);
    let mut process = Process::start("k6", &program, arguments, directory, None)?;
    let status = process.ended(limit).await?;
    if !status.success() {
        return Err(Error::new(format!("k6 ended with {status}; it said:\n{}", process.log_tail())));
    }
    summary_of(&summary, &process)
}

/// Reads what k6 has written at its end.
fn summary_of(summary: &Path, process: &Process) -> Result<Summary> {
    let text = std::fs::read_to_string(summary).context(format_args!("cannot read {}", summary.display()))?;
    let mut parsed: Value = serde_json::from_str(&text).context("k6's summary is not JSON")?;
    let metrics = parsed.get_mut("metrics").map(Value::take);
    let metrics = metrics.ok_or_else(|| Error::new("k6's summary has no metrics"))?;
    let complaints = process.log_tail();
    Ok(Summary { metrics, complaints })
}

/// Running k6. It ends when dropped.
#[derive(Debug)]
pub struct K6 {
    process: Process,
    output: File,
    /// What was read of a line that is not yet whole.
    begun: Vec<u8>,
    summary: PathBuf,
    answers: Vec<Answer>,
}

impl K6 {
    /// Starts k6 on the script. What it writes goes into `directory`.
    pub fn start(target: SocketAddr, directory: &Path) -> Result<Self> {
        let program = Tool::K6.find()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("k6/pin.js");
        let (points, summary) = (directory.join("k6.json"), directory.join("k6-summary.json"));
        // k6 empties the file that is there, and it stays the same file.
        File::create(&points).context(format_args!("cannot create {}", points.display()))?;
        let output = File::open(&points).context(format_args!("cannot read {}", points.display()))?;
        let target = format!("TARGET=http://{target}");
        let to = format!("json={}", points.display());
        let flags =
            ["run", "--quiet", "--no-usage-report", "--no-color", "--address", "", "--env", &target, "--out", &to];
        let flags = flags.iter().map(AsRef::as_ref);
        let arguments = flags.chain(["--summary-export".as_ref(), summary.as_os_str(), script.as_os_str()]);
        let process = Process::start("k6", &program, arguments, directory, None)?;
        Ok(Self { process, output, begun: Vec::new(), summary, answers: Vec::new() })
    }

    /// The answers read so far, those of each tenant in the order in which they came.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// Reads on until something holds of the answers; false when it does not within `limit`.
    pub async fn wait(&mut self, limit: Duration, mut holds: impl FnMut(&[Answer]) -> bool) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            self.process.still_runs()?;
            self.read_on()?;
            if holds(&self.answers) {
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Interrupts k6, which drops the requests under way, and reads the rest.
    pub async fn stop(&mut self) -> Result<Totals> {
        self.process.still_runs()?;
        self.process.signal(Signal::INT)?;
        let status = self.process.ended(ENDING).await?;
        if status.code() != Some(INTERRUPTED) {
            return Err(Error::new(format!("k6 ended with {status}; it said:\n{}", self.process.log_tail())));
        }
        self.read_on()?;
        let text = std::fs::read_to_string(&self.summary)
            .context(format_args!("cannot read k6's summary {}", self.summary.display()))?;
        totals(&text).ok_or_else(|| Error::new(format!("k6's summary does not count requests: {text}")))
    }

    fn read_on(&mut self) -> Result<()> {
        self.output.read_to_end(&mut self.begun).context("cannot read what k6 writes")?;
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = self.begun.split_off(end + 1);
        for line in std::mem::replace(&mut self.begun, rest).split(|byte| *byte == b'\n') {
            self.answers.extend(answer(line)?);
        }
        Ok(())
    }
}

/// The answer in a line of k6's output; none when the line is about something else.
fn answer(line: &[u8]) -> Result<Option<Answer>> {
    // Nine lines of ten are about something else and need not be parsed.
    if !line.starts_with(br#"{"metric":"answered","type":"Point""#) {
        return Ok(None);
    }
    let parsed: Value = serde_json::from_slice(line).context("k6 wrote a line that is not JSON")?;
    let data = parsed.get("data");
    let tag = |name: &str| Some(data?.get("tags")?.get(name)?.as_str()?.to_owned());
    let sent = data.and_then(|data| data.get("value")?.as_f64());
    let whole = || {
        Some(Answer {
            tenant: tag("tenant")?,
            cell: tag("cell").map(|cell| Some(cell).filter(|cell| !cell.is_empty()))?,
            outcome: tag("outcome")?,
            sent: sent? as i64,
        })
    };
    let whole = whole();
    whole.map(Some).ok_or_else(|| Error::new(format!("k6 wrote an answer without tenant, cell or outcome: {parsed}")))
}

/// Reads k6's summary. In a rate, the passes are the samples that are true: here, failed requests.
fn totals(summary: &str) -> Option<Totals> {
    let summary: Value = serde_json::from_str(summary).ok()?;
    let metrics = summary.get("metrics")?;
    let requests = metrics.get("http_reqs")?.get("count")?.as_u64()?;
    let failed = metrics.get("http_req_failed")?.get("passes")?.as_u64()?;
    Some(Totals { requests, failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_nothing_else() {
        let line = br#"{"metric":"answered","type":"Point","data":{"time":"2026-01-01T00:00:00.1Z","value":1.795241954708e+12,"tags":{"tenant":"acme","cell":"eu-2","outcome":"ok"}}}"#;
        let expected =
            Answer { tenant: "acme".into(), cell: Some("eu-2".into()), outcome: "ok".into(), sent: 1_795_241_954_708 };
        assert_eq!(answer(line).unwrap(), Some(expected));
        let other =
            br#"{"metric":"http_reqs","type":"Point","data":{"time":"2026-01-01T00:00:00.1Z","value":1,"tags":{}}}"#;
        assert_eq!(answer(other).unwrap(), None);
        assert_eq!(answer(b"").unwrap(), None);
        let error = answer(br#"{"metric":"answered","type":"Point","data":{"value":1,"tags":{}}}"#).unwrap_err();
        assert!(error.to_string().contains("without tenant"), "{error}");
    }

    #[test]
    fn the_summary_says_how_many_failed() {
        let summary = r#"{"metrics":{"http_reqs":{"count":500,"rate":9.5},"http_req_failed":{"passes":2,"fails":498,"value":0.004}}}"#;
        assert_eq!(totals(summary), Some(Totals { requests: 500, failed: 2 }));
        assert_eq!(totals("{}"), None);
    }
}
