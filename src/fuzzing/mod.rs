//! What the fuzz targets in `fuzz/` call, each with what the fuzzer thought of. Here, and not
//! there, since they reach what is private; there is nothing of this in a release.
//!
//! Every target takes any bytes, and panics if a promise is broken. The saved inputs run as tests,
//! too, so that what was found once is looked at with every build.

mod frames;
mod names;
mod records;
mod requests;
mod session;

pub use self::frames::frames;
pub use self::names::names;
pub use self::records::records;
pub use self::requests::requests;
pub use self::session::session;

/// Messages for a room of a tutorial, for a member, and records of rooms.
#[cfg(feature = "tutorial")]
pub fn tutorial(data: &[u8]) {
    crate::tutorial::fuzz(data);
}

/// The keys are made once: they take longer than most inputs.
fn identity(number: u8) -> &'static crate::Identity {
    static IDENTITIES: std::sync::LazyLock<Vec<crate::Identity>> = std::sync::LazyLock::new(|| {
        (0..16).map(|secret| crate::Identity::from_secret([secret; 32])).collect()
    });
    &IDENTITIES[usize::from(number)]
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
