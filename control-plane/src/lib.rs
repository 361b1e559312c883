//! The operators' tool of GridRouter: a library, so that everything it says can be tested, and a thin binary.

pub mod acknowledge;
pub mod cli;
pub mod contexts;
pub mod controller;
pub mod diff;
pub mod directory;
pub mod kinds;
pub mod ledger;
pub mod locate;
pub mod mover;
pub mod observe;
pub mod output;
pub mod picture;
pub mod plan;
pub mod problems;
pub mod screen;
pub mod simulate;
pub mod site;
pub mod sources;
pub mod summary;
pub mod table;
pub mod target;
pub mod yaml;
