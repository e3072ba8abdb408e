//! Weights in the safetensors format: reading by name and writing in one step.
//!
//! The format: a little-endian u64 with the length of a JSON header, the header (per tensor its
//! type, shape and range of bytes; texts under `__metadata__`), then the bytes of all tensors
//! without gaps, little-endian and row-major.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use cygnet_runtime::dtype::DType;
use cygnet_runtime::tensor::Tensor;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::atomic::write_atomically;
use super::error::{DataError, Fault};
use super::raw::element_count;

/// A safetensors file whose header was read. Tensors are read one by one, when asked for, so that a
/// model can be filled without a second copy of all weights.
pub struct Weights {
    path: PathBuf,
    metadata: Metadata,
    /// Where the tensors' bytes begin.
    start: u64,
    source: RefCell<Box<dyn Source>>,
}

/// What a file's bytes are read from.
trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

/// Bytes of the length of the header, which stands in front of it.
const LENGTH_BYTES: u64 = size_of::<u64>() as u64;

/// Longest header, as in the format's own library.
const LONGEST_HEADER: u64 = 100_000_000;

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weights").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Weights {
    /// Opens a safetensors file and reads its header.
    ///
    /// # Errors
    /// If it cannot be read or its header is not valid or does not account for every byte.
    pub fn read(path: &Path) -> Result<Weights, DataError> {
        let refused = |error| DataError::in_file(path, Fault::Io { action: "read", error });
        let about = std::fs::metadata(path).map_err(refused)?;
        if !about.is_file() {
            return Err(DataError::in_file(path, Fault::NotAFile));
        }
        let file = File::open(path).map_err(refused)?;
        Weights::from_source(path, Box::new(file), about.len())
    }

    /// Reads the header of a file of `length` bytes.
    fn from_source(
        path: &Path,
        mut source: Box<dyn Source>,
        length: u64,
    ) -> Result<Weights, DataError> {
        let refused = |error| DataError::in_file(path, Fault::Io { action: "read", error });
        let malformed = |error: SafeTensorError| {
            let reason = error.to_string();
            DataError::in_file(path, Fault::Malformed { format: "safetensors", reason })
        };
        let Some(rest) = length.checked_sub(LENGTH_BYTES) else {
            return Err(malformed(SafeTensorError::HeaderTooSmall));
        };
        let mut header_length = [0; LENGTH_BYTES as usize];
        source.read_exact(&mut header_length).map_err(refused)?;
        let header_length = u64::from_le_bytes(header_length);
        if header_length > LONGEST_HEADER {
            return Err(malformed(SafeTensorError::HeaderTooLarge));
        }
        if header_length > rest {
            return Err(malformed(SafeTensorError::InvalidHeaderLength));
        }
        let mut header = vec![0; header_length as usize];
        source.read_exact(&mut header).map_err(refused)?;
        let header = std::str::from_utf8(&header)
            .map_err(|error| malformed(SafeTensorError::InvalidHeader(error)))?;
        let metadata: Metadata = serde_json::from_str(header)
            .map_err(|error| malformed(SafeTensorError::InvalidHeaderDeserialization(error)))?;
        if metadata.data_len() as u64 != rest - header_length {
            return Err(malformed(SafeTensorError::MetadataIncompleteBuffer));
        }
        for name in metadata.offset_keys() {
            let info = metadata.info(&name);
            if info.is_some_and(|info| element_count(&info.shape).is_none()) {
                let reason = format!("the shape of tensor `{name}` is too large");
                let fault = Fault::Malformed { format: "safetensors", reason };
                return Err(DataError::in_file(path, fault));
            }
        }
        let (path, start) = (path.to_path_buf(), LENGTH_BYTES + header_length);
        Ok(Weights { path, metadata, start, source: RefCell::new(source) })
    }

    /// The names of all tensors, in the order of their bytes.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// The shape of the tensor `name`, if there is one.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// The text stored under `key` in the header's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The tensor `name` as it is stored; 64-bit integers become `i32`.
    ///
    /// # Errors
    /// If there is no such tensor, its type has no counterpart, or an integer needs more than 32
    /// bits.
    pub fn tensor(&self, name: &str) -> Result<Tensor, DataError> {
        let info = self.info(name)?;
        let dtype = self.element_type(name, info)?;
        let mut tensor = Tensor::zeros(dtype, &info.shape);
        if info.dtype == Dtype::I64 {
            let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
            self.read_bytes(info, &mut bytes)?;
            let elements = bytes.as_chunks().0;
            for (value, &element) in tensor.as_mut_slice::<i32>().iter_mut().zip(elements) {
                let wide = i64::from_le_bytes(element);
                *value = i32::try_from(wide).map_err(|_| {
                    self.error(Fault::NotRepresentable { value: wide.to_string(), dtype })
                })?;
            }
            return Ok(tensor);
        }
        self.read_bytes(info, tensor.bytes_mut())?;
        if dtype == DType::Bool && tensor.bytes().iter().any(|&byte| byte > 1) {
            let reason = format!("tensor `{name}` holds booleans other than 0 and 1");
            return Err(self.error(Fault::Malformed { format: "safetensors", reason }));
        }
        swap_little_endian(tensor.bytes_mut(), dtype.size());
        Ok(tensor)
    }

    /// Fills `bytes` with the elements of tensor `name`, row-major, if it is stored as `dtype` and
    /// these bytes can hold anything: floats and bytes. Otherwise nothing is read.
    ///
    /// # Errors
    /// If there is no such tensor, it has another size, or the file cannot be read.
    pub fn read_into(&self, name: &str, dtype: DType, bytes: &mut [u8]) -> Result<bool, DataError> {
        let info = self.info(name)?;
        let same = match dtype {
            DType::F32 => info.dtype == Dtype::F32,
            DType::F64 => info.dtype == Dtype::F64,
            DType::U8 => info.dtype == Dtype::U8,
            DType::I32 | DType::Bool => false,
        };
        if !same || info.data_offsets.1 - info.data_offsets.0 != bytes.len() {
            return Ok(false);
        }
        self.read_bytes(info, bytes)?;
        swap_little_endian(bytes, dtype.size());
        Ok(true)
    }

    /// Checks that a tensor `name` can become a parameter of this type, by what the header says.
    ///
    /// # Errors
    /// As [`Weights::parameter`], except for integers that need more than 32 bits.
    pub fn check(&self, name: &str, dtype: DType, shape: &[usize]) -> Result<(), DataError> {
        let info = self.info(name)?;
        let stored = self.element_type(name, info)?;
        let converts = stored == dtype || (stored.is_float() && dtype.is_float());
        match info.shape == shape && converts {
            true => Ok(()),
            false => Err(self.mismatch(name, dtype, shape)),
        }
    }

    /// The element type that a stored tensor is read as.
    fn element_type(&self, name: &str, info: &TensorInfo) -> Result<DType, DataError> {
        match info.dtype {
            Dtype::F32 => Ok(DType::F32),
            Dtype::F64 => Ok(DType::F64),
            Dtype::I32 | Dtype::I64 => Ok(DType::I32),
            Dtype::U8 => Ok(DType::U8),
            Dtype::BOOL => Ok(DType::Bool),
            other => Err(self.error(Fault::Unsupported {
                what: format!("the element type {other:?} of tensor `{name}`"),
                instead: "convert the tensor to F32 before saving it",
            })),
        }
    }

    /// Reads the bytes of a tensor as they are stored.
    fn read_bytes(&self, info: &TensorInfo, bytes: &mut [u8]) -> Result<(), DataError> {
        let mut source = self.source.borrow_mut();
        let start = self.start + info.data_offsets.0 as u64;
        let done = source.seek(SeekFrom::Start(start)).and_then(|_| source.read_exact(bytes));
        done.map_err(|error| self.error(Fault::Io { action: "read", error }))
    }

    /// The tensor `name`, which must have this shape; floats are converted to `dtype`.
    ///
    /// # Errors
    /// As [`Weights::tensor`]; also if the shape differs, or the type does and either is not a
    /// float.
    pub fn parameter(
        &self,
        name: &str,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Tensor, DataError> {
        if self.info(name)?.shape != shape {
            return Err(self.mismatch(name, dtype, shape));
        }
        let stored = self.tensor(name)?;
        match (stored.dtype(), dtype) {
            (from, to) if from == to => Ok(stored),
            (DType::F64, DType::F32) => {
                let values: Vec<f32> = stored.as_slice::<f64>().iter().map(|&v| v as f32).collect();
                Ok(Tensor::from_slice(shape, &values))
            }
            (DType::F32, DType::F64) => {
                let values: Vec<f64> =
                    stored.as_slice::<f32>().iter().map(|&v| f64::from(v)).collect();
                Ok(Tensor::from_slice(shape, &values))
            }
            _ => Err(self.mismatch(name, dtype, shape)),
        }
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, DataError> {
        self.metadata.info(name).ok_or_else(|| {
            let name = name.to_string();
            let similar = similar_names(&name, &self.names());
            self.error(Fault::MissingTensor { name, similar })
        })
    }

    fn mismatch(&self, name: &str, dtype: DType, shape: &[usize]) -> DataError {
        let found = self
            .metadata
            .info(name)
            .map(|info| format!("{}{:?}", format!("{:?}", info.dtype).to_lowercase(), info.shape));
        self.error(Fault::WeightMismatch {
            name: name.to_string(),
            found: found.unwrap_or_default(),
            expected: format!("{dtype}{shape:?}"),
        })
    }

    fn error(&self, fault: Fault) -> DataError {
        DataError::in_file(&self.path, fault)
    }
}

/// The names most like `name`, at most three.
fn similar_names(name: &str, names: &[String]) -> Vec<String> {
    let likeness = |other: &String| strsim::jaro_winkler(name, other);
    let mut similar: Vec<&String> = names.iter().filter(|other| likeness(other) > 0.8).collect();
    similar.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)).then(a.cmp(b)));
    similar.into_iter().take(3).cloned().collect()
}

