//! Placeholder.

pub mod edit;

/// The supervision tree.
pub mod node {
    /// One group.
    pub mod group {
        pub mod replica;
        pub mod rows;
    }
}
