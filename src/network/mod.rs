//! Noticing that the machine got other addresses, or slept. What follows from it is decided
//! elsewhere: see [`NetworkChange`].
//!
//! `addresses` and [`sleep`] are pure and decide; [`watch`] feeds them, and alone knows where
//! the news come from: the system, or in `web` the browser.

#[cfg(not(target_arch = "wasm32"))]
mod addresses;
mod sleep;
#[cfg(not(target_arch = "wasm32"))]
mod watch;
#[cfg(target_arch = "wasm32")]
mod web;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use self::watch::watch;
#[cfg(target_arch = "wasm32")]
pub(crate) use self::web::watch;
pub(crate) use crate::durable::core::NetworkChange;
