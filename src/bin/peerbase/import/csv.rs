//! Rows of a CSV file (RFC 4180) with a header row. Cells are text, but for columns named as numbers.

use std::collections::BTreeSet;
use std::io::{self, Read};

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use peerbase::control::Fields;
use serde_json::{Number, Value};

use super::{ImportError, Item, Items, ROW_BYTES_MAX};

/// Returns the rows of a file.
pub(super) fn items(file: Box<dyn Read>, key: &str, numbers: &[String]) -> Result<Items, ImportError> {
    let source = Source { file, passed: 0, raw: Vec::new(), ended: false };
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(source);
    let mut header = ByteRecord::new();
    if !read(&mut reader, &mut header)? {
        return Err(ImportError::NoHeader);
    }
    let columns = columns(&header)?;
    let find = |column: &str| {
        columns
            .iter()
            .position(|known| known == column)
            .ok_or_else(|| ImportError::NoColumn { column: column.to_owned(), known: columns.clone() })
    };
    let key = find(key)?;
    let numbers = numbers.iter().map(|column| find(column)).collect::<Result<_, _>>()?;
    Ok(Box::new(Records { reader, columns, key, numbers, done: false }))
}

/// Returns the header's names; a name may occur once.
fn columns(header: &ByteRecord) -> Result<Vec<String>, ImportError> {
    let mut columns: Vec<String> = Vec::new();
    for (at, name) in header.iter().enumerate() {
        let name = std::str::from_utf8(name)
            .map_err(|_| ImportError::Utf8 { line: 1, column: format!("number {}", at + 1) })?
            .to_owned();
        if name.starts_with('$') {
            return Err(ImportError::ColumnReserved { column: name });
        }
        if columns.contains(&name) {
            return Err(ImportError::ColumnTwice { column: name });
        }
        columns.push(name);
    }
    Ok(columns)
}

struct Records {
    reader: Reader<Source>,
    columns: Vec<String>,
    key: usize,
    numbers: BTreeSet<usize>,
    done: bool,
}

impl Iterator for Records {
    type Item = Result<Item, ImportError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.record().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

impl Records {
    fn record(&mut self) -> Result<Option<Item>, ImportError> {
        let mut record = ByteRecord::new();
        let start = self.reader.position().line();
        if !read(&mut self.reader, &mut record)? {
            return Ok(None);
        }
        let end = self.reader.position().byte();
        let raw = self.reader.get_ref().record(end);
        // The reader counts empty lines, and half of the line break before, as part of the record.
        let breaks = raw.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let line = start + breaks.filter(|byte| **byte == b'\n').count() as u64;
        // With a quote that is never closed the rest of the file looks like one cell.
        if self.reader.get_ref().ended && raw.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
            let column = self.columns.get(record.len().saturating_sub(1)).cloned().unwrap_or_default();
            return Err(ImportError::Quote { line, column });
        }
        let (got, expected) = (record.len() as u64, self.columns.len() as u64);
        if got != expected {
            return Err(ImportError::Cells { line, got, expected });
        }
        let mut row = Fields::new();
        let mut key = String::new();
        for (at, (cell, column)) in record.iter().zip(&self.columns).enumerate() {
            let cell =
                std::str::from_utf8(cell).map_err(|_| ImportError::Utf8 { line, column: column.clone() })?;
            if at == self.key {
                cell.clone_into(&mut key);
            }
            let value = if self.numbers.contains(&at) {
                let no_number = || ImportError::Number {
                    line,
                    column: column.clone(),
                    cell: cell.chars().take(80).collect(),
                };
                number(cell).ok_or_else(no_number)?
            } else {
                Value::String(cell.to_owned())
            };
            row.insert(column.clone(), value);
        }
        let bytes = record.as_slice().len() + self.columns.iter().map(String::len).sum::<usize>();
        Ok(Some(Item { line, key, row, read: end, bytes }))
    }
}

/// Parses a JSON number; an empty cell is null.
fn number(cell: &str) -> Option<Value> {
    let cell = cell.trim();
    if cell.is_empty() {
        return Some(Value::Null);
    }
    if let Ok(number) = cell.parse::<i64>() {
        return Some(number.into());
    }
    if let Ok(number) = cell.parse::<u64>() {
        return Some(number.into());
    }
    Number::from_f64(cell.parse().ok()?).map(Value::Number)
}

fn read(reader: &mut Reader<Source>, record: &mut ByteRecord) -> Result<bool, ImportError> {
    let start = reader.position().clone();
    reader.get_mut().begin(start.byte());
    reader.read_byte_record(record).map_err(|error| {
        let line = start.line();
        let what = error.to_string();
        match error.into_kind() {
            ErrorKind::Io(cause) if cause.kind() == io::ErrorKind::FileTooLarge => {
                ImportError::TooLarge { line }
            }
            ErrorKind::Io(cause) => ImportError::Read(cause),
            _ => ImportError::Csv { line, what },
        }
    })
}

