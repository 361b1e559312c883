//! Arrivals as they are written: one JSON object a line.

use std::borrow::Cow;
use std::io::{BufRead, Read};
use std::num::NonZeroU32;
use std::sync::Arc;

use gridrouter::limit::Answered;
use gridrouter_config::problem::Problem;
use serde::Deserialize;

use super::{Event, What, explain};

/// The longest line that is read. Nobody's key is that long; without a bound a file of something else would fill memory.
const LONGEST: u64 = 1 << 20;

/// Why a trace cannot be read on.
#[derive(Debug)]
pub enum Fault {
    /// It cannot be read at all.
    Unreadable(String),
    /// A line says nothing that can be understood.
    Malformed {
        /// What is wrong with it, and where.
        problem: Box<Problem>,
        /// The line.
        text: String,
    },
}

/// Reads a trace, holding one line at a time.
pub struct Trace<'a> {
    name: Arc<str>,
    input: &'a mut dyn BufRead,
    line: Vec<u8>,
    key: String,
    number: u64,
}

/// A line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    at_ns: u64,
    #[serde(borrow, default)]
    key: Cow<'a, str>,
    cost: Option<NonZeroU32>,
    #[serde(default)]
    release: bool,
    took_ns: Option<u64>,
    served: Option<bool>,
}

impl<'a> Trace<'a> {
    /// A trace, and the name that problems are told under.
    pub fn new(name: &str, input: &'a mut dyn BufRead) -> Self {
        Self { name: Arc::from(name), input, line: Vec::new(), key: String::new(), number: 0 }
    }

