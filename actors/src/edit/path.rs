//! Paths within a row: names and indices from the root down.

use std::fmt;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A field of a map. In a list, a number as text is an index.
    Name(String),
    /// An element of a list.
    Index(usize),
}

impl Part {
    /// Returns the index that it means in a list.
    pub(crate) fn as_index(&self) -> Option<usize> {
        match self {
            Self::Name(name) => name.parse().ok(),
            Self::Index(index) => Some(*index),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) if name.is_empty() || name.contains('.') => write!(f, "{name:?}"),
            Self::Name(name) => f.write_str(name),
            Self::Index(index) => write!(f, "{index}"),
        }
    }
}

/// A path to a value within a row. The empty path is the root.
///
/// Made from text, it is split at dots; made from an array, its names may contain dots.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(pub Vec<Part>);

impl Path {
    /// Appends a name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.0.push(Part::Name(name.into()));
        self
    }

    /// Appends an index.
    pub fn index(mut self, index: usize) -> Self {
        self.0.push(Part::Index(index));
        self
    }

    /// Splits off the last step; returns none for the root.
    pub(crate) fn split(&self) -> Option<(&[Part], &Part)> {
        self.0.split_last().map(|(last, parents)| (parents, last))
    }

    /// Returns true if its first name is one of the database's own.
    pub(crate) fn is_reserved(&self) -> bool {
        matches!(self.0.first(), Some(Part::Name(name)) if is_reserved(name))
    }
}

/// Returns true if a name at the root is one of the database's own.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with('$')
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("(row)");
        }
        for (i, part) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            part.fmt(f)?;
        }
        Ok(())
    }
}

impl From<&str> for Path {
    fn from(dotted: &str) -> Self {
        Self(dotted.split('.').map(|name| Part::Name(name.to_owned())).collect())
    }
}

impl<const N: usize> From<[&str; N]> for Path {
    fn from(names: [&str; N]) -> Self {
        Self(names.into_iter().map(|name| Part::Name(name.to_owned())).collect())
    }
}

impl From<Vec<Part>> for Path {
    fn from(parts: Vec<Part>) -> Self {
        Self(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_split_text_and_leave_arrays_alone() {
        assert_eq!(Path::from("a.b"), Path::default().name("a").name("b"));
        assert_eq!(Path::from(["a.b", "c"]), Path::default().name("a.b").name("c"));
        assert_eq!(Path::from(["a.b", "c"]).index(2).to_string(), "\"a.b\".c.2");
    }
}
