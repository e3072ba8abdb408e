//! Samples in memory, ready to be gathered into batches.

use cygnet_runtime::tensor::Tensor;

use super::conform;
use super::error::DataError;
use super::raw::{Origin, RawField};
use super::source::Classes;

/// One field of all samples.
#[derive(Debug, Clone)]
pub struct Field {
    name: String,
    tensor: Tensor,
    classes: Option<Vec<String>>,
    origin: Origin,
}

impl Field {
    pub(super) fn new(name: &str, raw: RawField) -> Field {
        let RawField { tensor, classes, origin } = raw;
        Field { name: name.to_string(), tensor, classes, origin }
    }

    /// The name from the `data` clause.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The values of all samples, the samples along the first axis.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The texts that stand for labels 0, 1, ..., if the file spelled the labels out.
    pub fn class_names(&self) -> Option<&[String]> {
        self.classes.as_deref()
    }

    /// Bytes that a sample takes.
    pub fn sample_size(&self) -> usize {
        let shape = self.tensor.shape();
        shape[1..].iter().product::<usize>() * self.tensor.dtype().size()
    }

    fn at_rows(&self, rows: &[u32]) -> Field {
        let shape = [&[rows.len()], &self.tensor.shape()[1..]].concat();
        let mut tensor = Tensor::zeros(self.tensor.dtype(), &shape);
        self.gather(rows, tensor.bytes_mut());
        let Field { name, classes, origin, .. } = self;
        Field { name: name.clone(), tensor, classes: classes.clone(), origin: origin.clone() }
    }

    fn gather(&self, rows: &[u32], out: &mut [u8]) {
        let size = self.sample_size();
        assert_eq!(out.len(), size * rows.len(), "the destination holds the gathered samples");
        let bytes = self.tensor.bytes();
        // An empty sample has no bytes to copy, and zero is no size of a chunk.
        for (sample, &row) in out.chunks_exact_mut(size.max(1)).zip(rows) {
            sample.copy_from_slice(&bytes[row as usize * size..][..size]);
        }
    }
}

/// A set of samples: named fields with the samples along the first axis of each.
#[derive(Debug, Clone)]
pub struct Dataset {
    fields: Vec<Field>,
    /// For each sample its position in the files, so that errors can name it.
    rows: Vec<u32>,
}

impl Dataset {
    /// All samples of `fields`, of which there is at least one.
    pub(super) fn whole(fields: Vec<Field>) -> Dataset {
        let rows = 0..fields[0].tensor.shape()[0] as u32;
        Dataset { fields, rows: rows.collect() }
    }

    /// The samples of `fields` at the positions `first` and those at `second`.
    pub(super) fn split(
        fields: Vec<Field>,
        first: Vec<u32>,
        second: Vec<u32>,
    ) -> (Dataset, Dataset) {
        // Each field is dropped before the next is cut: only one is in memory twice.
        let cut = |field: Field| (field.at_rows(&first), field.at_rows(&second));
        let (one, other) = fields.into_iter().map(cut).unzip();
        (Dataset { fields: one, rows: first }, Dataset { fields: other, rows: second })
    }

    /// The samples at the positions `first`, and those at `second`.
    pub(super) fn divided(&self, first: &[u32], second: &[u32]) -> (Dataset, Dataset) {
        let part = |positions: &[u32]| Dataset {
            fields: self.fields.iter().map(|field| field.at_rows(positions)).collect(),
            rows: positions.iter().map(|&position| self.rows[position as usize]).collect(),
        };
        (part(first), part(second))
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The fields, in the order of the `data` clause without those called `_`.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The position of the field `name` in [`Dataset::fields`].
    pub fn field_index(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// Copies the samples at `indices` of the field at position `field` into `out`, one behind
    /// the other: a batch, straight into its place in the arena.
    ///
    /// # Panics
    /// If there is no such field, an index is not below [`Dataset::len`], or `out` does not have
    /// [`Field::sample_size`] bytes for each index.
    pub fn gather(&self, field: usize, indices: &[u32], out: &mut [u8]) {
        self.fields[field].gather(indices, out);
    }

    /// Makes sure that the field at position `field` holds labels of `classes`.
    ///
    /// # Errors
    /// The first label that is not, with its place in the file.
    ///
    /// # Panics
    /// If there is no such field.
    pub fn check_labels(&self, field: usize, classes: Classes) -> Result<(), DataError> {
        let Field { name, tensor, origin, .. } = &self.fields[field];
        conform::check_labels(tensor, classes, |sample| self.rows[sample] as usize, origin)
            .map_err(|error| error.for_field(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::error::Fault;
    use crate::data::raw::Places;

    fn field(name: &str, tensor: Tensor) -> Field {
        let origin = Origin { path: None, places: Places::Unknown };
        Field::new(name, RawField { tensor, classes: None, origin })
    }

    fn fields() -> Vec<Field> {
        let x: Vec<i32> = (0..10).collect();
        vec![
            field("x", Tensor::from_slice(&[5, 2], &x)),
            field("y", Tensor::from_slice(&[5], &[10_u8, 11, 12, 13, 14])),
        ]
    }

    #[test]
    fn batches_are_gathered_in_the_order_of_the_indices() {
        let data = Dataset::whole(fields());
        let mut x = Tensor::zeros(data.fields()[0].tensor().dtype(), &[3, 2]);
        data.gather(0, &[4, 0, 4], x.bytes_mut());
        assert_eq!(x.as_slice::<i32>(), [8, 9, 0, 1, 8, 9]);
        let mut y = [0; 2];
        data.gather(data.field_index("y").unwrap(), &[1, 3], &mut y);
        assert_eq!(y, [11, 13]);
        assert_eq!(data.field_index("z"), None);
    }

    #[test]
    fn a_split_keeps_fields_together() {
        let (train, test) = Dataset::split(fields(), vec![0, 2, 4], vec![1, 3]);
        assert_eq!((train.len(), test.len()), (3, 2));
        assert_eq!(train.fields()[0].tensor().as_slice::<i32>(), [0, 1, 4, 5, 8, 9]);
        assert_eq!(test.fields()[1].tensor().bytes(), [11, 13]);
    }

    #[test]
    fn a_label_out_of_range_is_named_by_its_place_in_the_file() {
        let (_, test) = Dataset::split(fields(), vec![0, 2, 4], vec![1, 3]);
        let classes = |count, ignored| Classes { count, ignored };
        assert!(test.check_labels(1, classes(14, None)).is_ok());
        assert!(test.check_labels(1, classes(13, Some(13))).is_ok());
        let error = test.check_labels(1, classes(13, Some(255))).unwrap_err();
        assert!(matches!(*error.fault, Fault::LabelOutOfRange { label: 13, .. }), "{error}");
        assert!(error.to_string().starts_with("sample 3: "), "{error}");
        assert_eq!(error.field.as_deref(), Some("y"));
    }
}
