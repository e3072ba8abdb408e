//! NPY, NumPy's array format (`numpy.lib.format`, versions 1.0 to 3.0): inputs and outputs of
//! `cygnet run` and `cygnet bench`, and a data source.

use std::io::{self, Read};
use std::path::Path;

use cygnet_runtime::dtype::DType;
use cygnet_runtime::tensor::{Element, Tensor};
use npyz::{Deserialize, NpyFile, NpyHeader, Order, TypeChar, WriterBuilder};

use super::atomic::write_atomically;
use super::error::{DataError, Fault};
use super::input::Input;
use super::raw::{Origin, Places, RawField, element_count};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The longest header accepted; NumPy draws the same line. One for a plain array takes 118 bytes.
const HEADER_LIMIT: usize = 10_000;

/// Reads an NPY file, plain or compressed with gzip: booleans, integers and floats of 32 and 64
/// bits, either byte order. Integers that have no type in Cygnet become `i32`; arrays in Fortran
/// order are brought into C order.
///
/// # Errors
/// If the file cannot be read, is malformed or cut, holds another type, or an integer beyond 32
/// bits. Memory is reserved only for what the file's size can account for.
pub fn read_npy(path: &Path) -> Result<Tensor, DataError> {
    Ok(read(Input::open(path)?)?.tensor)
}

/// Reads NPY data with their places.
pub(super) fn read(mut input: Input<'_>) -> Result<RawField, DataError> {
    let header = read_header(&mut input)?;
    let shape = declared_shape(&header)
        .ok_or_else(|| malformed(&input, "the extents are too large".to_string()))?;
    let start = input.offset();
    let path = input.path().to_path_buf();
    let npyz::DType::Plain(element) = header.dtype() else {
        return Err(input.error(Fault::Unsupported {
            what: "a structured array".to_string(),
            instead: "save each field of it as an array of its own",
        }));
    };
    let size = element.size_field();
    let elements = element_count(&shape).map(|count| count as u64);
    let bytes = elements.and_then(|count| count.checked_mul(size));
    input.expect(bytes, &format!("an NPY array of shape {shape:?}"))?;

    let fortran = header.order() == Order::Fortran && shape.len() > 1;
    let places = if fortran { Places::Unknown } else { Places::Bytes { start, size } };
    let mut body = Body { input, header, shape, origin: Origin { path: Some(path), places } };
    let mut tensor = match (element.type_char(), size) {
        (TypeChar::Float, 4) => body.plain::<f32>()?,
        (TypeChar::Float, 8) => body.plain::<f64>()?,
        (TypeChar::Int, 4) => body.plain::<i32>()?,
        (TypeChar::Uint, 1) => body.plain::<u8>()?,
        (TypeChar::Int, 1) => body.narrowed::<i8>()?,
        (TypeChar::Int, 2) => body.narrowed::<i16>()?,
        (TypeChar::Int, 8) => body.narrowed::<i64>()?,
        (TypeChar::Uint, 2) => body.narrowed::<u16>()?,
        (TypeChar::Uint, 4) => body.narrowed::<u32>()?,
        (TypeChar::Uint, 8) => body.narrowed::<u64>()?,
        (TypeChar::Bool, 1) => body.booleans()?,
        _ => {
            return Err(body.input.error(Fault::Unsupported {
                what: format!("the NPY element type `{element}`"),
                instead: "convert the array to float32, float64, int32, uint8 or bool",
            }));
        }
    };
    body.input.expect_end()?;
    if fortran {
        tensor = from_fortran_order(&tensor);
    }
    Ok(RawField { tensor, classes: None, origin: body.origin })
}

