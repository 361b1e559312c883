//! The metrics of TLS.

use std::fmt::Error;

use prometheus_client::metrics::MetricType;

use super::super::counters::{Counter, ThreadCounters};
use super::super::handshakes::{Failed, Version};
use super::{Out, counter};
use crate::tls::table::Table;

impl Out<'_, '_> {
    pub(super) fn handshakes(&mut self, threads: &[&ThreadCounters]) -> Result<(), Error> {
        let sum = |of: &dyn Fn(&ThreadCounters) -> Option<&Counter>| -> u64 {
            threads.iter().filter_map(|thread| of(thread)).map(Counter::get).sum()
        };
        let mut metric = self.metric("tls_handshakes", "TLS handshakes that went well", MetricType::Counter)?;
        for version in Version::ALL {
            for resumed in [false, true] {
                let done = sum(&|t| t.handshakes.done.get(version as usize)?.get(usize::from(resumed)));
                let labels = [("version", version.as_str()), ("resumed", if resumed { "true" } else { "false" })];
                counter(&mut metric.encode_family(&labels)?, done)?;
            }
        }
        let help = "TLS handshakes that failed";
        let mut metric = self.metric("tls_handshake_failures", help, MetricType::Counter)?;
        for failed in Failed::ALL {
            let failures = sum(&|t| t.handshakes.failed.get(*failed as usize));
            counter(&mut metric.encode_family(&[("reason", failed.as_str())])?, failures)?;
        }
        // The later of the two first, so that the difference is never below zero.
        let ended = sum(&|t| Some(&t.handshakes.ended));
        let begun = sum(&|t| Some(&t.handshakes.begun));
        self.gauge("tls_handshakes_under_way", "TLS handshakes under way", begun.saturating_sub(ended) as f64)
    }

    pub(super) fn certificates(&mut self, table: &Table) -> Result<(), Error> {
        let help = "When the first certificate of the chain expires";
        let mut metric = self.metric("tls_certificate_expiry_timestamp_seconds", help, MetricType::Gauge)?;
        for one in &table.certificates {
            if let Some(expires) = one.expires {
                metric.encode_family(&[("certificate", &*one.name)])?.encode_gauge(&(expires as f64))?;
            }
        }
        let help = "Whether what is there now cannot be served, the last good one being served if there was one";
        let mut metric = self.metric("tls_certificate_broken", help, MetricType::Gauge)?;
        for one in &table.certificates {
            let broken = u64::from(one.fault.is_some());
            metric.encode_family(&[("certificate", &*one.name)])?.encode_gauge(&broken)?;
        }
        Ok(())
    }
}
