//! What a drill asserts: each check said in words, with what was seen, whether it held or not.

use std::fmt::Display;

use serde_json::{Value, json};

use super::Common;
use crate::error::{Error, Result};
use crate::output;

/// The checks of one drill.
#[derive(Debug)]
pub struct Checks {
    drill: &'static str,
    done: Vec<(String, bool, String)>,
    figures: serde_json::Map<String, Value>,
}

impl Checks {
    /// No checks yet.
    pub fn new(drill: &'static str) -> Self {
        Self { drill, done: Vec::new(), figures: serde_json::Map::new() }
    }

    /// Notes whether `what` must hold does, and what was seen.
    pub fn check(&mut self, what: impl Display, holds: bool, seen: impl Display) {
        let (what, seen) = (what.to_string(), seen.to_string());
        output::line(format_args!("{}  {what}: {seen}", if holds { "ok  " } else { "FAIL" }));
        self.done.push((what, holds, seen));
    }

    /// Notes a figure that nothing is asserted of.
    pub fn note(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        output::line(format_args!("      {name}: {value}"));
        self.figures.insert(name.to_owned(), value);
    }

    /// The same for programs only.
    pub fn keep(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Writes the report; an error when a check did not hold.
    pub fn finish(self, common: &Common) -> Result<()> {
        let checks: Vec<Value> =
            self.done.iter().map(|(what, holds, seen)| json!({"check": what, "holds": holds, "seen": seen})).collect();
        let failed = self.done.iter().filter(|(_, holds, _)| !holds).count();
        let report = json!({
            "drill": self.drill, "proxy": common.proxy.as_str(), "short": common.short, "failed": failed,
            "checks": checks, "figures": self.figures,
        });
        output::json(common.json.as_deref(), &report)?;
        if failed > 0 {
            return Err(Error::new(format!("drill {}: {failed} of {} checks failed", self.drill, self.done.len())));
        }
        output::line(format_args!("drill {}: all {} checks hold", self.drill, self.done.len()));
        Ok(())
    }
}

/// A figure as people read it.
pub fn rounded(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

/// How often each thing occurs, most often first, as in `200 (1,204), 502 upstream_closed (3)`.
pub fn tally(things: impl IntoIterator<Item = String>) -> String {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for thing in things {
        *counts.entry(thing).or_default() += 1;
    }
    let mut sorted: Vec<(String, usize)> = counts.into_iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    if sorted.is_empty() {
        return "nothing".to_owned();
    }
    sorted.iter().map(|(thing, count)| format!("{thing} ({count})")).collect::<Vec<_>>().join(", ")
}
