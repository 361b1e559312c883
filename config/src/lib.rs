//! What may be configured in GridRouter, and where it is kept.
//!
//! Documents take three forms on their way: [`raw`] exactly as written, [`model`] checked, and (in the `gridrouter`
//! crate) a compiled snapshot. [`store`] is the only module of this crate that does I/O.

pub mod ids;
pub mod model;
pub mod raw;
pub mod store;
pub mod units;