/// A reader that keeps the bytes of the current record, and fails when a record is too long.
struct Source {
    file: Box<dyn Read>,
    /// Bytes of the file before `raw`.
    passed: u64,
    raw: Vec<u8>,
    ended: bool,
}

impl Source {
    /// Drops the bytes before a record.
    fn begin(&mut self, record: u64) {
        let before = usize::try_from(record.saturating_sub(self.passed)).unwrap_or(usize::MAX);
        self.raw.drain(..before.min(self.raw.len()));
        self.passed = record;
    }

    /// Returns the bytes of the record.
    fn record(&self, end: u64) -> &[u8] {
        let length = usize::try_from(end.saturating_sub(self.passed)).unwrap_or(usize::MAX);
        &self.raw[..length.min(self.raw.len())]
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.raw.len() > ROW_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let got = self.file.read(buffer)?;
        self.ended = got == 0 && !buffer.is_empty();
        self.raw.extend_from_slice(&buffer[..got]);
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
    use serde_json::json;

    use super::*;

    fn read(text: &[u8], key: &str, numbers: &[&str]) -> Result<Vec<Item>, ImportError> {
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        items(Box::new(io::Cursor::new(text.to_vec())), key, &numbers)?.collect()
    }

    fn error(text: &[u8]) -> String {
        read(text, "id", &["n"]).unwrap_err().to_string()
    }

    #[test]
    fn a_row_has_text_and_numbers_in_the_named_columns() {
        let text = "\u{feff}id,name,n\r\nSEA,\"Tacoma \"\"Intl\"\",\r\nWA\",47.44\r\nX,,\r\n";
        let items = read(text.as_bytes(), "id", &["n"]).unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!((items[0].key.as_str(), items[0].line), ("SEA", 2));
        assert_eq!(json!(items[0].row), json!({"id": "SEA", "name": "Tacoma \"Intl\",\r\nWA", "n": 47.44}));
        assert_eq!((items[1].key.as_str(), items[1].line), ("X", 4));
        assert_eq!(json!(items[1].row), json!({"id": "X", "name": "", "n": null}));
    }

    #[test]
    fn numbers_are_whole_where_they_can_be() {
        assert_eq!(number("-7"), Some(json!(-7)));
        assert_eq!(number("18446744073709551615"), Some(json!(u64::MAX)));
        assert_eq!(number(" 1e3 "), Some(json!(1000.0)));
        assert_eq!(
            [number("NaN"), number("inf"), number("1e999"), number("7,5"), number("x")],
            [const { None }; 5]
        );
    }

    #[test]
    fn a_bad_file_is_an_error_that_names_line_and_column() {
        for (text, says) in [
            (&b""[..], "no header row"),
            (b"a,b\n1,2\n", "no column \"id\"; there are a, b"),
            (b"id,a\n1,2\n", "no column \"n\"; there are id, a"),
            (b"id,n,n\n", "line 1: column \"n\" appears twice"),
            (b"id,$n,n\n", "line 1: column \"$n\""),
            (b"id,n\n1,2\n3\n", "line 3: 1 cells where the header has 2"),
            (b"id,n\n1,2,3\n", "line 2: 3 cells where the header has 2"),
            (b"id,n\n1,x\n", "line 2, column \"n\": \"x\" is no number"),
            (b"id,m,n\n1,\xff,1\n", "line 2, column \"m\": not UTF-8"),
            (b"id,n,m\n1,2,a\n2,3,\"b\n3,4,c\n", "line 3, column \"m\": a quote is opened and never closed"),
            (b"id,n,m\n1,2,\"a", "line 2, column \"m\": a quote is opened and never closed"),
        ] {
            let error = error(text);
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn rows_before_a_bad_line_are_read() {
        let file = Box::new(&b"id,n\n1,2\n3,4\n5\n6,7\n"[..]);
        let items: Vec<_> = items(file, "id", &[]).unwrap().collect();
        assert_eq!(items.len(), 3, "{items:?}");
        assert!(items[0].is_ok() && items[1].is_ok() && items[2].is_err());
    }

    #[test]
    fn a_record_above_the_limit_is_refused() {
        let mut text = b"id,n\n1,\"".to_vec();
        text.resize(ROW_BYTES_MAX + (1 << 20), b'x');
        assert!(error(&text).contains("line 2: more than"), "{}", error(&text));
    }
}
