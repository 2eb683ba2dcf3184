//! Noticing that the machine got other addresses, or slept. What follows from it is decided
//! elsewhere: see [`NetworkChange`].
//!
//! [`addresses`] and [`sleep`] are pure and decide; [`watch`] feeds them, and alone knows where
//! the news come from.

mod addresses;
mod sleep;
mod watch;

pub(crate) use self::watch::watch;
pub(crate) use crate::durable::core::NetworkChange;
