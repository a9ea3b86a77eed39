//! Messages of the control socket: four bytes of length, big-endian, then JSON.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest message, bytes of JSON. An import sends batches of about 1 MiB, a row has a few MiB at most.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// The largest row that a person or a file gives, bytes of JSON: its request fits a message with its names.
pub const ROW_BYTES_MAX: usize = 8 << 20;
const _: () = assert!(ROW_BYTES_MAX <= MESSAGE_BYTES_MAX / 2);
/// Replies of one request that are queued for a slow reader.
pub const REPLIES_MAX: usize = 64;
/// Bytes before the JSON.
const LENGTH_BYTES: usize = 4;

/// An error of the control socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Split it: import fewer rows at once, or stop the server and let the command open the database itself.
    #[error("message of {got} bytes where at most {MESSAGE_BYTES_MAX} are allowed")]
    TooLong {
        /// The length of the message, bytes: of one to be sent as encoded, of one received as announced.
        got: usize,
    },
    /// Fewer bytes than the length says, or more.
    #[error("message of {got} bytes that announces {announced}")]
    Length {
        /// The bytes of JSON that follow the length.
        got: usize,
        /// The announced length.
        announced: usize,
    },
    /// It is no JSON, or no message of this version.
    #[error("message is malformed")]
    Json(#[from] serde_json::Error),
    /// The other side hung up.
    #[error("the other side hung up")]
    HungUp,
    /// The other side sent nothing in time.
    #[error("the other side does not answer")]
    Silent,
    /// The other side is another version of the program: use that one, or start the server again with this
    /// one.
    #[error(
        "the node that serves is peerbase {program} with control version {found}, this program has version \
         {}; restart `peerbase serve` with this program",
        super::VERSION
    )]
    Version {
        /// Its control version.
        found: u32,
        /// The program's release.
        program: String,
    },
    /// No node serves in the folder.
    #[error("no node serves here")]
    NoServer,
    /// The server stops, and has not begun the request.
    #[error("the node that serves is stopping")]
    Stopping,
    /// Choose a shorter data folder: the system limits the names of sockets.
    #[error("{} is too long for a socket's name: {got} bytes where at most {max} are allowed; choose a \
        shorter data folder", .path.display())]
    PathTooLong {
        /// The name.
        path: std::path::PathBuf,
        /// The path's length, bytes.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// A file has the socket's name: move it away.
    #[error("{} exists and is no socket; move it away", .path.display())]
    InTheWay {
        /// The name.
        path: std::path::PathBuf,
    },
    /// The system's error.
    #[error("control socket failed")]
    Io(#[source] io::Error),
}

impl From<io::Error> for ControlError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                Self::HungUp
            }
            _ => Self::Io(error),
        }
    }
}

/// Encodes a message: its length, then JSON.
///
/// # Errors
/// [`ControlError::TooLong`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ControlError> {
    let mut bytes = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - LENGTH_BYTES;
    if length > MESSAGE_BYTES_MAX {
        return Err(ControlError::TooLong { got: length });
    }
    let length = u32::try_from(length).expect("16 MiB fit into 32 bits");
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

/// Decodes one whole message, with its length in front.
///
/// # Errors
/// [`ControlError`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ControlError> {
    let Some((length, json)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(ControlError::HungUp);
    };
    let announced = announced(*length)?;
    if json.len() != announced {
        return Err(ControlError::Length { got: json.len(), announced });
    }
    Ok(serde_json::from_slice(json)?)
}

fn announced(length: [u8; LENGTH_BYTES]) -> Result<usize, ControlError> {
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES_MAX { Err(ControlError::TooLong { got: length }) } else { Ok(length) }
}

/// Reads one message. An announced length alone allocates nothing.
///
/// # Errors
/// [`ControlError`].
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T, ControlError> {
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length).await?;
    let announced = announced(length)?;
    let mut json = Vec::new();
    stream.take(announced as u64).read_to_end(&mut json).await?;
    if json.len() < announced {
        return Err(ControlError::HungUp);
    }
    Ok(serde_json::from_slice(&json)?)
}

/// Writes one message; a buffered stream still has to be flushed.
///
/// # Errors
/// [`ControlError`].
pub async fn write<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), ControlError> {
    stream.write_all(&encode(message)?).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::reply::Progress;
    use crate::control::{Answer, Greeting, Reply, Request};

    fn put() -> Request {
        let row = [("latitude".to_owned(), json!(47.449_888_888_888_89)), ("open".to_owned(), json!(null))];
        Request::PutMany { group: None, table: "airports".into(), rows: vec![("SEA".into(), row.into())] }
    }

    #[test]
    fn a_written_message_is_read_back() {
        let bytes = encode(&put()).unwrap();
        assert_eq!(decode::<Request>(&bytes).unwrap(), put());

        let answer = Answer::Reply(Reply::Progress(Progress::Documents { read: 7 }));
        assert_eq!(decode::<Answer>(&encode(&answer).unwrap()).unwrap(), answer);
    }

    #[test]
    fn every_number_is_read_back_exactly() {
        for number in [json!(i64::MIN), json!(u64::MAX), json!(0.1 + 0.2), json!(5e-324), json!(f64::MAX)] {
            let bytes = encode(&number).unwrap();
            assert_eq!(decode::<serde_json::Value>(&bytes).unwrap(), number);
        }
    }

    #[test]
    fn a_damaged_message_is_refused_with_the_reason() {
        let bytes = encode(&put()).unwrap();
        assert!(matches!(decode::<Request>(&[]), Err(ControlError::HungUp)));
        assert!(matches!(decode::<Request>(&bytes[..bytes.len() - 1]), Err(ControlError::Length { .. })));
        assert!(matches!(decode::<Request>(&[0, 0, 0, 2, b'[', b'{']), Err(ControlError::Json(_))));
        let announced = decode::<Request>(&[0xff; 8]);
        assert!(matches!(announced, Err(ControlError::TooLong { got: 0xffff_ffff })));
    }

    #[test]
    fn a_message_above_the_limit_is_not_encoded() {
        let text = "x".repeat(MESSAGE_BYTES_MAX);
        assert!(matches!(encode(&text), Err(ControlError::TooLong { .. })));
    }

    #[test]
    fn the_greeting_of_another_version_is_read() {
        let newer = br#"{"peerbase_control":9,"program":"3.0.0","mood":"good"}"#;
        let greeting: Greeting = serde_json::from_slice(newer).unwrap();
        assert_eq!(greeting, Greeting { peerbase_control: 9, program: "3.0.0".into() });
    }

    #[tokio::test]
    async fn a_message_cut_short_counts_as_a_hang_up() {
        let bytes = encode(&put()).unwrap();
        let read = read::<Request>(&mut &bytes[..bytes.len() - 1]).await;
        assert!(matches!(read, Err(ControlError::HungUp)), "{read:?}");
    }
}
