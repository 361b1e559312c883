//! The operators' tool of GridRouter.

fn main() {}
