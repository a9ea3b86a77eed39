//! Wrapping, numbers and colours for a line.

use std::time::Duration;

use clap::builder::styling::Style;
use sha2::{Digest, Sha256};

pub(crate) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// `8.3 ms`, `83 ms`, `1.24 s`
pub(crate) fn millis(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 0.01 => format!("{:.1} ms", seconds * 1e3),
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

/// `830 bytes`, `8.3 kB`
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        _ => format!("{}.{} kB", bytes / 1_000, bytes % 1_000 / 100),
    }
}

/// `844`, `3 376`
pub(crate) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut count = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            count.push(' ');
        }
        count.push(digit);
    }
    count
}

/// `844 rows acknowledged: 420 ms, 2 010 rows/s`
pub(crate) fn rate(what: &str, rows: usize, time: Duration) -> String {
    let per_second = u128::try_from(rows).unwrap_or_default() * 1_000 / time.as_millis().max(1);
    let per_second = count(usize::try_from(per_second).unwrap_or(usize::MAX));
    format!("{} rows {what}: {}, {per_second} rows/s", count(rows), millis(time))
}

/// Returns the hash of a text, in hex.
pub(crate) fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Cuts a text to `width` columns; `…` stands for the rest.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// Wraps a text between words into lines of at most `width` columns.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("begins with one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_and_cells_are_cut() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!((cut("basil", 5), cut("tomato", 5)), ("basil".to_owned(), "toma…".to_owned()));
    }

    #[test]
    fn numbers_have_the_unit_that_fits() {
        let times = [8_340, 83_400, 1_240_000].map(|micros| millis(Duration::from_micros(micros)));
        assert_eq!(times, ["8.3 ms", "83 ms", "1.24 s"]);
        assert_eq!([844, 3_376, 12_345_678].map(count), ["844", "3 376", "12 345 678"]);
        assert_eq!([size(830), size(8_370)], ["830 bytes", "8.3 kB"]);
    }

    #[test]
    fn a_rate_is_shown_with_rows_and_time() {
        assert_eq!(rate("read", 844, Duration::from_millis(420)), "844 rows read: 420 ms, 2 009 rows/s");
        assert_eq!(rate("read", 3_376, Duration::ZERO), "3 376 rows read: 0.0 ms, 3 376 000 rows/s");
    }
}
