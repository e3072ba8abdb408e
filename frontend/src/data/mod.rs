//! Reading and writing data files, and the data sets that recipes train on.
//!
//! Nothing read is believed: sizes in headers are checked against the size of the file before
//! memory is reserved, and every error names the file, the place in it, the cause and a remedy.

pub mod atomic;
pub mod dataset;
pub mod error;
pub mod idx;
pub mod load;
pub mod npy;
pub mod picture;
pub mod scale;
pub mod source;
pub mod weights;

mod characters;
mod cifar10;
mod conform;
mod csv;
mod folder;
mod hold_out;
mod images;
mod input;
mod raw;
mod request;
mod sentences;
mod synthetic;
mod table;
#[cfg(test)]
mod testing;
