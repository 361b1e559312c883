//! The metrics of connections that were upgraded.

use std::fmt::Error;

use prometheus_client::metrics::MetricType;

use super::super::counters::ThreadCounters;
use super::super::tunnels::{Closed, TunnelCounters};
use super::{Out, counter};

impl Out<'_, '_> {
    pub(super) fn tunnels(&mut self, threads: &[&ThreadCounters]) -> Result<(), Error> {
        let sum = |of: &dyn Fn(&TunnelCounters) -> u64| -> u64 { threads.iter().map(|t| of(&t.tunnels)).sum() };
        let closed = |why: Closed| sum(&|t| t.closed.get(why as usize).map_or(0, super::super::counters::Counter::get));
        // The later of the two first, so that the difference is never below zero.
        let all_closed: u64 = Closed::ALL.iter().map(|why| closed(*why)).sum();
        let opened = sum(&|t| t.opened.get());
        let open = opened.saturating_sub(all_closed);
        self.gauge("tunnels", "Upgraded connections (WebSockets) that are open", open as f64)?;
        self.counter("tunnels_opened", "Connections that were upgraded", opened)?;
        let mut metric = self.metric("tunnels_closed", "Upgraded connections that were closed", MetricType::Counter)?;
        for why in Closed::ALL {
            counter(&mut metric.encode_family(&[("reason", why.as_str())])?, closed(*why))?;
        }
        let bytes = [("client", sum(&|t| t.to_clients.get())), ("endpoint", sum(&|t| t.to_endpoints.get()))];
        let help = "Bytes that passed through upgraded connections, by who received them";
        let mut metric = self.metric("tunnel_bytes", help, MetricType::Counter)?;
        for (to, bytes) in bytes {
            counter(&mut metric.encode_family(&[("to", to)])?, bytes)?;
        }
        Ok(())
    }
}
