//! What the fuzz targets in `fuzz/` call, each with what the fuzzer thought of. Here, and not
//! there, since they reach what is private; there is nothing of this in a release.
//!
//! Every target takes any bytes, and panics if a promise is broken. The saved inputs run as tests,
//! too, so that what was found once is looked at with every build.

mod frames;
mod names;
mod requests;

pub use self::frames::frames;
pub use self::names::names;
pub use self::requests::requests;

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
