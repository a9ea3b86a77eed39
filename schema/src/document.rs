//! One document: the rules by which its changes are accepted.

pub mod admission;

pub use self::admission::{Bound, Index, Refusal, Verdict, vet, vet_anew};