/// Turns little-endian elements of `size` bytes into native ones, or back.
fn swap_little_endian(bytes: &mut [u8], size: usize) {
    if cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
}

/// The header of a safetensors file; with ordered maps, so that equal weights give equal files.
#[derive(serde::Serialize)]
struct Header<'a> {
    #[serde(rename = "__metadata__", skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<&'a str, TensorInfo>,
}

/// Writes `tensors` and `metadata` as a safetensors file. Equal contents give equal bytes.
///
/// # Errors
/// If the file cannot be written; it is then as it was.
///
/// # Panics
/// If two tensors have one name, or one has the name `__metadata__`.
pub fn write_weights<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), DataError> {
    // The widest elements first, so that each tensor is aligned; then by name.
    let mut tensors: Vec<(&str, &Tensor)> = tensors.into_iter().collect();
    tensors.sort_by_key(|(name, tensor)| (std::cmp::Reverse(tensor.dtype().size()), *name));
    let mut header = Header { metadata, tensors: BTreeMap::new() };
    let mut offset = 0;
    for (name, tensor) in &tensors {
        let end = offset + tensor.bytes().len();
        let dtype = match tensor.dtype() {
            DType::F32 => Dtype::F32,
            DType::F64 => Dtype::F64,
            DType::I32 => Dtype::I32,
            DType::U8 => Dtype::U8,
            DType::Bool => Dtype::BOOL,
        };
        let shape = tensor.shape().to_vec();
        let info = TensorInfo { dtype, shape, data_offsets: (offset, end) };
        let unique = *name != "__metadata__" && header.tensors.insert(name, info).is_none();
        assert!(unique, "tensor name `{name}` is taken");
        offset = end;
    }
    write_atomically(path, |writer| {
        let mut text = serde_json::to_vec(&header)?;
        // Spaces after the JSON align the data.
        text.resize(text.len().next_multiple_of(8), b' ');
        writer.write_all(&(text.len() as u64).to_le_bytes())?;
        writer.write_all(&text)?;
        for (_, tensor) in &tensors {
            if cfg!(target_endian = "little") {
                writer.write_all(tensor.bytes())?;
            } else {
                let mut bytes = tensor.bytes().to_vec();
                swap_little_endian(&mut bytes, tensor.dtype().size());
                writer.write_all(&bytes)?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::testing;

    fn parse(bytes: &[u8]) -> Result<Weights, DataError> {
        let source = std::io::Cursor::new(bytes.to_vec());
        Weights::from_source(Path::new("test"), Box::new(source), bytes.len() as u64)
    }

    /// A file with this header and these bytes behind it.
    fn file(header: &str, body: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), body].concat()
    }

    fn written(tensors: &[(&str, &Tensor)], metadata: &BTreeMap<String, String>) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        write_weights(&path, tensors.iter().copied(), metadata).unwrap();
        std::fs::read(path).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_written_is_read(
            tensors in proptest::collection::btree_map("[a-z.\"é]{1,8}", testing::tensors(), 0..5),
            metadata in proptest::collection::btree_map("[a-z]{1,5}", ".{0,9}", 0..4),
        ) {
            let list: Vec<(&str, &Tensor)> =
                tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
            let bytes = written(&list, &metadata);
            let weights = parse(&bytes).unwrap();
            prop_assert_eq!(weights.names().len(), tensors.len());
            for (name, tensor) in &tensors {
                let read = weights.tensor(name).unwrap();
                prop_assert_eq!(read.dtype(), tensor.dtype());
                prop_assert_eq!(read.shape(), tensor.shape());
                prop_assert_eq!(read.bytes(), tensor.bytes());
            }
            for (key, text) in &metadata {
                prop_assert_eq!(weights.metadata(key), Some(text.as_str()));
            }
            prop_assert_eq!(bytes, written(&list, &metadata));
        }
    }

    #[test]
    fn files_round_trip_and_are_aligned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let (byte, float) =
            (Tensor::from_slice(&[3], &[1_u8, 2, 3]), Tensor::from_slice(&[1], &[0.5_f64]));
        write_weights(&path, [("a", &byte), ("b", &float)], &BTreeMap::new()).unwrap();
        let weights = Weights::read(&path).unwrap();
        assert_eq!(weights.names(), ["b", "a"]);
        assert_eq!(weights.tensor("a").unwrap(), byte);
        assert_eq!(weights.shape("b"), Some([1].as_slice()));
        assert_eq!(weights.shape("c"), None);
        assert_eq!((std::fs::read(&path).unwrap().len() - 8 - 3) % 8, 0);
    }

    #[test]
    fn parameters_are_checked_and_floats_converted() {
        let tensor = Tensor::from_slice(&[2, 1], &[1.5_f64, 2.5]);
        let weights = parse(&written(&[("fc1.weight", &tensor)], &BTreeMap::new())).unwrap();
        let read = weights.parameter("fc1.weight", DType::F32, &[2, 1]).unwrap();
        assert_eq!(read, Tensor::from_slice(&[2, 1], &[1.5_f32, 2.5]));

        let error = weights.parameter("fc1.weight", DType::F32, &[1, 2]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "test: tensor `fc1.weight` is f64[2, 1] in the file and f32[1, 2] in the model"
        );
        let error = weights.parameter("fc1.weight", DType::I32, &[2, 1]).unwrap_err();
        assert!(matches!(*error.fault, Fault::WeightMismatch { .. }), "{error}");
        let error = weights.parameter("fc2.weight", DType::F32, &[2, 1]).unwrap_err();
        assert_eq!(error.to_string(), "test: there is no tensor `fc2.weight`; similar: fc1.weight");
    }

    #[test]
    fn other_types_are_converted_or_refused() {
        let header = |dtype: &str| {
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,8]}}}}"#)
        };
        let weights = parse(&file(&header("I64"), &(-7_i64).to_le_bytes())).unwrap();
        assert_eq!(weights.tensor("a").unwrap(), Tensor::from_slice(&[1], &[-7]));
        let weights = parse(&file(&header("I64"), &(1_i64 << 40).to_le_bytes())).unwrap();
        let error = weights.tensor("a").unwrap_err();
        assert!(matches!(*error.fault, Fault::NotRepresentable { .. }), "{error}");
        let weights = parse(&file(&header("U64"), &[0; 8])).unwrap();
        let error = weights.tensor("a").unwrap_err();
        assert!(matches!(*error.fault, Fault::Unsupported { .. }), "{error}");
        let boolean = r#"{"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}"#;
        let error = parse(&file(boolean, &[2])).unwrap().tensor("a").unwrap_err();
        assert!(matches!(*error.fault, Fault::Malformed { .. }), "{error}");
    }

    #[test]
    fn damaged_headers_are_refused() {
        let tensor = Tensor::from_slice(&[2], &[1_i32, 2]);
        let whole = written(&[("a", &tensor)], &BTreeMap::new());
        for length in 0..whole.len() {
            let error = parse(&whole[..length]).unwrap_err();
            assert!(matches!(*error.fault, Fault::Malformed { .. }), "{error}");
        }
        assert!(parse(&[whole, vec![0]].concat()).is_err());
        let huge = u64::MAX.to_le_bytes();
        assert!(parse(&huge).is_err());
        let shape = "[1152921504606846976,1152921504606846976]";
        let header = format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,8]}}}}"#);
        assert!(parse(&file(&header, &[0; 8])).is_err());
        let empty = "[2305843009213693952,0]"; // 2^61
        let header = format!(r#"{{"a":{{"dtype":"F64","shape":{empty},"data_offsets":[0,0]}}}}"#);
        assert!(parse(&file(&header, &[])).is_err());
        let end = r#"{"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}}"#;
        assert!(parse(&file(end, &[0; 8])).is_err());
        assert!(parse(&file(&"[".repeat(50_000), &[])).is_err());
    }

    #[test]
    fn a_missing_file_and_a_folder_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let error = Weights::read(folder.path()).unwrap_err();
        assert!(matches!(*error.fault, Fault::NotAFile), "{error}");
        let error = Weights::read(&folder.path().join("none.safetensors")).unwrap_err();
        assert!(matches!(*error.fault, Fault::Io { .. }), "{error}");
    }

    #[test]
    fn damaged_files_never_panic() {
        let (float, int) =
            (Tensor::from_slice(&[2], &[0.5_f32; 2]), Tensor::from_slice(&[3], &[1; 3]));
        let metadata = BTreeMap::from([("seed".to_string(), "1".to_string())]);
        let empty = Tensor::from_slice::<f64>(&[4, 0], &[]);
        let seeds = [
            written(&[("a.b", &float), ("c", &int), ("d", &empty)], &metadata),
            written(&[("a", &float)], &BTreeMap::new()),
            written(&[("c", &int), ("d", &empty)], &BTreeMap::new()),
            file(r#"{"a":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}"#, &[0; 16]),
            file(r#"{"a":{"dtype":"BOOL","shape":[1,3],"data_offsets":[0,3]}}"#, &[0, 1, 0]),
        ];
        // The length of the header, which ends with a brace.
        let repair = |bytes: &mut Vec<u8>| {
            let end = bytes.iter().skip(8).rposition(|&byte| byte == b'}');
            if let Some(end) = end {
                bytes[..8].copy_from_slice(&(end as u64 + 1).to_le_bytes());
            }
        };
        testing::fuzz(&seeds, repair, |bytes| {
            if let Ok(weights) = parse(bytes) {
                for name in weights.names() {
                    drop(weights.tensor(&name));
                }
            }
        });
    }
}
