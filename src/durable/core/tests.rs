//! Two sessions in virtual time: they are driven by the rule in `session.rs` and nothing else.

mod crashes;
mod misbehaviour;
mod pair;
mod properties;
mod rules;
mod vectors;
