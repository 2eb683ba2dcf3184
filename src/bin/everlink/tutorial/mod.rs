//! `everlink tutorial`.

pub mod checkout;
pub mod repository;
