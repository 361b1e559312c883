//! The placement stage.
