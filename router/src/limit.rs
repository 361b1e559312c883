//! The limit stage.
