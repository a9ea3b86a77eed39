//! Standard input: secrets are read from it, since other processes can see arguments.

use std::io::{self, Read};

use super::error::CommandError;

/// Reads all text, at most `bytes_max`.
pub(crate) fn read(bytes_max: u64) -> Result<String, CommandError> {
    let mut text = String::new();
    let read = io::stdin().lock().take(bytes_max + 1).read_to_string(&mut text);
    read.map_err(|cause| CommandError::io("could not read standard input", &cause))?;
    if text.len() as u64 > bytes_max {
        return Err(CommandError::invalid(format!("standard input has more than {bytes_max} bytes")));
    }
    Ok(text)
}
