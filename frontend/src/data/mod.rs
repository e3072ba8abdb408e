//! Reading and writing data files, and the data sets that recipes train on.
//!
//! Nothing read is believed: sizes in headers are checked against the size of the file before
//! memory is reserved, and every error names the file, the place in it, the cause and a remedy.

pub mod atomic;
pub mod error;
pub mod idx;
pub mod npy;
pub mod weights;

mod input;
mod raw;
#[cfg(test)]
mod testing;
