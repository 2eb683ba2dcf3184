//! `everlink tutorial`: a git repository shown step by step, by whoever leads, to whoever follows.

mod checkout;
pub mod follow;
pub mod host;
mod lessons;
mod repository;
mod session;
pub mod terminal;
mod view;
