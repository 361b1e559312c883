//! The metrics of names of endpoints.

use std::fmt::Error;

use prometheus_client::metrics::MetricType;

use super::{Out, counter};
use crate::resolver::NameView;

impl Out<'_, '_> {
    pub(super) fn names(&mut self, names: &[NameView]) -> Result<(), Error> {
        let mut metric = self.metric("name_addresses", "Addresses that a name has", MetricType::Gauge)?;
        for one in names {
            metric.encode_family(&[("name", &*one.name)])?.encode_gauge(&(one.addresses.len() as f64))?;
        }
        let help = "Time since a name was last resolved";
        let mut metric = self.metric("name_age_seconds", help, MetricType::Gauge)?;
        for one in names {
            if let Some(answered) = one.answered {
                let age = answered.elapsed().as_secs_f64();
                metric.encode_family(&[("name", &*one.name)])?.encode_gauge(&age)?;
            }
        }
        let mut metric = self.metric("name_lookups", "How often a name was asked for", MetricType::Counter)?;
        for one in names {
            counter(&mut metric.encode_family(&[("name", &*one.name)])?, one.lookups)?;
        }
        let help = "How often a name was asked for in vain";
        let mut metric = self.metric("name_failures", help, MetricType::Counter)?;
        for one in names {
            counter(&mut metric.encode_family(&[("name", &*one.name)])?, one.failures)?;
        }
        Ok(())
    }
}
