//! GridRouter's load tests.
