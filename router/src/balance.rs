//! The balance stage.
