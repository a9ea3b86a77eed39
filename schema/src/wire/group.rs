//! The body of a [`LinkFrame::Group`](super::link::LinkFrame::Group): a ledger frame, or a part of a session
//! frame.
//!
//! Session frames are larger than link frames. They are encoded, cut into parts of
//! [`SESSION_PART_BYTES_MAX`], and joined again by the receiver's [`Assembly`].

use bincode::{Decode, Encode};

use super::ledger::LedgerFrame;
use super::session::SessionFrame;
use crate::codec::{self, DecodeError};
use crate::limits::{FRAME_BYTES_MAX, SESSION_FRAME_BYTES_MAX, SESSION_PART_BYTES_MAX};

/// The body of a group frame on a link.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum GroupFrame {
    /// A frame of the ledger session.
    Ledger(LedgerFrame),
    /// A part of an encoded [`SessionFrame`].
    Part(Part),
}

/// A part of an encoded [`SessionFrame`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Part {
    /// Another part of the same frame follows.
    pub more: bool,
    /// The next bytes of the frame.
    pub bytes: Vec<u8>,
}

impl GroupFrame {
    /// Encodes the body of a link frame.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Decodes the body of a link frame.
    ///
    /// # Errors
    /// [`DecodeError`] for a body that is malformed, of an unknown kind, or followed by other bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, FRAME_BYTES_MAX)
    }
}

/// Encodes a session frame and cuts it into parts, in order.
pub fn parts(frame: &SessionFrame) -> Vec<Part> {
    let bytes = codec::encode(frame);
    let mut parts: Vec<_> =
        bytes.chunks(SESSION_PART_BYTES_MAX).map(|part| Part { more: true, bytes: part.to_vec() }).collect();
    parts.last_mut().expect("a frame has at least one byte").more = false;
    parts
}

/// Joins the parts of session frames.
#[derive(Debug, Default)]
pub struct Assembly {
    bytes: Vec<u8>,
}

impl Assembly {
    /// Bytes of the unfinished frame.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a part; returns the frame once its last part has arrived.
    ///
    /// # Errors
    /// [`DecodeError`] for a frame that is malformed or longer than [`SESSION_FRAME_BYTES_MAX`].
    pub fn push(&mut self, Part { more, bytes }: Part) -> Result<Option<SessionFrame>, DecodeError> {
        let got = self.bytes.len() + bytes.len();
        if got > SESSION_FRAME_BYTES_MAX {
            return Err(DecodeError::TooLong { got, max: SESSION_FRAME_BYTES_MAX });
        }
        if more {
            self.bytes.extend(bytes);
            return Ok(None);
        }
        let mut whole = std::mem::take(&mut self.bytes);
        whole.extend(bytes);
        codec::decode(&whole, SESSION_FRAME_BYTES_MAX).map(Some)
    }
}
