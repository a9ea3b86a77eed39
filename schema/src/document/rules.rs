//! The rules that a document follows; under the feature `canary` one of them can be broken on purpose.
//!
//! A build without that feature compiles `rules/sound.rs`, in which every hook is the rule itself and nothing
//! can be switched. A build with it compiles `rules/canary.rs` instead: tests, the machine world and the
//! demo's `--break admission` break a rule there and nowhere else, and the same machine runs with it.

#[cfg(feature = "canary")]
mod canary;
#[cfg(not(feature = "canary"))]
mod sound;

#[cfg(feature = "canary")]
pub use self::canary::{Defect, Rules};
#[cfg(not(feature = "canary"))]
pub use self::sound::Rules;