    /// The next event, or none at the end.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, Fault> {
        if !self.read_line()? {
            return Ok(None);
        }
        // At the very beginning some editors leave a mark.
        let bytes = self.line.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.number == 1).unwrap_or(&self.line);
        let event = match std::str::from_utf8(bytes) {
            Ok(text) => parse(text, &mut self.key),
            Err(error) => Err(explain::not_utf8(bytes, error.valid_up_to())),
        };
        match event {
            Ok((at, cost, what)) => Ok(Some(Event { at, key: &self.key, cost, what })),
            Err(what) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                let line = u32::try_from(self.number).unwrap_or(u32::MAX);
                let problem = Problem { line, ..what.problem(&self.name) };
                Err(Fault::Malformed { problem: Box::new(problem), text })
            }
        }
    }

    /// Reads the next line that is not blank.
    fn read_line(&mut self) -> Result<bool, Fault> {
        loop {
            self.line.clear();
            self.number += 1;
            let mut bounded = (&mut *self.input).take(LONGEST);
            let read = bounded.read_until(b'\n', &mut self.line);
            let read = read.map_err(|error| Fault::Unreadable(format!("cannot read {}: {error}", self.name)))?;
            if read == 0 {
                return Ok(false);
            }
            if self.line.pop_if(|last| *last == b'\n').is_none() && read as u64 == LONGEST {
                let line = u32::try_from(self.number).unwrap_or(u32::MAX);
                let problem = Problem { line, ..explain::too_long(LONGEST).problem(&self.name) };
                return Err(Fault::Malformed { problem: Box::new(problem), text: String::new() });
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }
}

/// Reads a line; its key goes into `key`.
fn parse(text: &str, key: &mut String) -> Result<(u64, Option<u32>, What), explain::Wrong> {
    // serde would take an array of the same values too.
    if !text.trim_start().starts_with('{') {
        return Err(explain::wrong(text, None));
    }
    let line: Line<'_> = serde_json::from_str(text).map_err(|error| explain::wrong(text, Some(&error)))?;
    let what = if line.release {
        What::Release(Answered { took_nanos: line.took_ns, served: line.served.unwrap_or(true), counts: true })
    } else if line.took_ns.is_some() || line.served.is_some() {
        return Err(explain::wrong(text, None));
    } else {
        What::Arrival
    };
    key.clear();
    key.push_str(&line.key);
    Ok((line.at_ns, line.cost.map(NonZeroU32::get), what))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (u64, String, Option<u32>, What);

    fn read(text: &[u8]) -> Result<Vec<Read>, Fault> {
        let mut input = text;
        let mut trace = Trace::new("t.jsonl", &mut input);
        let mut events = Vec::new();
        while let Some(event) = trace.next_event()? {
            events.push((event.at, event.key.to_owned(), event.cost, event.what));
        }
        Ok(events)
    }

    /// Line, column, length, message and help.
    #[track_caller]
    fn problem(text: &[u8]) -> (u32, u32, u32, String, String) {
        let Err(Fault::Malformed { problem, .. }) = read(text) else { panic!("{text:?} was read") };
        assert_eq!(&*problem.file, "t.jsonl");
        (problem.line, problem.column, problem.length, problem.message, problem.help.unwrap_or_default())
    }

    #[test]
    fn lines_are_events() {
        let text = "\u{feff}{\"at_ns\": 0}\r\n\n  \t\n{\"cost\":4294967295,\"key\":\"\\u00e9x\",\"at_ns\":18446744073709551615}\n\
                    {\"at_ns\":5,\"release\":true,\"took_ns\":3,\"served\":false}\n{\"at_ns\":5,\"release\":true}\n\
                    {\"at_ns\":4,\"release\":false,\"cost\":null}";
        let released = |took_nanos, served| What::Release(Answered { took_nanos, served, counts: true });
        let wanted = [
            (0, String::new(), None, What::Arrival),
            (u64::MAX, "éx".to_owned(), Some(u32::MAX), What::Arrival),
            (5, String::new(), None, released(Some(3), false)),
            (5, String::new(), None, released(None, true)),
            (4, String::new(), None, What::Arrival),
        ];
        assert_eq!(read(text.as_bytes()).unwrap(), wanted);
        assert_eq!(read(b"").unwrap(), []);
        assert_eq!(read(b"\n\n").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let good = "{\"at_ns\": 0}\n\n";
        for (line, column, length, message, help) in [
            ("{\"at_ns\": 0, \"cots\": 1}", 14, 6, "unknown field \"cots\"", "did you mean \"cost\"?"),
            ("{\"at_ns\": -1}", 11, 2, "at_ns is -1", "write a whole number of nanoseconds, 0 or more"),
            ("{\"at_ns\": 1.5}", 11, 3, "at_ns is 1.5", "write a whole number of nanoseconds, 0 or more"),
            ("{\"at_ns\": \"1\"}", 11, 3, "at_ns is \"1\"", "write a whole number of nanoseconds, 0 or more"),
            ("{\"at_ns\":0,\"cost\":0}", 19, 1, "cost is 0", "write a whole number, 1 to 4294967295"),
            (
                "{\"at_ns\":0,\"cost\":4294967296}",
                19,
                10,
                "cost is 4294967296",
                "write a whole number, 1 to 4294967295",
            ),
            (
                "{\"key\":\"é\",\"at_ns\":0,\"key\":\"b\"}",
                22,
                5,
                "field \"key\" is there twice",
                "leave one of them out",
            ),
            ("{\"at_ns\":0,\"key\":7}", 18, 1, "key is 7", "write a text in quotes"),
            ("{\"at_ns\":0,\"release\":1}", 22, 1, "release is 1", "write true or false"),
            ("  {\"key\":\"a\"}", 3, 1, "at_ns is missing", "write when it comes: {\"at_ns\": 0}"),
            (
                "{\"at_ns\":0,\"took_ns\":1}",
                12,
                9,
                "took_ns is of a release",
                "write \"release\": true with it, or leave it out",
            ),
        ] {
            let text = format!("{good}{line}\n{good}");
            assert_eq!(problem(text.as_bytes()), (3, column, length, message.to_owned(), help.to_owned()), "{line}");
        }
    }

    #[test]
    fn what_is_no_object_or_no_json_is_told_with_an_example() {
        for (line, column, message) in [
            (&b"[0,\"\",null,false,null,null]"[..], 1, "a line is an object, and not an array"),
            (b" 5", 2, "a line is an object, and not a number"),
            (b"at 5", 1, "not JSON: expected value"),
            (b"{\"at_ns\": 0", 11, "not JSON: EOF while parsing an object"),
            (b"{\"at_ns\": 0} {\"at_ns\": 1}", 14, "not JSON: trailing characters"),
            (b"{\"k\xc3\xa9y\": \xff}", 9, "byte 0xff is not UTF-8"),
        ] {
            let (number, at, _, text, help) = problem(line);
            assert_eq!((number, at, text.as_str()), (1, column, message));
            assert!(help.contains("{\"at_ns\": 0") || help.contains("UTF-8"), "{help}");
        }
        let (_, _, _, message, _) = problem(&vec![b' '; 2 << 20]);
        assert_eq!(message, "a line is longer than 1048576 bytes");
    }

    #[test]
    fn nothing_that_can_be_written_is_a_panic() {
        let mut random = 1_u64;
        let alphabet = b"{}[]\":,\\ \n\tat_nskeycotrlved0123456789.-+euxf\xc3\xa9\xff";
        for _ in 0..3_000 {
            let mut text = b"{\"at_ns\":0,\"key\":\"\\u00e9\",\"cost\":1,\"release\":true,\"took_ns\":1}".to_vec();
            for _ in 0..4 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (at, with) = ((random >> 33) as usize % text.len(), (random >> 20) as usize % alphabet.len());
                text[at] = alphabet[with];
            }
            if let Err(Fault::Malformed { problem, text }) = read(&text) {
                assert!(problem.line >= 1 && problem.column >= 1 && problem.length >= 1);
                assert!(!problem.message.is_empty() && problem.help.is_some(), "{text}: {}", problem.message);
            }
        }
    }
}
