//! Records edits below the fields of a row: texts, counters, list elements.

use actors::edit::{self, Path};
use serde::Serialize;

use super::row::{self, RowError};

/// The edits of one row that [`Table::edit`](super::Table::edit) writes: splices of texts, increments of
/// counters, operations on list elements. They run in order.
///
/// A path is dotted text (`"address.city"`, `"tags.0"`), an array of names that may contain dots (`["likes",
/// "a.b"]`), or a [`Path`]. Positions in texts count Unicode scalar values (`char`s), not bytes. Values are
/// of any serde type; those of type [`Text`](super::Text) and [`Counter`](super::Counter) merge.
///
/// ```
/// # use peerbase::{Counter, Node, TableName, Text};
/// #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
/// struct Note { body: Text, likes: Counter, tags: Vec<String> }
/// const NOTES: TableName<Note> = TableName::new("notes");
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let notes = Node::in_memory().await?.create_group("Garden club").await?.table(NOTES);
/// notes.put("pinned", &Note { body: "water".into(), likes: 1.into(), tags: vec![] }).await?;
/// notes.edit("pinned", |note| {
///     note.splice_text("body", 5, 0, " the basil");
///     note.increment("likes", 2);
///     note.insert("tags", 0, "herbs");
/// }).await?;
///
/// let note = Note { body: "water the basil".into(), likes: 3.into(), tags: vec!["herbs".into()] };
/// assert_eq!(notes.get("pinned")?, Some(note));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowEdit {
    edit: edit::RowEdit,
    /// The first value that cannot be stored; it fails the whole edit.
    error: Option<RowError>,
}

impl RowEdit {
    /// Sets a field, or overwrites an existing list element.
    pub fn put(&mut self, path: impl Into<Path>, value: impl Serialize) {
        let path = path.into();
        if let Some(value) = self.value(&path, &value) {
            self.edit.put(path, value);
        }
    }

    /// Deletes a field or a list element; a missing field is no error.
    pub fn delete(&mut self, path: impl Into<Path>) {
        self.edit.delete(path);
    }

    /// Replaces `delete` characters of a [`Text`](super::Text) from `position` on by `text`. A plain `String`
    /// is written whole.
    pub fn splice_text(
        &mut self,
        path: impl Into<Path>,
        position: usize,
        delete: usize,
        text: impl Into<String>,
    ) {
        self.edit.splice_text(path, position, delete, text);
    }

    /// Adds `by` to a [`Counter`](super::Counter). A plain integer is written whole.
    pub fn increment(&mut self, path: impl Into<Path>, by: i64) {
        self.edit.increment(path, by);
    }

    /// Inserts an element before position `index` of a list; the list's length appends.
    pub fn insert(&mut self, path: impl Into<Path>, index: usize, value: impl Serialize) {
        self.splice(path, index, 0, [value]);
    }

    /// Removes the element at position `index` of a list.
    pub fn remove_at(&mut self, path: impl Into<Path>, index: usize) {
        self.edit.remove_at(path, index);
    }

    /// Replaces `delete` elements of a list from position `index` on by `values`.
    pub fn splice<V: Serialize>(
        &mut self,
        path: impl Into<Path>,
        index: usize,
        delete: usize,
        values: impl IntoIterator<Item = V>,
    ) {
        let path = path.into();
        let values = values.into_iter().map(|value| self.value(&path, &value)).collect::<Option<Vec<_>>>();
        if let Some(values) = values {
            self.edit.splice(path, index, delete, values);
        }
    }

    fn value<V: Serialize>(&mut self, path: &Path, value: &V) -> Option<schema::value::Value> {
        match row::value(path, value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.error.get_or_insert(error);
                None
            }
        }
    }

    /// Returns the operations.
    ///
    /// # Errors
    /// [`RowError`] names the first value that cannot be stored.
    pub(super) fn finish(self) -> Result<edit::RowEdit, RowError> {
        self.error.map_or(Ok(self.edit), Err)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use std::collections::BTreeMap;

    use schema::value::Value;

    use super::*;
    use crate::table::row::RowProblem;
    use crate::table::{Counter, Text};

    #[test]
    fn values_of_any_serde_type_are_recorded() {
        #[derive(Serialize)]
        struct Visit {
            city: &'static str,
            visits: Counter,
        }
        let mut recorded = RowEdit::default();
        recorded.put("body", Text::from("hi"));
        recorded.put("place", Visit { city: "Oslo", visits: 1.into() });
        recorded.insert("tags", 0, Some(3u8));

        let place = [("city".to_owned(), "Oslo".into()), ("visits".to_owned(), Value::Counter(1))];
        let mut expected = edit::RowEdit::default();
        expected.put("body", Value::Text("hi".into()));
        expected.put("place", BTreeMap::from(place));
        expected.insert("tags", 0, 3);
        assert_eq!(recorded.finish(), Ok(expected));
    }

    #[test]
    fn the_first_value_that_cannot_be_stored_fails_the_edit_and_is_named() {
        let mut recorded = RowEdit::default();
        recorded.put("a", 1);
        recorded.put("b", [("wide", u128::MAX)].into_iter().collect::<BTreeMap<_, _>>());
        recorded.put("c", i128::MIN);

        let error = recorded.finish().unwrap_err();
        assert_eq!((error.path.to_string(), error.what), ("b.wide".to_owned(), RowProblem::WideInteger));
    }
}
