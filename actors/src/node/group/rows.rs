//! The current value of every row and its index entries (pure).
