//! Parsers of command-line arguments that are more than text: roles, spans of time, paths.

use std::path::PathBuf;
use std::time::Duration;

use crate::Role;

/// The longest span that a command takes: 100 years.
const SPAN_SECONDS_MAX: u64 = 100 * 366 * 24 * 60 * 60;

/// Parses a role that a user can be given.
///
/// # Errors
/// The roles that there are, when `text` is none of them.
pub fn role(text: &str) -> Result<Role, String> {
    match text.to_lowercase().as_str() {
        "reader" => Ok(Role::Reader),
        "writer" => Ok(Role::Writer),
        "admin" => Ok(Role::Admin),
        "owner" => Ok(Role::Owner),
        _ => Err("a role is reader, writer, admin or owner".to_owned()),
    }
}

/// Parses a span of time: a whole number and s, m, h or d.
///
/// # Errors
/// The form that is expected, when `text` has another.
pub fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "a time is a whole number and s, m, h or d: 30s, 7d".to_owned();
    let (number, seconds) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 60 * 60),
        Some((at, 'd')) => (&text[..at], 24 * 60 * 60),
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(seconds).filter(|seconds| *seconds <= SPAN_SECONDS_MAX);
    seconds.map(Duration::from_secs).ok_or_else(|| "a time is 100 years at most".to_owned())
}

/// Makes a path absolute, by the working directory of this process.
///
/// # Errors
/// The system's, for an empty path.
pub fn absolute(text: &str) -> Result<PathBuf, std::io::Error> {
    std::path::absolute(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_number_and_a_unit() {
        assert_eq!(span("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(span("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(span("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "s", "7", "-1s", "1.5h", "7é", "99999999999999d", "18446744073709551615d"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_role_has_a_name() {
        assert_eq!(role("Writer"), Ok(Role::Writer));
        assert!(role("founder").is_err());
    }
}
