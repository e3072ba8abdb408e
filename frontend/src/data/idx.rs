//! IDX, the format of the MNIST files (Y. LeCun, C. Cortes, C. Burges: "The MNIST database of
//! handwritten digits"): two zero bytes, a byte for the element type, a byte for the number of
//! axes, one big-endian u32 per axis, then the elements in big-endian, row-major order.

use std::io::{self, Write};
use std::path::Path;

use cygnet_runtime::dtype::DType;
use cygnet_runtime::tensor::Tensor;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::atomic::write_atomically;
use super::error::{DataError, Fault};
use super::input::Input;
use super::raw::{Origin, Places, RawField, element_count};

/// The element types of the format.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    U8 = 0x08,
    I8 = 0x09,
    I16 = 0x0B,
    I32 = 0x0C,
    F32 = 0x0D,
    F64 = 0x0E,
}

impl Code {
    const ALL: [Code; 6] = [Code::U8, Code::I8, Code::I16, Code::I32, Code::F32, Code::F64];

    fn from_byte(byte: u8) -> Option<Code> {
        Code::ALL.into_iter().find(|&code| code as u8 == byte)
    }

    fn size(self) -> usize {
        match self {
            Code::U8 | Code::I8 => 1,
            Code::I16 => 2,
            Code::I32 | Code::F32 => 4,
            Code::F64 => 8,
        }
    }

    /// The element type in memory; signed bytes and 16-bit integers are widened.
    fn dtype(self) -> DType {
        match self {
            Code::U8 => DType::U8,
            Code::I8 | Code::I16 | Code::I32 => DType::I32,
            Code::F32 => DType::F32,
            Code::F64 => DType::F64,
        }
    }
}

/// Reads an IDX file, plain or compressed with gzip. Integers narrower than 32 bits other than
/// `u8` become `i32`.
///
/// # Errors
/// If the file cannot be read, is not IDX, or does not hold exactly what its header declares.
/// Memory is reserved only for what the file's size can account for.
pub fn read_idx(path: &Path) -> Result<Tensor, DataError> {
    Ok(read(Input::open(path)?)?.tensor)
}

/// Reads IDX data with their places.
pub(super) fn read(mut input: Input<'_>) -> Result<RawField, DataError> {
    let mut magic = [0; 4];
    input.fill(&mut magic, "the IDX header")?;
    let [0, 0, code, rank] = magic else {
        return Err(DataError::in_file(
            input.path(),
            Fault::WrongMagic { format: "IDX", found: format!("{magic:02x?}") },
        ));
    };
    let code = Code::from_byte(code).ok_or_else(|| {
        input.error(Fault::Unsupported {
            what: format!("the IDX element type 0x{code:02x}"),
            instead: "the types are 08 (u8), 09 (i8), 0b (i16), 0c (i32), 0d (f32) and 0e (f64)",
        })
    })?;
    let mut extents = vec![0; usize::from(rank) * 4];
    input.fill(&mut extents, "the list of extents in the IDX header")?;
    let shape: Vec<usize> =
        extents.as_chunks().0.iter().map(|&extent| u32::from_be_bytes(extent) as usize).collect();
    let bytes = element_count(&shape).and_then(|count| count.checked_mul(code.size()));
    input.expect(bytes.map(|bytes| bytes as u64), &format!("an IDX array of shape {shape:?}"))?;

    let start = input.offset();
    let tensor = read_elements(&mut input, code, &shape)?;
    input.expect_end()?;
    let path = Some(input.path().to_path_buf());
    let origin = Origin { path, places: Places::Bytes { start, size: code.size() as u64 } };
    Ok(RawField { tensor, classes: None, origin })
}

/// Reads the elements; their number times their size is known to fit the input.
fn read_elements(input: &mut Input<'_>, code: Code, shape: &[usize]) -> Result<Tensor, DataError> {
    let part = "the array";
    let mut tensor = Tensor::zeros(code.dtype(), shape);
    match code {
        Code::U8 => input.fill(tensor.bytes_mut(), part)?,
        Code::I8 => {
            let mut bytes = vec![0; tensor.len()];
            input.fill(&mut bytes, part)?;
            for (value, byte) in tensor.as_mut_slice::<i32>().iter_mut().zip(bytes) {
                *value = i32::from(byte.cast_signed());
            }
        }
        Code::I16 => {
            let mut bytes = vec![0; tensor.len() * 2];
            input.fill(&mut bytes, part)?;
            let elements = bytes.as_chunks().0;
            for (value, &element) in tensor.as_mut_slice::<i32>().iter_mut().zip(elements) {
                *value = i32::from(i16::from_be_bytes(element));
            }
        }
        Code::I32 | Code::F32 | Code::F64 => {
            input.fill(tensor.bytes_mut(), part)?;
            swap_big_endian(tensor.bytes_mut(), code.size());
        }
    }
    Ok(tensor)
}

