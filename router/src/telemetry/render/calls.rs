//! The metrics of calls of gRPC.

use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::metrics::MetricType;

use super::super::calls::CallCounters;
use super::super::counters::ThreadCounters;
use super::{Out, counter, merge};
use crate::grpc::status::Code;

#[derive(Default)]
struct Calls([u64; Code::ALL.len()]);

impl Calls {
    fn add(&mut self, counters: &CallCounters) {
        for (sum, count) in self.0.iter_mut().zip(counters.counts()) {
            *sum += count;
        }
    }
}

impl Out<'_, '_> {
    pub(super) fn calls(&mut self, routes: &[Arc<str>], threads: &[&ThreadCounters]) -> Result<(), Error> {
        let help = "Calls of gRPC by the status that their clients got";
        let mut metric = self.metric("grpc_calls", help, MetricType::Counter)?;
        for (id, sum) in &merge(threads, |thread| &thread.calls, Calls::add) {
            let route = routes.get(*id as usize).map_or("", |name| &**name);
            // Of those that there were: a route with one status has one series.
            for (code, count) in Code::ALL.iter().zip(sum.0).filter(|(_, count)| *count > 0) {
                counter(&mut metric.encode_family(&[("route", route), ("status", code.name())])?, count)?;
            }
        }
        Ok(())
    }
}