/// Reads and interprets the header; afterwards the input is at the first element.
fn read_header(input: &mut Input<'_>) -> Result<NpyHeader, DataError> {
    // Magic, version and length of the text, which takes two bytes or, from version 2, four.
    let mut head = vec![0; 10];
    input.fill(&mut head, "the NPY header")?;
    if !head.starts_with(MAGIC) {
        let fault = Fault::WrongMagic { format: "NPY", found: format!("{:02x?}", &head[..6]) };
        return Err(DataError::in_file(input.path(), fault));
    }
    let mut length = usize::from(u16::from_le_bytes([head[8], head[9]]));
    if head[6] >= 2 {
        let mut high = [0; 2];
        input.fill(&mut high, "the NPY header")?;
        length |= usize::from(u16::from_le_bytes(high)) << 16;
        head.extend(high);
    }
    if length > HEADER_LIMIT {
        return Err(malformed(input, format!("its header is {length} bytes long")));
    }
    let text = head.len();
    head.resize(text + length, 0);
    input.fill(&mut head[text..], "the text of the NPY header")?;
    check_header_text(&head[text..]).map_err(|reason| malformed(input, reason.to_string()))?;
    NpyHeader::from_reader(&head[..]).map_err(|error| malformed(input, error.to_string()))
}

/// Lets through only headers on which `npyz` cannot overflow: it parses nested Python literals
/// recursively and multiplies the extents unchecked.
fn check_header_text(text: &[u8]) -> Result<(), &'static str> {
    let text = str::from_utf8(text).map_err(|_| "its header is not text")?;
    let nested = |open| text.bytes().filter(|&byte| byte == open).count() > 1;
    if text.contains('[') {
        return Err("it is a structured array; save each field of it as an array of its own");
    }
    if nested(b'{') || nested(b'(') {
        return Err("its header is nested more deeply than that of an array");
    }
    let shape = text.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let (extents, _) = shape.ok_or("its header has no shape")?;
    let mut count: u64 = 1;
    for extent in extents.split(',').map(str::trim).filter(|extent| !extent.is_empty()) {
        let extent: u64 = extent.parse().map_err(|_| "an extent in its header is not a number")?;
        count = count.checked_mul(extent.max(1)).ok_or("the extents are too large")?;
    }
    Ok(())
}

/// The shape, if each extent fits `usize`.
fn declared_shape(header: &NpyHeader) -> Option<Vec<usize>> {
    header.shape().iter().map(|&extent| usize::try_from(extent).ok()).collect()
}

fn malformed(input: &Input<'_>, reason: String) -> DataError {
    DataError::in_file(input.path(), Fault::Malformed { format: "NPY", reason })
}

/// The elements, about to be read; their number is known to fit the input.
struct Body<'a> {
    input: Input<'a>,
    header: NpyHeader,
    shape: Vec<usize>,
    origin: Origin,
}

impl Body<'_> {
    fn values<T: Deserialize>(&mut self) -> Result<Vec<T>, DataError> {
        NpyFile::with_header(self.header.clone(), self.input.by_ref())
            .into_vec()
            .map_err(|error| self.input.io_error(error))
    }

    /// Elements of a type that Cygnet has.
    fn plain<T: Deserialize + Element>(&mut self) -> Result<Tensor, DataError> {
        let values = self.values::<T>()?;
        Ok(Tensor::from_slice(&self.shape, &values))
    }

    /// Integers that become `i32` if they fit.
    fn narrowed<T>(&mut self) -> Result<Tensor, DataError>
    where
        T: Deserialize + Copy + TryInto<i32> + ToString,
    {
        let values = self.values::<T>()?;
        let narrow = |(index, &value): (usize, &T)| {
            value.try_into().map_err(|_| {
                let value = value.to_string();
                let fault = Fault::NotRepresentable { value, dtype: DType::I32 };
                let width = self.shape.iter().skip(1).product::<usize>().max(1);
                self.origin.error(index / width, index % width, width, fault)
            })
        };
        let narrow: Vec<i32> = values.iter().enumerate().map(narrow).collect::<Result<_, _>>()?;
        Ok(Tensor::from_slice(&self.shape, &narrow))
    }

    fn booleans(&mut self) -> Result<Tensor, DataError> {
        let values = self.values::<bool>()?;
        let mut tensor = Tensor::zeros(DType::Bool, &self.shape);
        for (byte, value) in tensor.bytes_mut().iter_mut().zip(values) {
            *byte = u8::from(value);
        }
        Ok(tensor)
    }
}

/// `tensor` has its shape, but its elements are stored with the first axis fastest: reorders them.
fn from_fortran_order(tensor: &Tensor) -> Tensor {
    let shape = tensor.shape();
    let size = tensor.dtype().size();
    let mut ordered = Tensor::zeros(tensor.dtype(), shape);
    let mut index = vec![0; shape.len()];
    for element in ordered.bytes_mut().chunks_exact_mut(size) {
        let position = index.iter().zip(shape).rev().fold(0, |p, (&i, &extent)| p * extent + i);
        element.copy_from_slice(&tensor.bytes()[position * size..][..size]);
        for (i, &extent) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < extent {
                break;
            }
            *i = 0;
        }
    }
    ordered
}

