//! Framing of a stream: messages of the handshake, then encrypted records that carry frames.
//!
//! A message or record is its length (u16, big endian), then as many bytes. The contents of the records,
//! joined, are frames: length (u32, big endian), then as many bytes. Frames that are written together share
//! records, and a long frame spans several.

use std::io;

use schema::handshake::{RECORD_TAG_BYTES, RecordCipher, RecordError};
use schema::limits::RECORD_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of the length before a message or record.
const HEADER_BYTES: usize = 2;
/// Longest content of a record that we write, bytes: with length and tag it is 64 KiB, a size that transports
/// carry well.
const CONTENT_BYTES_MAX: usize = (64 << 10) - HEADER_BYTES - RECORD_TAG_BYTES;
const _: () = assert!(CONTENT_BYTES_MAX + RECORD_TAG_BYTES <= RECORD_BYTES_MAX, "Noise allows no more");

/// Error of reading from or writing to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer ended the stream between two frames.
    #[error("stream ended")]
    Ended,
    /// The peer ended the stream within a frame.
    #[error("stream ended within a frame")]
    CutShort,
    /// The peer announced a message, record or frame above its limit.
    #[error("{got} bytes announced where at most {max} are allowed")]
    TooLong {
        /// The announced length, bytes.
        got: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// A record was malformed, or changed on the way.
    #[error("bad record")]
    Record(#[source] RecordError),
    /// The peer broke the rules of the transport.
    #[error("not carried as {expected}")]
    Transport {
        /// The expected carrier.
        expected: &'static str,
    },
    /// The stream broke.
    #[error("stream broke: {kind}")]
    Broken {
        /// The transport's error.
        kind: io::ErrorKind,
    },
}

/// Lets a transport report a [`StreamError`] through `AsyncRead` and `AsyncWrite`.
impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        let named = error.get_ref().and_then(|cause| cause.downcast_ref::<Self>());
        named.copied().unwrap_or(Self::Broken { kind: error.kind() })
    }
}

/// Reads one message of at most `max` bytes; nothing is allocated for a longer one.
///
/// # Errors
/// [`StreamError`].
pub async fn read_message(reader: &mut (impl AsyncRead + Unpin), max: usize) -> Result<Vec<u8>, StreamError> {
    let mut message = Vec::new();
    read_into(reader, &mut message, max).await?;
    Ok(message)
}

/// Writes messages together and flushes them.
///
/// # Errors
/// [`StreamError::Broken`].
pub async fn write_messages(
    writer: &mut (impl AsyncWrite + Unpin),
    messages: &[Vec<u8>],
) -> Result<(), StreamError> {
    let mut bytes = Vec::new();
    for message in messages {
        bytes.extend_from_slice(&length(message.len()));
        bytes.extend_from_slice(message);
    }
    writer.write_all(&bytes).await?;
    Ok(writer.flush().await?)
}

/// Replaces `message` by the next one.
async fn read_into(
    reader: &mut (impl AsyncRead + Unpin),
    message: &mut Vec<u8>,
    max: usize,
) -> Result<(), StreamError> {
    let mut header = [0; HEADER_BYTES];
    match fill(reader, &mut header).await? {
        0 => return Err(StreamError::Ended),
        HEADER_BYTES => {}
        _ => return Err(StreamError::CutShort),
    }
    let got = usize::from(u16::from_be_bytes(header));
    if got > max {
        return Err(StreamError::TooLong { got, max });
    }
    message.resize(got, 0);
    if fill(reader, message).await? == got { Ok(()) } else { Err(StreamError::CutShort) }
}

