//! Reading files of which nothing is believed: plain or gzip, counted and bounded.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::error::{DataError, Fault, Place};

/// DEFLATE cannot expand data by more than this factor (RFC 1951: at best 258 bytes for two bits).
const DEFLATE_EXPANSION: u64 = 1032;

/// The most bytes read out of a compressed file. A small file could otherwise fill the memory.
const DECOMPRESSED_LIMIT: u64 = 2 << 30;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A file being read, or bytes that stand for one. Knows how many bytes can still follow at most,
/// so that a header can be doubted before memory is reserved for what it declares.
pub(super) struct Input<'a> {
    path: PathBuf,
    reader: Box<dyn BufRead + 'a>,
    offset: u64,
    bound: u64,
    /// The most bytes accepted, if the file is compressed.
    limit: Option<u64>,
}

impl Input<'static> {
    /// Opens the file at `path`; its first bytes tell whether it is compressed.
    pub(super) fn open(path: &Path) -> Result<Input<'static>, DataError> {
        let refused = |error| DataError::in_file(path, Fault::Io { action: "read", error });
        // A pipe would block when opened, so the kind is asked first.
        if !std::fs::metadata(path).map_err(refused)?.is_file() {
            return Err(DataError::in_file(path, Fault::NotAFile));
        }
        let file = File::open(path).map_err(refused)?;
        let length = file.metadata().map_err(refused)?.len();
        Input::new(path, BufReader::with_capacity(1 << 16, file), length)
    }
}

impl<'a> Input<'a> {
    /// Reads from `reader`, which holds `length` bytes and is called `path` in messages.
    pub(super) fn new(
        path: &Path,
        reader: impl BufRead + 'a,
        length: u64,
    ) -> Result<Input<'a>, DataError> {
        Input::limited(path, reader, length, DECOMPRESSED_LIMIT)
    }

    fn limited(
        path: &Path,
        mut reader: impl BufRead + 'a,
        length: u64,
        limit: u64,
    ) -> Result<Input<'a>, DataError> {
        let start = reader
            .fill_buf()
            .map_err(|error| DataError::in_file(path, Fault::Io { action: "read", error }))?;
        let compressed = start.starts_with(&GZIP_MAGIC);
        let (reader, bound): (Box<dyn BufRead + 'a>, u64) = if compressed {
            let decoder = BufReader::with_capacity(1 << 16, MultiGzDecoder::new(reader));
            (Box::new(decoder), length.saturating_mul(DEFLATE_EXPANSION).min(limit))
        } else {
            (Box::new(reader), length)
        };
        let limit = compressed.then_some(limit);
        Ok(Input { path: path.to_path_buf(), reader, offset: 0, bound, limit })
    }

    /// The path, as messages print it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes read so far, of the decompressed contents.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that can still follow: exact for a plain file, an upper bound for a compressed one.
    pub(super) fn remaining(&self) -> u64 {
        self.bound.saturating_sub(self.offset)
    }

    /// An error at the present place.
    pub(super) fn error(&self, fault: Fault) -> DataError {
        DataError::in_file(&self.path, fault).at(Place::Offset(self.offset))
    }

    /// Translates what reading has thrown.
    pub(super) fn io_error(&self, error: io::Error) -> DataError {
        if let (io::ErrorKind::FileTooLarge, Some(limit)) = (error.kind(), self.limit) {
            return self.error(Fault::DecompressedTooLarge { limit });
        }
        let damaged = matches!(
            error.kind(),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        );
        if self.limit.is_some() && damaged {
            let reason = match error.kind() {
                io::ErrorKind::UnexpectedEof => "it ends early".to_string(),
                _ => error.to_string(),
            };
            return self.error(Fault::Gzip { reason });
        }
        self.error(Fault::Io { action: "read", error })
    }

    /// Makes sure that `needed` bytes can follow (`None`: more than can be counted) before they
    /// are allocated. `part` names them in the message.
    pub(super) fn expect(&self, needed: Option<u64>, part: &str) -> Result<(), DataError> {
        let present = self.remaining();
        match needed {
            Some(needed) if needed <= present => Ok(()),
            _ => Err(self.truncated(needed.unwrap_or(u64::MAX), present, part)),
        }
    }

    /// Fills `out` completely. `part` names the bytes in the message if they are not there.
    pub(super) fn fill(&mut self, out: &mut [u8], part: &str) -> Result<(), DataError> {
        self.expect(Some(out.len() as u64), part)?;
        let start = self.offset;
        let mut filled = 0;
        while filled < out.len() {
            match self.read(&mut out[filled..]) {
                Ok(0) => {
                    self.offset = start;
                    return Err(self.truncated(out.len() as u64, filled as u64, part));
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io_error(error)),
            }
        }
        Ok(())
    }

    /// Makes sure that nothing follows.
    pub(super) fn expect_end(&mut self) -> Result<(), DataError> {
        match self.reader.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(self.error(Fault::TrailingBytes)),
            Err(error) => Err(self.io_error(error)),
        }
    }

    fn truncated(&self, needed: u64, present: u64, part: &str) -> DataError {
        self.error(Fault::Truncated { part: part.to_string(), needed, present })
    }
}

