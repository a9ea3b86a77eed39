//! A text field that merges character by character.

use std::fmt;
use std::ops::Deref;

/// The serde name by which the serialiser tells a text from a string.
pub(crate) const TEXT: &str = "$peerbase::Text";

/// A field of a row that merges character by character; a plain `String` is replaced whole.
///
/// Other serde formats see an ordinary string. Positions count Unicode scalar values (`char`s).
///
/// ```
/// # use peerbase::Text;
/// let mut body = Text::from("grün");
/// body.splice(4, 0, "er Tee");
/// assert_eq!(body.as_str(), "grüner Tee");
/// ```
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename = "$peerbase::Text")]
pub struct Text(String);

impl Text {
    /// Returns the whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Appends text.
    pub fn push_str(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// Replaces `delete` characters from `position` on by `text`; positions beyond the end count as the end.
    pub fn splice(&mut self, position: usize, delete: usize, text: &str) {
        let byte =
            |text: &str, position| text.char_indices().nth(position).map_or(text.len(), |(byte, _)| byte);
        let start = byte(&self.0, position);
        let end = start + byte(&self.0[start..], delete);
        self.0.replace_range(start..end, text);
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_and_end_at_the_end() {
        let mut text = Text::from("añb");
        text.splice(1, 1, "→");
        assert_eq!(text, "a→b");
        text.splice(9, 9, "!");
        assert_eq!(text, "a→b!");
    }
}
