//! The routing stage.