/// Writes `tensor` as an NPY file of version 1.0, in C order and native byte order.
///
/// # Errors
/// If the file cannot be written.
pub fn write_npy(path: &Path, tensor: &Tensor) -> Result<(), DataError> {
    write_atomically(path, |writer| write(writer, tensor))
}

fn write(writer: &mut dyn io::Write, tensor: &Tensor) -> io::Result<()> {
    match tensor.dtype() {
        DType::F32 => write_elements(writer, tensor, tensor.as_slice::<f32>().iter().copied()),
        DType::F64 => write_elements(writer, tensor, tensor.as_slice::<f64>().iter().copied()),
        DType::I32 => write_elements(writer, tensor, tensor.as_slice::<i32>().iter().copied()),
        DType::U8 => write_elements(writer, tensor, tensor.bytes().iter().copied()),
        DType::Bool => write_elements(writer, tensor, tensor.bytes().iter().map(|&byte| byte != 0)),
    }
}

fn write_elements<T: npyz::AutoSerialize>(
    writer: &mut dyn io::Write,
    tensor: &Tensor,
    values: impl Iterator<Item = T>,
) -> io::Result<()> {
    let shape: Vec<u64> = tensor.shape().iter().map(|&extent| extent as u64).collect();
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(writer);
    let mut writer = options.begin_nd()?;
    writer.extend(values)?;
    writer.finish()
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

    /// A version 1.0 file with this header text and these bytes behind it.
    fn file(header: &str, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [MAGIC, [1, 0].as_slice(), &length, header.as_bytes(), body].concat()
    }

    fn plain(descr: &str, fortran: &str, shape: &str, body: &[u8]) -> Vec<u8> {
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        file(&header, body)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(tensor in testing::tensors()) {
            let bytes = to_bytes(&tensor);
            for file in [bytes.clone(), testing::gzip(&bytes)] {
                let read = parse(&file).unwrap();
                prop_assert_eq!(read.dtype(), tensor.dtype());
                prop_assert_eq!(read.shape(), tensor.shape());
                prop_assert_eq!(read.bytes(), tensor.bytes());
            }
        }
    }

    #[test]
    fn files_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let tensor = Tensor::from_slice(&[], &[2.5_f32]);
        write_npy(&path, &tensor).unwrap();
        assert_eq!(read_npy(&path).unwrap(), tensor);
    }

    #[test]
    fn other_integers_become_i32() {
        let cases: [(&str, &[u8], [i32; 2]); 6] = [
            ("<i8", &[5, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255], [5, -1]),
            ("|i1", &[5, 255], [5, -1]),
            ("<i2", &[5, 0, 255, 255], [5, -1]),
            ("<u2", &[5, 0, 255, 255], [5, 65535]),
            ("<u4", &[5, 0, 0, 0, 0, 1, 0, 0], [5, 256]),
            (">i8", &[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 1, 0], [5, 256]),
        ];
        for (descr, body, expected) in cases {
            let read = parse(&plain(descr, "False", "(2,)", body)).unwrap();
            assert_eq!(read, Tensor::from_slice(&[2], &expected), "{descr}");
        }
    }

    #[test]
    fn an_integer_beyond_32_bits_is_shown_with_its_place() {
        let mut body = vec![0; 24];
        body[20] = 1; // the third element is 2^32
        let error = parse(&plain("<i8", "False", "(3, 1)", &body)).unwrap_err();
        assert!(matches!(*error.fault, Fault::NotRepresentable { .. }), "{error}");
        assert!(error.to_string().contains("sample 2 (byte"), "{error}");
        assert!(error.to_string().contains("4294967296 is not a value of type i32"), "{error}");
    }

    #[test]
    fn big_endian_and_fortran_order_are_converted() {
        let body: Vec<u8> =
            [1_f32, 4.0, 2.0, 5.0, 3.0, 6.0].iter().flat_map(|v| v.to_be_bytes()).collect();
        let read = parse(&plain(">f4", "True", "(2, 3)", &body)).unwrap();
        assert_eq!(read, Tensor::from_slice(&[2, 3], &[1_f32, 2.0, 3.0, 4.0, 5.0, 6.0]));
    }

    #[test]
    fn versions_2_and_3_are_read() {
        let text = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }\n";
        for version in [2, 3] {
            let length = u32::try_from(text.len()).unwrap().to_le_bytes();
            let bytes =
                [MAGIC, [version, 0].as_slice(), &length, text.as_bytes(), &[7, 8]].concat();
            assert_eq!(parse(&bytes).unwrap(), Tensor::from_slice(&[2], &[7_u8, 8]));
        }
    }

    #[test]
    fn unsupported_contents_are_refused() {
        for descr in ["<f2", "<c8", "|S4", "<U4", "|O", "<f16", "<M8[s]"] {
            let error = parse(&plain(descr, "False", "(1,)", &[0; 64])).unwrap_err();
            let refused =
                matches!(*error.fault, Fault::Unsupported { .. } | Fault::Malformed { .. });
            assert!(refused, "{descr}: {error}");
        }
        let structured = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }\n";
        let error = parse(&file(structured, &[0; 4])).unwrap_err();
        assert!(error.to_string().contains("structured array"), "{error}");
        let error = parse(b"PK\x03\x04 this is an npz").unwrap_err();
        assert!(matches!(*error.fault, Fault::WrongMagic { .. }), "{error}");
    }

    #[test]
    fn files_that_are_cut_or_too_long_are_refused() {
        let whole = to_bytes(&Tensor::from_slice(&[3], &[1.0_f64, 2.0, 3.0]));
        for length in 0..whole.len() {
            let error = parse(&whole[..length]).unwrap_err();
            assert!(matches!(*error.fault, Fault::Truncated { .. }), "{length}: {error}");
        }
        let error = parse(&[whole, vec![0]].concat()).unwrap_err();
        assert!(matches!(*error.fault, Fault::TrailingBytes), "{error}");
    }

    #[test]
    fn hostile_headers_are_refused_quickly() {
        let nested = format!("{{{}", "(".repeat(9000));
        let sets = "{".repeat(9000);
        for text in [nested.as_str(), &sets, "", "{}", "(", "{'shape': (", "\u{feff}{}"] {
            let error = parse(&file(text, &[])).unwrap_err();
            assert!(matches!(*error.fault, Fault::Malformed { .. }), "{error}");
        }
        for shape in [
            "(1152921504606846976,)", // 2^60
            "(4294967296, 4294967296)",
            "(0, 4294967296, 4294967296, 4294967296)",
            "(9223372036854775808, 0)",
            "(0, 9223372036854775808)",
            "(99999999999999999999999,)",
            "(-1,)",
            "(0x10,)",
        ] {
            let error = parse(&plain("<f4", "False", shape, &[0; 16])).unwrap_err();
            let refused = matches!(*error.fault, Fault::Malformed { .. } | Fault::Truncated { .. });
            assert!(refused, "{shape}: {error}");
        }
        let mut long = [MAGIC, [2, 0].as_slice()].concat();
        long.extend(u32::MAX.to_le_bytes());
        let error = parse(&long).unwrap_err();
        assert!(matches!(*error.fault, Fault::Malformed { .. }), "{error}");
    }

    #[test]
    fn damaged_files_never_panic() {
        let float = to_bytes(&Tensor::from_slice(&[3, 2], &[0.5_f32; 6]));
        let fortran = plain("<i8", "True", "(2, 2)", &[0; 32]);
        let empty = to_bytes(&Tensor::from_slice::<f64>(&[4, 0], &[]));
        let seeds = [testing::gzip(&float), float, fortran, empty];
        // The length of the header's text, which ends with a line feed.
        let repair = |bytes: &mut Vec<u8>| {
            let end = bytes.iter().skip(10).position(|&byte| byte == b'\n');
            if let Some(end) = end.filter(|_| bytes.starts_with(MAGIC)) {
                bytes[8..10].copy_from_slice(&(end as u16 + 1).to_le_bytes());
            }
        };
        testing::fuzz(&seeds, repair, |bytes| drop(parse(bytes)));
    }
}
