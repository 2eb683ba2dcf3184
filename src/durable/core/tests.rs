//! Two sessions in virtual time: they are driven by the rule in `session.rs` and nothing else.

#[cfg(test)]
mod crashes;
#[cfg(test)]
mod misbehaviour;
// The fuzz targets use of these what they need.
#[cfg_attr(not(test), allow(dead_code))]
pub(super) mod pair;
#[cfg_attr(not(test), allow(dead_code))]
pub(super) mod properties;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod vectors;
