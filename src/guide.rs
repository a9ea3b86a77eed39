//! Runs the examples of the README and of `docs/guide` as doctests.

#[doc = include_str!("../README.md")]
mod readme {}
