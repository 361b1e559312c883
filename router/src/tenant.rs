//! The tenant stage.
