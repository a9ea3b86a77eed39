//! Any text is a ticket or a typed error, and a ticket says itself again.
#![no_main]

use data_encoding::BASE32_NOPAD;
use libfuzzer_sys::fuzz_target;
use schema::id::hash;
use schema::wire::ticket::{Ticket, TicketError};

// As text, and as a record whose checksum holds: else nothing would ever get past it.
fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let _ = check(&text);
    let _ = check(&format!("pb1{text}"));
    let sum = &hash("ticket", &[bytes])[..4];
    let sealed = check(&format!("pb1{}", BASE32_NOPAD.encode(&[bytes, sum].concat())));
    assert!(!matches!(sealed, Err(TicketError::Checksum)) || bytes.is_empty());
});

fn check(text: &str) -> Result<Ticket, TicketError> {
    let ticket = text.parse::<Ticket>();
    if let Ok(ticket) = &ticket {
        assert_eq!(ticket.to_string().parse().as_ref(), Ok(ticket));
    }
    ticket
}
