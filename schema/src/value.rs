//! The value of a row, apart from any document.
