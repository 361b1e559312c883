//! The data plane of GridRouter.

pub mod balance;
pub mod limit;
pub mod placement;
pub mod routing;
pub mod tenant;
