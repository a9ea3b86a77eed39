//! Words of the command line that are more than text: roles, spans of time, places to listen; and standard input.

use std::io::{self, Read};
use std::time::Duration;

use peerbase::Role;

use super::trouble::Trouble;

/// A role that people can be given.
pub(crate) fn role(text: &str) -> Result<Role, String> {
    match text.to_lowercase().as_str() {
        "reader" => Ok(Role::Reader),
        "writer" => Ok(Role::Writer),
        "admin" => Ok(Role::Admin),
        "owner" => Ok(Role::Owner),
        _ => Err("a role is reader, writer, admin or owner".to_owned()),
    }
}

/// Where to listen: a host and a port.
pub(crate) fn place(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no place to listen; places are HOST:PORT, such as 0.0.0.0:7654")),
    }
}

/// Whom to dial: a scheme, a host and a port.
pub(crate) fn address(text: &str) -> Result<String, String> {
    match text.strip_prefix("ws://").map(|rest| place(rest.trim_end_matches('/'))) {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no address; addresses are ws://HOST:PORT")),
    }
}

/// A span of time: a whole number and s, m, h or d.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
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

const SPAN_SECONDS_MAX: u64 = 100 * 366 * 24 * 60 * 60;

/// All text on standard input: secrets come this way, since arguments can be read by others.
pub(crate) fn standard_input(bytes_max: u64) -> Result<String, Trouble> {
    let mut text = String::new();
    let read = io::stdin().lock().take(bytes_max).read_to_string(&mut text);
    read.map_err(|cause| Trouble::io("could not read standard input", &cause))?;
    Ok(text)
}

/// Milliseconds of a span.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
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
    fn a_place_has_a_host_and_a_port() {
        assert!(place("0.0.0.0:7654").is_ok() && place("[::]:0").is_ok() && place("ada.local:1").is_ok());
        assert!(place("7654").is_err() && place(":1").is_err() && place("ada:70000").is_err());
    }

    #[test]
    fn a_role_has_a_name() {
        assert_eq!(role("Writer"), Ok(Role::Writer));
        assert!(role("founder").is_err());
    }
}
