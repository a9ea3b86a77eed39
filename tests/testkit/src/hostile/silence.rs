//! Sockets that begin and never go on: a node waits for the rest of the handshake.

/// The bytes that a silent socket sends: nothing, half of a request, a request whose upgrade nothing follows,
/// and what is no HTTP.
pub const OPENINGS: [&[u8]; 4] = [
    b"",
    b"GET / HTTP/1.1\r\nHost: peer\r\nUpgrade: webso",
    b"GET / HTTP/1.1\r\nHost: peer\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc],
];
