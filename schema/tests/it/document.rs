//! The document as one machine: step tables of a unit from a peer, a rebuild, the passes after a new roster,
//! the judge, a unit for a peer.

mod judge;
mod merge;
mod rebuild;
mod rejudge;
mod tips;
mod unit;