/// Reads until `bytes` is full or the stream ends; returns the number of bytes read.
async fn fill(reader: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> Result<usize, StreamError> {
    let mut filled = 0;
    while filled < bytes.len() {
        match reader.read(&mut bytes[filled..]).await? {
            0 => break,
            more => filled += more,
        }
    }
    Ok(filled)
}

fn length(bytes: usize) -> [u8; HEADER_BYTES] {
    u16::try_from(bytes).expect("a message is within its limit").to_be_bytes()
}

/// Reads frames from the peer's records.
pub struct FrameReader<R> {
    stream: R,
    cipher: RecordCipher,
    /// The current record, decrypted in place.
    record: Vec<u8>,
    /// The unread part of its content.
    rest: std::ops::Range<usize>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads the records that follow the handshake on `stream`.
    pub fn new(stream: R, cipher: RecordCipher) -> Self {
        Self { stream, cipher, record: Vec::new(), rest: 0..0 }
    }

    /// Waits for the length of the next frame. Nothing is allocated for the frame yet.
    ///
    /// # Errors
    /// [`StreamError`], also for a length above `max`.
    pub async fn read_length(&mut self, max: usize) -> Result<usize, StreamError> {
        let mut length = [0; 4];
        let mut filled = 0;
        while filled < length.len() {
            match self.read(&mut length[filled..]).await {
                Err(StreamError::Ended) if filled > 0 => return Err(StreamError::CutShort),
                read => filled += read?,
            }
        }
        let got = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if got > max { Err(StreamError::TooLong { got, max }) } else { Ok(got) }
    }

    /// Reads the body of a frame of this length; calls `progress` after each read.
    ///
    /// # Errors
    /// [`StreamError`] if the stream ends before the body is complete.
    pub async fn read_body(&mut self, length: usize, progress: impl Fn()) -> Result<Vec<u8>, StreamError> {
        let mut body = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self.read(&mut body[filled..]).await {
                Err(StreamError::Ended) => return Err(StreamError::CutShort),
                read => filled += read?,
            }
            progress();
        }
        Ok(body)
    }

    /// Reads at least one byte of content.
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, StreamError> {
        if self.rest.is_empty() {
            self.rest = 0..0; // also if reading the next record fails
            read_into(&mut self.stream, &mut self.record, RECORD_BYTES_MAX).await?;
            let content = self.cipher.open(&mut self.record).map_err(StreamError::Record)?;
            self.rest = 0..content.len();
        }
        let taken = bytes.len().min(self.rest.len());
        let from = self.rest.start;
        bytes[..taken].copy_from_slice(&self.record[from..from + taken]);
        self.rest.start += taken;
        Ok(taken)
    }
}

/// Writes frames as records for the peer.
pub struct FrameWriter<W> {
    stream: W,
    cipher: RecordCipher,
    /// Space for the length, then content that is not encrypted yet.
    record: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes the records that follow the handshake on `stream`.
    pub fn new(stream: W, cipher: RecordCipher) -> Self {
        Self { stream, cipher, record: vec![0; HEADER_BYTES] }
    }

    /// Writes one frame; its last bytes may stay buffered until [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`StreamError::Broken`], or [`StreamError::Record`] if the keys have expired.
    pub async fn write(&mut self, frame: &[u8]) -> Result<(), StreamError> {
        let length = u32::try_from(frame.len()).expect("a frame is within its limit").to_be_bytes();
        for mut bytes in [&length[..], frame] {
            while !bytes.is_empty() {
                let room = HEADER_BYTES + CONTENT_BYTES_MAX - self.record.len();
                let (fits, more) = bytes.split_at(bytes.len().min(room));
                self.record.extend_from_slice(fits);
                bytes = more;
                if self.record.len() == HEADER_BYTES + CONTENT_BYTES_MAX {
                    self.seal().await?;
                }
            }
        }
        Ok(())
    }

    /// Sends the buffered bytes.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn flush(&mut self) -> Result<(), StreamError> {
        if self.record.len() > HEADER_BYTES {
            self.seal().await?;
        }
        Ok(self.stream.flush().await?)
    }

    /// Ends the stream after the flushed bytes.
    ///
    /// # Errors
    /// [`StreamError::Broken`].
    pub async fn shutdown(&mut self) -> Result<(), StreamError> {
        Ok(self.stream.shutdown().await?)
    }

    async fn seal(&mut self) -> Result<(), StreamError> {
        let tag = self.cipher.seal(&mut self.record[HEADER_BYTES..]).map_err(StreamError::Record)?;
        self.record.extend_from_slice(&tag);
        let length = length(self.record.len() - HEADER_BYTES);
        self.record[..HEADER_BYTES].copy_from_slice(&length);
        self.stream.write_all(&self.record).await?;
        self.record.truncate(HEADER_BYTES);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
