//! What is counted of calls of gRPC.

use super::counters::Counter;
use crate::grpc::status::Code;

/// How many calls of one route ended with which status.
#[derive(Debug, Default)]
pub struct CallCounters([Counter; Code::ALL.len()]);

impl CallCounters {
    pub(crate) fn ended(&self, code: Code) {
        if let Some(counter) = self.0.get(usize::from(code.number())) {
            counter.add(1);
        }
    }

    /// The counts, in the order of the statuses' numbers.
    pub(crate) fn counts(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(Counter::get)
    }
}
