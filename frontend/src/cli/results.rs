//! Results over samples as text: numbers on a line, tensors as tables.

use crate::train::{MetricValue, Metrics};

/// The numbers on a line.
pub fn line(metrics: &Metrics) -> String {
    let numbers = metrics.iter().filter_map(|(name, value)| Some((name, value.number()?)));
    let parts: Vec<String> = numbers.map(|(name, value)| format!("{name} {value:.4}")).collect();
    parts.join("  ")
}

/// A table for each tensor, in the order of the names.
pub fn tables(metrics: &Metrics) -> Vec<String> {
    let tensors = metrics.iter().filter(|(_, value)| value.number().is_none());
    tensors.map(|(name, value)| table(name, value)).collect()
}

/// A tensor under its name: a row for each place along the first axis, with its number, and a
/// column for each place along the others.
fn table(name: &str, value: &MetricValue) -> String {
    let (rows, columns) = match value.shape() {
        [rows, columns @ ..] => (*rows, columns.iter().product()),
        [] => (1, 1),
    };
    let whole = value.values().iter().all(|value| value.fract() == 0.0);
    let shown = |value: f64| if whole { format!("{value}") } else { format!("{value:.4}") };
    let mut cells: Vec<Vec<String>> = (0..rows)
        .map(|row| {
            let values = &value.values()[row * columns..][..columns];
            let values = values.iter().map(|&value| shown(value));
            std::iter::once(row.to_string()).chain(values).collect()
        })
        .collect();
    if value.shape().len() > 1 {
        let numbers = (0..columns).map(|column| column.to_string());
        cells.insert(0, std::iter::once(String::new()).chain(numbers).collect());
    }
    format!("{name}\n{}", aligned(&cells))
}

/// Rows of as many cells each, with the columns aligned on the right.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("  {cell:>width$}"));
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use cygnet_runtime::tensor::Tensor;

    use super::*;

    #[test]
    fn numbers_stand_on_a_line_and_tensors_in_tables() {
        let scores = Tensor::from_slice(&[3], &[0.5, 1.0, 0.25]);
        let counts = Tensor::from_slice(&[2, 2], &[10.0, 2.0, 0.0, 7.0]);
        let metrics = Metrics::from([
            ("accuracy".to_owned(), 0.9.into()),
            ("f1".to_owned(), MetricValue::from(&scores)),
            ("confusion".to_owned(), MetricValue::from(&counts)),
        ]);
        assert_eq!(line(&metrics), "accuracy 0.9000");
        insta::assert_snapshot!(tables(&metrics).join("\n"), @r"
        confusion
              0  1
          0  10  2
          1   0  7
        f1
          0  0.5000
          1  1.0000
          2  0.2500
        ");
    }
}
