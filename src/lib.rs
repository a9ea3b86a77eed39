//! Placeholder.

/// Typed rows of one group.
pub mod table {
    pub mod counter;
    pub mod row;
    pub mod text;
}
