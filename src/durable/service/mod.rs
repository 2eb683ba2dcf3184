//! The service: what a host exposes, and who comes to it.

pub(crate) mod schedule;
