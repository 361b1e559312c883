//! The operators' tool of GridRouter.