/// Turns big-endian elements of `size` bytes into native ones, or back.
fn swap_big_endian(bytes: &mut [u8], size: usize) {
    if cfg!(target_endian = "little") {
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
}

/// Writes `tensor` as an IDX file, compressed if the name ends in `.gz`. Booleans become bytes.
///
/// # Errors
/// If the file cannot be written, or has more than 255 axes or an extent beyond 32 bits.
pub fn write_idx(path: &Path, tensor: &Tensor) -> Result<(), DataError> {
    let compressed = path.extension().is_some_and(|extension| extension == "gz");
    write_atomically(path, |writer| {
        if compressed {
            let mut encoder = GzEncoder::new(writer, Compression::best());
            write(&mut encoder, tensor)?;
            encoder.finish().map(drop)
        } else {
            write(writer, tensor)
        }
    })
}

fn write(writer: &mut dyn Write, tensor: &Tensor) -> io::Result<()> {
    let code = match tensor.dtype() {
        DType::U8 | DType::Bool => Code::U8,
        DType::I32 => Code::I32,
        DType::F32 => Code::F32,
        DType::F64 => Code::F64,
    };
    let too_large = |_| io::Error::other("the shape is too large for IDX");
    let rank = u8::try_from(tensor.shape().len()).map_err(too_large)?;
    writer.write_all(&[0, 0, code as u8, rank])?;
    for &extent in tensor.shape() {
        writer.write_all(&u32::try_from(extent).map_err(too_large)?.to_be_bytes())?;
    }
    // A part at a time, so that the swapped copy stays small.
    for part in tensor.bytes().chunks(1 << 16) {
        let mut part = part.to_vec();
        swap_big_endian(&mut part, code.size());
        writer.write_all(&part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::testing;

    fn parse(bytes: &[u8]) -> Result<Tensor, DataError> {
        read(testing::input(bytes)).map(|field| field.tensor)
    }

    fn to_bytes(tensor: &Tensor) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, tensor).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(tensor in testing::tensors()) {
            let bytes = to_bytes(&tensor);
            for file in [bytes.clone(), testing::gzip(&bytes)] {
                let read = parse(&file).unwrap();
                prop_assert_eq!(read.shape(), tensor.shape());
                prop_assert_eq!(read.bytes(), tensor.bytes());
            }
        }
    }

    #[test]
    fn files_are_written_plain_and_compressed() {
        let folder = tempfile::tempdir().unwrap();
        let tensor = Tensor::from_slice(&[2, 3], &[1.5_f32, -2.0, 0.0, 4.0, 5.0, 6.25]);
        for name in ["a.idx", "a.idx.gz"] {
            let path = folder.path().join(name);
            write_idx(&path, &tensor).unwrap();
            assert_eq!(read_idx(&path).unwrap(), tensor);
        }
        assert!(std::fs::read(folder.path().join("a.idx.gz")).unwrap().starts_with(&[0x1f, 0x8b]));
    }

    #[test]
    fn narrow_integers_are_widened() {
        let bytes = [0, 0, 0x09, 1, 0, 0, 0, 3, 0x80, 0xff, 0x7f];
        assert_eq!(parse(&bytes).unwrap(), Tensor::from_slice(&[3], &[-128, -1, 127]));
        let shorts = [0, 0, 0x0b, 1, 0, 0, 0, 2, 0x80, 0x00, 0x01, 0x02];
        assert_eq!(parse(&shorts).unwrap(), Tensor::from_slice(&[2], &[-32768, 0x0102]));
    }

    #[test]
    fn foreign_and_unknown_contents_are_refused() {
        let error = parse(b"\x89PNG\r\n").unwrap_err();
        assert!(matches!(*error.fault, Fault::WrongMagic { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            "test: this is not IDX data: it begins with [89, 50, 4e, 47]"
        );
        let error = parse(&[0, 0, 7, 1, 0, 0, 0, 0]).unwrap_err();
        assert!(matches!(*error.fault, Fault::Unsupported { .. }), "{error}");
    }

    #[test]
    fn files_that_are_cut_or_too_long_are_refused() {
        let whole = to_bytes(&Tensor::from_slice(&[2, 2], &[1, 2, 3, 4]));
        for length in 0..whole.len() {
            let error = parse(&whole[..length]).unwrap_err();
            assert!(matches!(*error.fault, Fault::Truncated { .. }), "{error}");
        }
        let error = parse(&[whole, vec![0]].concat()).unwrap_err();
        assert!(matches!(*error.fault, Fault::TrailingBytes), "{error}");
    }

    #[test]
    fn a_header_that_declares_too_much_reserves_nothing() {
        let mut huge = vec![0, 0, 0x0e, 2];
        huge.extend([0x40, 0, 0, 0, 0x40, 0, 0, 0]); // 2^60 elements
        huge.resize(100, 0);
        for file in [huge.clone(), testing::gzip(&huge)] {
            let error = parse(&file).unwrap_err();
            assert!(matches!(*error.fault, Fault::Truncated { .. }), "{error}");
        }
        let mut overflowing = vec![0, 0, 0x08, 4];
        overflowing.extend([0xff; 16]);
        let error = parse(&overflowing).unwrap_err();
        assert!(error.to_string().contains("more bytes than can be counted"), "{error}");
    }

    #[test]
    fn an_empty_array_with_huge_axes_is_harmless() {
        for zero in 0..3 {
            let mut bytes = vec![0, 0, 0x0e, 3];
            bytes.extend([0xff; 12]);
            bytes[4 + 4 * zero..][..4].fill(0);
            let error = parse(&bytes).unwrap_err();
            assert!(matches!(*error.fault, Fault::Truncated { .. }), "{error}");
        }
        let empty = [0, 0, 0x08, 2, 0, 0, 0, 9, 0, 0, 0, 0];
        assert_eq!(parse(&empty).unwrap().shape(), [9, 0]);
    }

    #[test]
    fn damaged_files_never_panic() {
        let whole = to_bytes(&Tensor::from_slice(&[3, 2, 2], &[0.5_f64; 12]));
        let empty = to_bytes(&Tensor::from_slice::<f64>(&[4, 0, 2], &[]));
        let seeds = [testing::gzip(&whole), whole, empty];
        testing::fuzz(&seeds, |_| (), |bytes| drop(parse(bytes)));
    }
}
