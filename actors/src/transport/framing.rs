//! What runs on a stream: messages of a handshake, then records, and frames in the records.
//!
//! Shape of both: length (u16, big endian), then as many bytes. What the records hold, joined, is frames: length (u32,
//! big endian), then as many bytes. Frames that are written together share records, and a long one is spread over many.

use std::io;

use schema::handshake::{RECORD_TAG_BYTES, RecordCipher, RecordError};
use schema::limits::RECORD_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of the length before a message or record.
const HEADER_BYTES: usize = 2;
/// What one record carries here: with its length and its tag 64 KiB, which transports like.
const CONTENT_BYTES_MAX: usize = (64 << 10) - HEADER_BYTES - RECORD_TAG_BYTES;
const _: () = assert!(CONTENT_BYTES_MAX + RECORD_TAG_BYTES <= RECORD_BYTES_MAX, "Noise allows no more");

/// Why a stream gives no further frame, or takes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer ended the stream between two frames.
    #[error("stream ended")]
    Ended,
    /// The peer ended the stream within a frame.
    #[error("stream ended within a frame")]
    CutShort,
    /// The peer announced something that is longer than may be.
    #[error("{got} bytes announced where at most {max} are allowed")]
    TooLong {
        /// What it announced.
        got: usize,
        /// What is allowed.
        max: usize,
    },
    /// The peer's record is not one, or somebody between changed it.
    #[error("bad record")]
    Record(#[source] RecordError),
    /// The peer does not carry the stream as its transport does.
    #[error("not carried as {expected}")]
    Transport {
        /// What was expected of it.
        expected: &'static str,
    },
    /// The stream broke.
    #[error("stream broke: {kind}")]
    Broken {
        /// What the transport said.
        kind: io::ErrorKind,
    },
}

/// A transport that has a better name for what happened puts the [`StreamError`] into its error.
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

/// Writes messages together and sends them on their way.
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

/// Reads until `bytes` are full or the stream ends; returns how many there were.
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

/// Frames from the peer's records.
pub struct FrameReader<R> {
    stream: R,
    cipher: RecordCipher,
    /// The record that is being read, its content opened in place.
    record: Vec<u8>,
    /// What of the content was not read yet.
    rest: std::ops::Range<usize>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads what follows the handshake on `stream`.
    pub fn new(stream: R, cipher: RecordCipher) -> Self {
        Self { stream, cipher, record: Vec::new(), rest: 0..0 }
    }

    /// Waits for the next frame's length. Nothing is allocated for it yet.
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

    /// Reads the bytes that a checked length announced, and says `progress` as they come.
    ///
    /// # Errors
    /// [`StreamError`] when the stream ends before they are complete.
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

    /// Some of the content, at least one byte.
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, StreamError> {
        if self.rest.is_empty() {
            self.rest = 0..0; // also where the next record does not come
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

/// Frames into records for the peer.
pub struct FrameWriter<W> {
    stream: W,
    cipher: RecordCipher,
    /// Room for a length, then content that is not sealed yet.
    record: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes what follows the handshake on `stream`.
    pub fn new(stream: W, cipher: RecordCipher) -> Self {
        Self { stream, cipher, record: vec![0; HEADER_BYTES] }
    }

    /// Writes one frame; the last of it waits for more until it is [flushed](Self::flush).
    ///
    /// # Errors
    /// [`StreamError::Broken`], or [`StreamError::Record`] when the keys are worn.
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

    /// Sends what was written on its way.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn flush(&mut self) -> Result<(), StreamError> {
        if self.record.len() > HEADER_BYTES {
            self.seal().await?;
        }
        Ok(self.stream.flush().await?)
    }

    /// Ends the stream after what was flushed.
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
