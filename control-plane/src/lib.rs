//! The operators' tool of GridRouter: a library, so that everything it says can be tested, and a thin binary.

pub mod cli;
pub mod locate;
pub mod output;
pub mod sources;
