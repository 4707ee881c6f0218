//! Journeys on a computer whose devices do not snoop: every sync counts there, and each that is left out shows.

mod failures;
mod forgotten;
mod mixed;
mod rig;
mod streaming;
mod whole;
