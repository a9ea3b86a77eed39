//! Rows of a JSON lines file: one object a line, or the lines of an `export`.

use std::io::{BufRead, BufReader, Read};

use peerbase::control::Fields;
use serde_json::{Map, Value};

use super::{ImportError, Item, Items, ROW_BYTES_MAX};

/// Returns the rows of a file. With `key`, that field holds the key; without it, lines have the form of an
/// export.
pub(super) fn items(file: Box<dyn Read>, key: Option<String>, table: String) -> Items {
    Box::new(Lines { file: BufReader::new(file), key, table, line: 0, read: 0, done: false })
}

struct Lines<R> {
    file: BufReader<R>,
    key: Option<String>,
    table: String,
    line: u64,
    read: u64,
    done: bool,
}

impl<R: Read> Iterator for Lines<R> {
    type Item = Result<Item, ImportError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            let item = self.read_line().transpose();
            self.done = !matches!(item, Some(Ok(_)));
            match item {
                Some(Ok(None)) => {}
                Some(Ok(Some(item))) => return Some(Ok(item)),
                Some(Err(error)) => return Some(Err(error)),
                None => {}
            }
        }
        None
    }
}

impl<R: Read> Lines<R> {
    /// Reads the next line; the inner None stands for an empty one.
    fn read_line(&mut self) -> Result<Option<Option<Item>>, ImportError> {
        let mut text = Vec::new();
        let most = ROW_BYTES_MAX as u64 + 1;
        let got = (&mut self.file).take(most).read_until(b'\n', &mut text).map_err(ImportError::Read)?;
        if got == 0 {
            return Ok(None);
        }
        self.line += 1;
        self.read += got as u64;
        if text.len() > ROW_BYTES_MAX {
            return Err(ImportError::TooLarge { line: self.line });
        }
        let mut text = text.as_slice();
        if self.line == 1 {
            text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        }
        let text = text.trim_ascii();
        if text.is_empty() {
            return Ok(Some(None));
        }
        self.item(text).map(|item| Some(Some(item)))
    }

    fn item(&self, text: &[u8]) -> Result<Item, ImportError> {
        let line = self.line;
        let value: Value = serde_json::from_slice(text).map_err(|error| {
            let (column, what) = (error.column(), error.to_string());
            // serde_json counts lines within this one text; the suffix would mislead.
            let what = what.split(" at line ").next().unwrap_or_default().to_owned();
            ImportError::Json { line, column, what }
        })?;
        let Value::Object(object) = value else { return Err(ImportError::NoObject { line }) };
        let (key, row) = match &self.key {
            Some(field) => (self.key_of(field, &object)?, object.into_iter().collect()),
            None => self.exported(object)?,
        };
        Ok(Item { line, key, row, read: self.read, bytes: text.len() })
    }

    fn key_of(&self, field: &str, object: &Map<String, Value>) -> Result<String, ImportError> {
        let (line, field) = (self.line, field.to_owned());
        match object.get(&field) {
            Some(Value::String(key)) => Ok(key.clone()),
            Some(Value::Number(number)) if !number.is_f64() => Ok(number.to_string()),
            Some(_) => Err(ImportError::Key { line, field }),
            None => Err(ImportError::NoField { line, field, known: object.keys().cloned().collect() }),
        }
    }

    fn exported(&self, mut object: Map<String, Value>) -> Result<(String, Fields), ImportError> {
        let line = self.line;
        match object.remove("table") {
            None => {}
            Some(Value::String(found)) if found == self.table => {}
            Some(Value::String(found)) => {
                return Err(ImportError::Table { line, found, table: self.table.clone() });
            }
            Some(_) => return Err(ImportError::NoExport { line }),
        }
        match (object.remove("key"), object.remove("row"), object.is_empty()) {
            (Some(Value::String(key)), Some(Value::Object(row)), true) => {
                Ok((key, row.into_iter().collect()))
            }
            _ => Err(ImportError::NoExport { line }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
    use std::io::Cursor;

    use serde_json::json;

    use super::*;

    fn read(text: &[u8], key: Option<&str>) -> Result<Vec<Item>, ImportError> {
        let file = Box::new(Cursor::new(text.to_vec()));
        items(file, key.map(str::to_owned), "airports".to_owned()).collect()
    }

    #[test]
    fn a_line_is_a_row_and_a_field_its_key() {
        let text = "\u{feff}{\"id\":\"SEA\",\"n\":[1,null]}\r\n\n{\"id\":7}";
        let items = read(text.as_bytes(), Some("id")).unwrap();
        assert_eq!((items[0].key.as_str(), items[0].line), ("SEA", 1));
        assert_eq!(json!(items[0].row), json!({"id": "SEA", "n": [1, null]}));
        assert_eq!((items[1].key.as_str(), items[1].line, items.len()), ("7", 3, 2));
    }

    #[test]
    fn an_exported_line_is_read() {
        let text = br#"{"table":"airports","key":"SEA","row":{"city":"Seattle"}}"#;
        let items = read(text, None).unwrap();
        assert_eq!((items[0].key.as_str(), json!(items[0].row)), ("SEA", json!({"city": "Seattle"})));
    }

    #[test]
    fn a_bad_line_is_an_error_that_names_it() {
        for (text, key, says) in [
            (&b"{\"id\":1}\n{\"id\":"[..], Some("id"), "line 2, column 6: EOF while parsing"),
            (b"\n{\"id\": \xff}", Some("id"), "line 2, column 8"),
            (b"[1]", Some("id"), "line 1: no JSON object"),
            (b"{\"a\":1}", Some("id"), "line 1: no field \"id\"; there are a"),
            (b"{\"id\":1.5}", Some("id"), "line 1, field \"id\": a key is text"),
            (b"{\"id\":null}", Some("id"), "line 1, field \"id\": a key is text"),
            (b"{\"id\":1}", None, "line 1: not of the form"),
            (b"{\"key\":\"a\",\"row\":{},\"more\":1}", None, "line 1: not of the form"),
            (b"{\"table\":\"ports\",\"key\":\"a\",\"row\":{}}", None, "line 1: a row of table \"ports\""),
        ] {
            let error = read(text, key).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_line_above_the_limit_is_refused() {
        let text = vec![b'x'; ROW_BYTES_MAX + 2];
        assert!(read(&text, None).unwrap_err().to_string().contains("line 1: more than"));
    }
}