impl Read for Input<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(out)?;
        self.offset += count as u64;
        if self.limit.is_some_and(|limit| self.offset > limit) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::{gzip, input};

    #[test]
    fn plain_and_compressed_contents_read_alike() {
        let contents: Vec<u8> = (0..100_000_u32).map(|i| ((i * (i % 97)) >> 7) as u8).collect();
        for file in [contents.clone(), gzip(&contents)] {
            let mut input = input(&file);
            let mut out = vec![0; contents.len()];
            input.fill(&mut out, "everything").unwrap();
            input.expect_end().unwrap();
            assert_eq!(out, contents);
            assert_eq!(input.offset(), contents.len() as u64);
        }
    }

    #[test]
    fn gzip_members_in_a_row_are_one_stream() {
        let file = [gzip(b"ab"), gzip(b"cd")].concat();
        let mut out = String::new();
        input(&file).read_to_string(&mut out).unwrap();
        assert_eq!(out, "abcd");
    }

    #[test]
    fn a_cut_file_tells_what_is_missing_and_where() {
        let mut input = input(b"12345");
        input.fill(&mut [0; 2], "the first part").unwrap();
        let error = input.fill(&mut [0; 9], "the second part").unwrap_err();
        assert_eq!(
            error.to_string(),
            "test, byte 2: the second part needs 9 bytes, but the file can hold at most 3 more"
        );
    }

    #[test]
    fn cut_and_damaged_gzip_streams_are_told() {
        let contents = vec![7_u8; 5000];
        let whole = gzip(&contents);
        let mut cut = input(&whole[..whole.len() - 12]);
        let error = cut.fill(&mut [0; 5000], "it").unwrap_err();
        assert!(matches!(*error.fault, Fault::Gzip { .. }), "{error}");

        let mut damaged = whole.clone();
        let checksum = damaged.len() - 6;
        damaged[checksum] ^= 1;
        let mut input = input(&damaged);
        input.fill(&mut [0; 5000], "it").unwrap();
        let error = input.expect_end().unwrap_err();
        assert!(matches!(*error.fault, Fault::Gzip { .. }), "{error}");
    }

    #[test]
    fn the_bound_of_a_compressed_file_holds_for_the_most_compressible_data() {
        let contents = vec![0; 10 << 20];
        let file = gzip(&contents);
        let input = input(&file);
        assert!(input.remaining() >= contents.len() as u64);
        assert!(input.remaining() <= 1032 * file.len() as u64);
        assert!(input.expect(Some(1 << 40), "it").is_err());
        assert!(input.expect(None, "it").is_err());
    }

    #[test]
    fn a_compressed_file_beyond_the_limit_is_refused() {
        let file = gzip(&vec![0; 100_000]);
        let open = |limit| Input::limited(Path::new("x"), &file[..], file.len() as u64, limit);
        let mut enough = open(100_000).unwrap();
        assert_eq!(enough.read_to_end(&mut Vec::new()).unwrap(), 100_000);
        let mut short = open(99_999).unwrap();
        let error = short.read_to_end(&mut Vec::new()).unwrap_err();
        let error = short.io_error(error);
        assert!(matches!(*error.fault, Fault::DecompressedTooLarge { limit: 99_999 }), "{error}");
    }

    #[test]
    fn a_folder_is_not_a_file_and_a_missing_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = Input::open(folder.path()).err().unwrap();
        assert!(matches!(*error.fault, Fault::NotAFile), "{error}");
        let error = Input::open(&folder.path().join("none")).err().unwrap();
        assert!(matches!(*error.fault, Fault::Io { action: "read", .. }), "{error}");
    }
}
