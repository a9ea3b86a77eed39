//! Frames on a stream: length (u32, big endian), then as many bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

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
    /// The peer announced a frame that is longer than may be.
    #[error("frame of {got} bytes where at most {max} are allowed")]
    TooLong {
        /// What it announced.
        got: usize,
        /// What is allowed.
        max: usize,
    },
    /// The stream broke.
    #[error("stream broke: {kind}")]
    Broken {
        /// What the transport said.
        kind: io::ErrorKind,
    },
}

/// Waits for the next frame's length. Nothing is allocated for it yet.
///
/// # Errors
/// [`StreamError`], also for a length above `max`.
pub async fn read_length(reader: &mut (impl AsyncRead + Unpin), max: usize) -> Result<usize, StreamError> {
    let mut length = [0; 4];
    let mut filled = 0;
    while filled < length.len() {
        match reader.read(&mut length[filled..]).await {
            Ok(0) if filled == 0 => return Err(StreamError::Ended),
            Ok(0) => return Err(StreamError::CutShort),
            Ok(more) => filled += more,
            Err(error) => return Err(broken(&error)),
        }
    }
    let got = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if got > max {
        return Err(StreamError::TooLong { got, max });
    }
    Ok(got)
}

/// Reads the bytes that a checked length announced, and says `progress` as they come.
///
/// # Errors
/// [`StreamError`] when the stream ends before they are complete.
pub async fn read_body(
    reader: &mut (impl AsyncRead + Unpin),
    length: usize,
    progress: impl Fn(),
) -> Result<Vec<u8>, StreamError> {
    let mut body = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match reader.read(&mut body[filled..]).await {
            Ok(0) => return Err(StreamError::CutShort),
            Ok(more) => filled += more,
            Err(error) => return Err(broken(&error)),
        }
        progress();
    }
    Ok(body)
}

/// Writes one frame; the caller flushes.
///
/// # Errors
/// [`StreamError::Broken`].
pub async fn write_frame(writer: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<(), StreamError> {
    let length = u32::try_from(frame.len()).expect("a frame is within its limit");
    writer.write_all(&length.to_be_bytes()).await.map_err(|error| broken(&error))?;
    writer.write_all(frame).await.map_err(|error| broken(&error))
}

/// Sends what was written on its way.
///
/// # Errors
/// [`StreamError::Broken`].
pub async fn flush(writer: &mut (impl AsyncWrite + Unpin)) -> Result<(), StreamError> {
    writer.flush().await.map_err(|error| broken(&error))
}

fn broken(error: &io::Error) -> StreamError {
    StreamError::Broken { kind: error.kind() }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut bytes: &[u8], max: usize) -> Result<Vec<u8>, StreamError> {
        let length = read_length(&mut bytes, max).await?;
        read_body(&mut bytes, length, || ()).await
    }

    #[tokio::test]
    async fn a_frame_is_its_length_and_its_bytes() {
        let mut wire = Vec::new();
        write_frame(&mut wire, b"hello").await.unwrap();
        assert_eq!(wire, b"\x00\x00\x00\x05hello");
        assert_eq!(read(&wire, 5).await, Ok(b"hello".to_vec()));
    }

    #[tokio::test]
    async fn every_bad_end_has_its_name() {
        assert_eq!(read(b"", 9).await, Err(StreamError::Ended));
        assert_eq!(read(b"\x00\x00", 9).await, Err(StreamError::CutShort));
        assert_eq!(read(b"\x00\x00\x00\x05hell", 9).await, Err(StreamError::CutShort));
        assert_eq!(read(b"\x40\x00\x00\x00", 9).await, Err(StreamError::TooLong { got: 1 << 30, max: 9 }));
    }
}
