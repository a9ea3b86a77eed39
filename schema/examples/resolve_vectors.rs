//! Checks the ledger's rules against the executable model: `vectors.py SEED COUNT | resolve_vectors`.
//!
//! Reads one log a line on stdin. Prints `N agree, 0 differ`, or shows the logs that differ and ends with
//! status 1.

use std::io::BufRead;
use std::process::ExitCode;

#[path = "../tests/it/support/vectors.rs"]
mod vectors;

fn main() -> ExitCode {
    let (mut agree, mut differ) = (0, 0);
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("stdin is text");
        match vectors::compare(&line) {
            Ok(()) => agree += 1,
            Err(difference) => {
                differ += 1;
                eprintln!("{difference}\n");
            }
        }
    }
    println!("{agree} agree, {differ} differ");
    if differ == 0 && agree > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
