//! The trace of the events of a network: one hash and, on request, lines.

use std::time::Duration;

use schema::id::hash;

/// A running hash over every event.
#[derive(Default)]
pub(super) struct Trace {
    hash: [u8; 32],
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Keeps lines from now on.
    pub(super) fn record(&mut self) {
        self.lines.get_or_insert_default();
    }

    /// Adds an event.
    pub(super) fn event(&mut self, at: Duration, what: &str, from: &str, to: &str, bytes: &[u8]) {
        let millis = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let head = format!("{millis} {what} {from} {to} {}", bytes.len());
        self.hash = hash("trace", &[&self.hash, head.as_bytes(), &[0], bytes]);
        if let Some(lines) = &mut self.lines {
            let [a, b, c, d, ..] = self.hash;
            lines.push(format!("{head} {a:02x}{b:02x}{c:02x}{d:02x}"));
        }
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        self.hash
    }

    pub(super) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
