//! Which limit is meant, and with which values.

use std::ffi::OsStr;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use gridrouter_config::check::{ModelDocument, convert};
use gridrouter_config::codec::{BrokenDocument, Parsed, SourceDocument, parse};
use gridrouter_config::generation::check_sources;
use gridrouter_config::ids::{DocumentId, Kind};
use gridrouter_config::model::{Algorithm, Limit};
use gridrouter_config::problem::{Problem, did_you_mean};
use serde_json::Value;

use super::super::Status;
use super::Told;
use crate::output::Output;
use crate::sources::{self, Sources};

/// A limit and the values to try.
pub(super) struct Chosen {
    pub(super) limit: Arc<Limit>,
    /// With the candidate's values, if those are wanted.
    pub(super) algorithm: Algorithm,
    /// The document as it is written.
    written: Value,
}

impl Chosen {
    /// The algorithm, by the name that it has in documents.
    pub(super) fn algorithm_name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::TokenBucket(_) => "tokenBucket",
            Algorithm::LeakyBucketQueue(_) => "leakyBucketQueue",
            Algorithm::LeakyBucketMeter(_) => "leakyBucketMeter",
            Algorithm::SlidingWindow(_) => "slidingWindow",
            Algorithm::FixedWindow(_) => "fixedWindow",
            Algorithm::WarmUp(_) => "warmUp",
            Algorithm::Concurrency(_) => "concurrency",
            Algorithm::AdaptiveConcurrency(_) => "adaptiveConcurrency",
            Algorithm::Bandwidth(_) => "bandwidth",
        }
    }

    /// The limit in a line: `per-tenant: tokenBucket {burst: 200, rate: 100/s}`.
    pub(super) fn title(&self, candidate: bool) -> String {
        let values =
            |field: &str| self.written.get(field).map(|value| format!(" {}", short(value))).unwrap_or_default();
        let name = self.algorithm_name();
        let own = if candidate { format!(", with the candidate{}", values("candidate")) } else { String::new() };
        format!("{}: {name}{}{own}", self.limit.name, values(name))
    }
}

/// A value in a line, as YAML has it.
fn short(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {}", short(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(short).collect::<Vec<_>>().join(", ")),
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Reads the limit. Whatever is wrong is said.
pub(super) fn choose(
    path: &Path,
    name: Option<&str>,
    candidate: bool,
    input: &mut dyn BufRead,
    output: &mut Output,
) -> Told<Chosen> {
    let fail = |output: &mut Output, why: String| {
        output.error(why);
        Status::Failed
    };
    let sources = sources::read(&[path.to_owned()], input).map_err(|why| fail(output, why))?;
    if let Some((file, why)) = sources.faults.first() {
        return Err(fail(output, format!("{file} {why}")));
    }
    let source = match find(&sources, path, name) {
        Ok(source) => source,
        Err(Missing::Bad(problems)) => {
            for problem in &problems {
                output.problem(problem, sources.text(&problem.file).as_deref());
            }
            return Err(Status::Problems);
        }
        Err(Missing::Unclear(why)) => return Err(fail(output, why)),
    };
    let (limit, document) = source;
    let algorithm = match (&limit.candidate, candidate) {
        (_, false) => limit.algorithm,
        (Some(own), true) => limit.algorithm.with(own),
        (None, true) => {
            let why = format!("limit \"{}\" has no candidate; write one, or leave --candidate out", limit.name);
            return Err(fail(output, why));
        }
    };
    let written = serde_json::to_value(&document.raw).unwrap_or_default();
    Ok(Chosen { limit, algorithm, written })
}

/// Why there is no limit.
enum Missing {
    /// It is wrong, or what it is cannot be known for something that is wrong.
    Bad(Vec<Problem>),
    /// It is not there, or there are several.
    Unclear(String),
}

fn find(sources: &Sources, path: &Path, name: Option<&str>) -> Result<(Arc<Limit>, Arc<SourceDocument>), Missing> {
    let parsed: Vec<Parsed> = sources.files.iter().map(|(file, bytes)| parse(file, bytes)).collect();
    let meant = |id: &DocumentId| id.kind == Kind::Limit && name.is_none_or(|name| id.name.as_str() == name);
    let good: Vec<&Arc<SourceDocument>> =
        parsed.iter().flat_map(|file| &file.documents).filter(|document| meant(&document.id)).collect();
    // What has no name could be the limit.
    let bad: Vec<&BrokenDocument> =
        parsed.iter().flat_map(|file| &file.broken).filter(|broken| broken.id.as_ref().is_none_or(meant)).collect();
    if let ([document], []) = (good.as_slice(), bad.as_slice()) {
        return match convert(document) {
            Ok(ModelDocument::Limit(limit)) => Ok((limit, Arc::clone(document))),
            Ok(_) => Err(Missing::Unclear(format!("{} is no Limit", document.id))),
            Err(problems) => Err(Missing::Bad(problems)),
        };
    }
    let mut names: Vec<&str> = good.iter().map(|document| document.id.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    // Two of one name are a problem, two of different names a question.
    if !bad.is_empty() || good.len() > names.len() {
        let mut problems = check_sources(&sources.files).problems;
        problems.retain(|problem| problem.missing.is_none() && problem.document.as_ref().is_none_or(meant));
        if problems.is_empty() {
            problems = bad.iter().flat_map(|broken| broken.problems.iter().cloned()).collect();
        }
        return Err(Missing::Bad(problems));
    }
    let place = if path.as_os_str() == OsStr::new("-") { "standard input".into() } else { path.display().to_string() };
    Err(Missing::Unclear(unclear(&parsed, &names, &place, name)))
}

/// Why it is not clear which limit is meant.
fn unclear(parsed: &[Parsed], names: &[&str], place: &str, name: Option<&str>) -> String {
    let documents = || parsed.iter().flat_map(|file| &file.documents).map(|document| &document.id);
    let known: Vec<&str> = documents().filter(|id| id.kind == Kind::Limit).map(|id| id.name.as_str()).collect();
    match (name, known.as_slice()) {
        (_, []) => format!("no Limit in {place}"),
        (Some(name), known) => {
            let there = || format!("there is {}", known.join(", "));
            let help = did_you_mean(name, known.iter().copied()).unwrap_or_else(there);
            format!("no Limit \"{}\" in {place}; {help}", name.escape_debug())
        }
        (None, _) => format!("several Limits in {place}; choose one with --name: {}", names.join(", ")),
    }
}
