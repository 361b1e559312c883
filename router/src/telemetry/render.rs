//! Renders the metrics.
