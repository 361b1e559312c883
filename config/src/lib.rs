//! What may be configured in GridRouter, and where it is kept.
//!
//! Documents take three forms on their way: [`raw`] exactly as written, [`model`] checked, and (in the `gridrouter`
//! crate) a compiled snapshot. The way from bytes to a model is [`codec`] (bytes → raw), [`check`] (raw → model) and
//! [`generation`] (what of it goes into force); what is wrong on it is a [`problem::Problem`].

pub mod address;
pub mod certificate;
pub mod check;
pub mod codec;
pub mod digest;
pub mod generation;
pub mod ids;
pub mod keys;
pub mod live;
pub mod model;
mod node;
mod path;
pub mod problem;
pub mod raw;
pub mod registrations;
pub mod resolved;
pub mod schema;
pub mod store;
mod structure;
pub mod tenants;
pub mod track;
pub mod tracks;
pub mod units;
