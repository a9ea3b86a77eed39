//! The document as one machine: step tables of a unit from a peer, a rebuild, the judge, a unit for a peer.

mod judge;
mod merge;
mod rebuild;
mod tips;
mod unit;
