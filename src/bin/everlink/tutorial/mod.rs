//! `everlink tutorial`.

pub mod repository;
