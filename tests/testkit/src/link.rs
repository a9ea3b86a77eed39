//! A peer made by hand on one link: it completes the handshake or breaks it off, and sends arbitrary bytes.

use actors::transport::framing::{FrameReader, StreamError, read_message, write_messages};
use actors::transport::{Stream, Transport};
use schema::device::DeviceIdentity;
use schema::handshake::{Established, Handshake, RecordCipher, Records, Terms};
use schema::limits::{FRAME_BYTES_MAX, HANDSHAKE_BYTES_MAX, RECORD_BYTES_MAX};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// The most content of one record, bytes: a record ends with a tag of 16 bytes.
const CONTENT_BYTES_MAX: usize = RECORD_BYTES_MAX - 16;

/// A stream before the handshake, on which a test sends what no node would send.
pub struct HandmadeStream {
    /// The stream.
    pub stream: Stream,
}

impl HandmadeStream {
    /// Opens a stream, without a handshake.
    pub async fn dial(transport: &impl Transport, address: &str) -> Self {
        Self { stream: transport.dial(address).await.unwrap() }
    }

    /// Sends one message, as handshakes frame them.
    pub async fn send(&mut self, message: &[u8]) {
        write_messages(&mut self.stream.writer, &[message.to_vec()]).await.unwrap();
    }

    /// Receives the next message; `None` once the stream has ended.
    pub async fn receive(&mut self) -> Option<Vec<u8>> {
        read_message(&mut self.stream.reader, HANDSHAKE_BYTES_MAX).await.ok()
    }

    /// Completes the handshake as the side that dialled.
    pub async fn complete(self, identity: DeviceIdentity, random: [u8; 32]) -> HandmadeLink {
        self.try_complete(identity, Terms::default(), random, |_| {}).await.unwrap()
    }

    /// Runs the handshake as the side that dialled; `tamper` may change every message. Returns `None` once
    /// either side refuses.
    pub async fn try_complete(
        mut self,
        identity: DeviceIdentity,
        terms: Terms,
        random: [u8; 32],
        mut tamper: impl FnMut(&mut Vec<u8>),
    ) -> Option<HandmadeLink> {
        let (mut machine, first) = Handshake::initiator(identity, terms, random, None);
        let mut send = vec![first];
        loop {
            send.iter_mut().for_each(&mut tamper);
            write_messages(&mut self.stream.writer, &send).await.ok()?;
            let step = machine.step(&self.receive().await?).ok()?;
            // A node sends its Auth only after it has verified the one of the dialler.
            if let Some((established, Records { send, receive })) = step.established {
                let receiver = HandmadeReceiver { reader: FrameReader::new(self.stream.reader, receive) };
                let sender = HandmadeSender { writer: self.stream.writer, cipher: send };
                return Some(HandmadeLink { established, receiver, sender });
            }
            send = step.send;
        }
    }
}

/// An authenticated device that sends arbitrary frames and records.
pub struct HandmadeLink {
    /// The outcome of the handshake.
    pub established: Established,
    /// The half that receives.
    pub receiver: HandmadeReceiver,
    /// The half that sends.
    pub sender: HandmadeSender,
}

impl HandmadeLink {
    /// Opens a stream and completes the handshake.
    pub async fn dial(transport: &impl Transport, address: &str, identity: DeviceIdentity) -> Self {
        HandmadeStream::dial(transport, address).await.complete(identity, [7; 32]).await
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &[u8]) {
        self.sender.try_send(frame).await.unwrap();
    }

    /// Sends a frame, in as many records as it needs.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn try_send(&mut self, frame: &[u8]) -> Result<(), StreamError> {
        self.sender.try_send(frame).await
    }

    /// Sends a record with arbitrary content.
    pub async fn send_record(&mut self, content: &[u8]) {
        let record = self.seal(content);
        write_messages(&mut self.sender.writer, &[record]).await.unwrap();
    }

    /// Seals the next record without sending it.
    pub fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        self.sender.seal(content)
    }

    /// Sends bytes without sealing them.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.sender.writer.write_all(bytes).await.unwrap();
        self.sender.writer.flush().await.unwrap();
    }

    /// Receives the next frame; `None` once the stream has ended.
    pub async fn receive(&mut self) -> Option<Vec<u8>> {
        self.receiver.receive().await
    }
}

/// The half of a link that receives.
pub struct HandmadeReceiver {
    reader: FrameReader<Box<dyn AsyncRead + Send + Unpin>>,
}

impl HandmadeReceiver {
    /// Receives the next frame; `None` once the stream has ended.
    pub async fn receive(&mut self) -> Option<Vec<u8>> {
        let length = self.reader.read_length(FRAME_BYTES_MAX).await.ok()?;
        self.reader.read_body(length, || ()).await.ok()
    }
}

/// The half of a link that sends.
pub struct HandmadeSender {
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    cipher: RecordCipher,
}

impl HandmadeSender {
    /// Sends a frame, in as many records as it needs.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn try_send(&mut self, frame: &[u8]) -> Result<(), StreamError> {
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        let content = [&length, frame].concat();
        let records: Vec<_> = content.chunks(CONTENT_BYTES_MAX).map(|chunk| self.seal(chunk)).collect();
        write_messages(&mut self.writer, &records).await
    }

    fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        let mut record = content.to_vec();
        let tag = self.cipher.seal(&mut record).unwrap();
        record.extend(tag);
        record
    }
}
