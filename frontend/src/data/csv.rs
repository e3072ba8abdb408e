//! Tables as comma-separated values (RFC 4180): a line with the names of the columns, then one
//! sample a line. A UTF-8 byte-order mark is skipped; the file may be compressed with gzip.

use std::collections::BTreeMap;
use std::io::Read;

use ::csv::{ByteRecord, ErrorKind, ReaderBuilder, Terminator};

use super::error::{DataError, Fault, Place};
use super::input::Input;

/// What is done with a row in which a value is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is an error.
    Refuse,
    /// The row is left out.
    Drop,
    /// The number becomes NaN, for the caller to fill in; a missing target is still an error.
    Mark,
}

/// How a column is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Not at all; it may hold anything.
    Skip,
    /// As numbers.
    Number,
    /// As numbers or, if no cell is one, as the names of classes.
    Target,
}

/// The cells of a column, without those of dropped rows.
#[derive(Debug, PartialEq)]
pub(super) enum Column {
    Skipped,
    Numbers(Vec<f64>),
    /// Per row the position of its text in `names`, which is sorted.
    Classes {
        codes: Vec<i32>,
        names: Vec<String>,
    },
}

/// A table in memory, by columns. It takes at most eight bytes a cell plus the texts of classes.
#[derive(Debug)]
pub(super) struct Table {
    /// The names of all columns, from the first line.
    pub(super) names: Vec<String>,
    /// The columns, in the order of the names.
    pub(super) columns: Vec<Column>,
    /// The line in the file of each row.
    pub(super) lines: Vec<u64>,
}

/// Reads a table. `assign` gets the names of the columns and says how each is to be read.
///
/// # Errors
/// If the file cannot be read or is not such a table, if `assign` fails, if a cell is missing or
/// is not what its column must hold.
pub(super) fn read(
    mut input: Input<'_>,
    delimiter: u8,
    missing: Missing,
    assign: impl FnOnce(&[String]) -> Result<Vec<Role>, Fault>,
) -> Result<Table, DataError> {
    let path = input.path().to_path_buf();
    // Only line feeds end a row, so that lines are counted rightly: a carriage return before one
    // is trimmed from the last cell like a space. The added one ends a last line without any.
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .terminator(Terminator::Any(b'\n'))
        .flexible(true)
        .from_reader(input.by_ref().chain(&b"\n"[..]));
    let mut rows = Rows { missing, names: Vec::new(), columns: Vec::new(), lines: Vec::new() };
    let header = reader.byte_headers().cloned();
    let outcome = header.map_err(Stop::Csv).and_then(|header| {
        rows.start(&header, assign)?;
        let mut record = ByteRecord::new();
        while reader.read_byte_record(&mut record)? {
            let within: usize = record.iter().map(|cell| count(cell, b'\n')).sum();
            let line = reader.position().line().saturating_sub(1 + within as u64);
            rows.push(&record, line)?;
        }
        Ok(())
    });
    drop(reader);
    match outcome {
        Ok(()) => {}
        Err(Stop::Fault(fault, place)) => return Err(DataError::in_file(&path, fault).at(place)),
        Err(Stop::Csv(error)) => return Err(translate(error, &input)),
    }
    let lines = rows.lines;
    let columns = rows.columns.into_iter().zip(&rows.names).map(|(column, name)| {
        column.finish().map_err(|(row, text)| {
            let place = Place::Cell { line: lines[row], column: name.clone() };
            let fault = Fault::NotANumber { text, target: true };
            DataError::in_file(&path, fault).at(place)
        })
    });
    let columns = columns.collect::<Result<_, _>>()?;
    Ok(Table { names: rows.names, columns, lines })
}

/// Why reading stopped.
enum Stop {
    Csv(::csv::Error),
    Fault(Fault, Place),
}

impl From<::csv::Error> for Stop {
    fn from(error: ::csv::Error) -> Stop {
        Stop::Csv(error)
    }
}

fn translate(error: ::csv::Error, input: &Input<'_>) -> DataError {
    match error.into_kind() {
        ErrorKind::Io(error) => input.io_error(error),
        other => {
            let reason = format!("{other:?}");
            DataError::in_file(input.path(), Fault::Malformed { format: "CSV", reason })
        }
    }
}

fn count(bytes: &[u8], wanted: u8) -> usize {
    bytes.iter().filter(|&&byte| byte == wanted).count()
}

/// The text of a cell.
fn text(cell: &[u8]) -> Result<&str, Fault> {
    str::from_utf8(cell).map(str::trim).map_err(|_| Fault::NotUtf8)
}

/// The rows read so far.
struct Rows {
    missing: Missing,
    names: Vec<String>,
    columns: Vec<Cells>,
    lines: Vec<u64>,
}

/// A column that is still growing.
enum Cells {
    Skipped,
    Numbers(Vec<f64>),
    /// Per row a code, and the codes in the order in which the texts appeared.
    Texts(Vec<i32>, BTreeMap<String, i32>),
}

impl Rows {
    fn start(
        &mut self,
        header: &ByteRecord,
        assign: impl FnOnce(&[String]) -> Result<Vec<Role>, Fault>,
    ) -> Result<(), Stop> {
        let names = header.iter().map(|cell| text(cell).map(str::to_string));
        names
            .collect::<Result<_, _>>()
            .and_then(|names| {
                self.names = names;
                check_header(&self.names)?;
                self.columns = assign(&self.names)?.into_iter().map(Cells::new).collect();
                Ok(())
            })
            .map_err(|fault| Stop::Fault(fault, Place::Line(1)))
    }

    fn push(&mut self, record: &ByteRecord, line: u64) -> Result<(), Stop> {
        if record.len() != self.names.len() {
            // The reader skips empty lines, but not those with a carriage return.
            if record.iter().all(|cell| cell.trim_ascii().is_empty()) && record.len() == 1 {
                return Ok(());
            }
            let (found, expected) = (record.len(), self.names.len());
            return Err(Stop::Fault(Fault::RaggedRow { found, expected }, Place::Line(line)));
        }
        if self.missing == Missing::Drop {
            let mut cells = self.columns.iter().zip(record);
            if cells.any(|(column, cell)| column.is_read() && text(cell).is_ok_and(is_missing)) {
                return Ok(());
            }
        }
        for (index, (column, cell)) in self.columns.iter_mut().zip(record).enumerate() {
            let pushed = text(cell).and_then(|text| column.push(text, self.missing));
            pushed.map_err(|fault| {
                let column = self.names[index].clone();
                Stop::Fault(fault, Place::Cell { line, column })
            })?;
        }
        self.lines.push(line);
        Ok(())
    }
}

fn check_header(names: &[String]) -> Result<(), Fault> {
    let is_number = |name: &String| name.parse::<f64>().is_ok();
    if !names.is_empty() && names.iter().all(is_number) {
        return Err(Fault::NoHeader);
    }
    if let [name] = names
        && let Some(found) = name.chars().find(|c| matches!(c, ',' | ';' | '\t' | '|'))
    {
        return Err(Fault::WrongDelimiter { found });
    }
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Fault::DuplicateColumn { name: pair[0].clone() }),
        None => Ok(()),
    }
}

/// Whether a cell is empty or holds one of the usual marks for a missing value.
fn is_missing(text: &str) -> bool {
    text.is_empty() || text == "?" || ["na", "nan", "null"].contains(&&*text.to_ascii_lowercase())
}

impl Cells {
    fn new(role: Role) -> Cells {
        match role {
            Role::Skip => Cells::Skipped,
            Role::Number => Cells::Numbers(Vec::new()),
            Role::Target => Cells::Texts(Vec::new(), BTreeMap::new()),
        }
    }

    fn is_read(&self) -> bool {
        !matches!(self, Cells::Skipped)
    }

    fn push(&mut self, text: &str, missing: Missing) -> Result<(), Fault> {
        match self {
            Cells::Skipped => {}
            Cells::Numbers(numbers) => numbers.push(match number(text)? {
                Some(number) => number,
                None if missing == Missing::Mark => f64::NAN,
                None => return Err(Fault::Missing { text: text.to_string(), target: false }),
            }),
            Cells::Texts(..) if is_missing(text) => {
                return Err(Fault::Missing { text: text.to_string(), target: true });
            }
            Cells::Texts(codes, texts) => {
                let code = match texts.get(text) {
                    Some(&code) => code,
                    // Codes stay within `i32`: a table has fewer rows than a file has bytes, and
                    // two billion distinct texts do not fit in memory.
                    None => {
                        let code = texts.len() as i32;
                        texts.insert(text.to_string(), code);
                        code
                    }
                };
                codes.push(code);
            }
        }
        Ok(())
    }

    /// The finished column. Fails with the row and text of a cell that is no number if others are.
    fn finish(self) -> Result<Column, (usize, String)> {
        let (codes, texts) = match self {
            Cells::Skipped => return Ok(Column::Skipped),
            Cells::Numbers(numbers) => return Ok(Column::Numbers(numbers)),
            Cells::Texts(codes, texts) => (codes, texts),
        };
        let mut numbers = vec![None; texts.len()];
        let mut ranks = vec![0; texts.len()];
        for (rank, (text, &code)) in (0..).zip(&texts) {
            numbers[code as usize] = number(text).ok().flatten();
            ranks[code as usize] = rank;
        }
        let is_text = |&code: &i32| numbers[code as usize].is_none();
        if let Some(values) = numbers.iter().copied().collect::<Option<Vec<f64>>>() {
            return Ok(Column::Numbers(codes.iter().map(|&code| values[code as usize]).collect()));
        }
        if !codes.iter().all(is_text) {
            let row = codes.iter().position(is_text).unwrap_or_default();
            let text = texts.into_iter().find(|(_, code)| *code == codes[row]);
            return Err((row, text.map(|(text, _)| text).unwrap_or_default()));
        }
        let codes = codes.iter().map(|&code| ranks[code as usize]).collect();
        Ok(Column::Classes { codes, names: texts.into_keys().collect() })
    }
}

/// The finite number that `text` spells; none if it is missing.
fn number(text: &str) -> Result<Option<f64>, Fault> {
    if is_missing(text) {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Some(value)),
        Ok(value) => Err(Fault::NotFinite { value }),
        Err(_) => Err(Fault::NotANumber { text: text.to_string(), target: false }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::testing;

    /// The last column is the target, columns called `skip` are left out.
    fn roles(names: &[String]) -> Result<Vec<Role>, Fault> {
        let role = |(index, name): (usize, &String)| match name.as_str() {
            "skip" => Role::Skip,
            _ if index + 1 == names.len() => Role::Target,
            _ => Role::Number,
        };
        Ok(names.iter().enumerate().map(role).collect())
    }

    fn parse(text: &str, missing: Missing) -> Result<Table, DataError> {
        read(testing::input(text.as_bytes()), b',', missing, roles)
    }

    fn refusal(text: &str) -> String {
        parse(text, Missing::Refuse).unwrap_err().to_string()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            rows in proptest::collection::vec((any::<f64>(), -5_i32..5, "[a-z ,\"]{0,6}x"), 1..9),
        ) {
            let finite = |v: f64| if v.is_finite() { v } else { 0.0 };
            let mut writer = ::csv::Writer::from_writer(Vec::new());
            writer.write_record(["float", "int", "class"]).unwrap();
            for (float, int, class) in &rows {
                let cells = [finite(*float).to_string(), int.to_string(), class.clone()];
                writer.write_record(&cells).unwrap();
            }
            let bytes = writer.into_inner().unwrap();
            let gzip = testing::gzip(&bytes);
            for file in [&bytes, &gzip] {
                let table = read(testing::input(file), b',', Missing::Refuse, roles).unwrap();
                let floats = rows.iter().map(|row| finite(row.0)).collect();
                let ints = rows.iter().map(|row| f64::from(row.1)).collect();
                prop_assert_eq!(&table.columns[0], &Column::Numbers(floats));
                prop_assert_eq!(&table.columns[1], &Column::Numbers(ints));
                let Column::Classes { codes, names } = &table.columns[2] else { panic!() };
                prop_assert!(names.is_sorted());
                for (row, &code) in rows.iter().zip(codes) {
                    prop_assert_eq!(row.2.trim(), &names[code as usize]);
                }
            }
        }
    }

    #[test]
    fn lines_are_counted_from_one_whatever_ends_them() {
        let quoted = "a,y\n\n\"1\",\"first\nsecond\"\n3,x\n\n\n4,x";
        for text in [quoted.to_string(), quoted.replace('\n', "\r\n"), format!("{quoted}\n")] {
            let table = parse(&text, Missing::Refuse).unwrap();
            assert_eq!(table.lines, [3, 5, 8]);
            assert_eq!(table.columns[0], Column::Numbers(vec![1.0, 3.0, 4.0]));
        }
    }

    #[test]
    fn mark_quotes_blank_lines_and_carriage_returns_are_understood() {
        let table =
            parse("\u{feff}a,\"b, c\",\"y\"\r\n1, 2.5 ,3\r\n\r\n\"4\",5e-1,6", Missing::Refuse)
                .unwrap();
        assert_eq!(table.names, ["a", "b, c", "y"]);
        assert_eq!(table.columns[1], Column::Numbers(vec![2.5, 0.5]));
        assert_eq!(table.columns[2], Column::Numbers(vec![3.0, 6.0]));
        assert_eq!(table.lines, [2, 4]);
    }

    #[test]
    fn classes_are_numbered_in_sorted_order() {
        let table = parse("a,y\n1,pear\n2,apple\n3,pear\n4,fig", Missing::Refuse).unwrap();
        let names = ["apple", "fig", "pear"].map(str::to_string).to_vec();
        assert_eq!(table.columns[1], Column::Classes { codes: vec![2, 0, 2, 1], names });
    }

    #[test]
    fn missing_values_are_refused_dropped_or_marked() {
        let text = "a,b,y\n1,2,3\n4,,6\n7,NA,9\n?,8,9";
        assert_eq!(
            refusal(text),
            "test, line 3, column `b`: the value is missing (the cell holds \"\")"
        );
        let dropped = parse(text, Missing::Drop).unwrap();
        assert_eq!(dropped.columns[0], Column::Numbers(vec![1.0]));
        assert_eq!(dropped.lines, [2]);
        let marked = parse(text, Missing::Mark).unwrap();
        let Column::Numbers(b) = &marked.columns[1] else { panic!() };
        assert_eq!(b.iter().map(|v| v.is_nan()).collect::<Vec<_>>(), [false, true, true, false]);
        let target = parse("a,y\n1,\n", Missing::Mark).unwrap_err();
        assert!(matches!(*target.fault, Fault::Missing { .. }), "{target}");
    }

    #[test]
    fn skipped_columns_may_hold_anything() {
        let table = parse("a,skip,y\n1,,3\n2,text,4", Missing::Drop).unwrap();
        assert_eq!(table.columns[1], Column::Skipped);
        assert_eq!(table.lines, [2, 3]);
    }

    #[test]
    fn bad_cells_are_shown_with_line_and_column() {
        assert_eq!(refusal("a,y\n1,2\nx,2"), "test, line 3, column `a`: \"x\" is not a number");
        assert_eq!(refusal("a,y\n1,2\n-inf,2"), "test, line 3, column `a`: the value is -inf");
        assert_eq!(
            refusal("a,y\n1,2\n1,1\n1,1o"),
            "test, line 4, column `y`: \"1o\" is not a number"
        );
        assert_eq!(
            refusal("a,y\n1,2,3"),
            "test, line 2: this row has 3 cells, the first line has 2"
        );
    }

    #[test]
    fn bad_headers_are_refused() {
        assert_eq!(
            refusal("1,2\n3,4"),
            "test, line 1: the first line must name the columns, but it holds only numbers"
        );
        assert_eq!(refusal("a,b,a\n1,2,3"), "test, line 1: two columns are named `a`");
        let error = parse("a;b\n1;2", Missing::Refuse).unwrap_err();
        assert_eq!(error.remedy(), "pass the delimiter: delimiter: \";\"");
    }

    #[test]
    fn text_that_is_not_utf8_is_refused() {
        let bytes = b"a,y\n1,2\n\xff,3";
        let error = read(testing::input(bytes), b',', Missing::Refuse, roles).unwrap_err();
        assert!(
            error.to_string().starts_with("test, line 3, column `a`: this is not UTF-8"),
            "{error}"
        );
    }

    #[test]
    fn a_cut_compressed_file_is_refused() {
        let whole = testing::gzip(b"a,y\n1,2\n3,4\n");
        let bytes = &whole[..whole.len() - 6];
        let error = read(testing::input(bytes), b',', Missing::Refuse, roles).unwrap_err();
        assert!(matches!(*error.fault, Fault::Gzip { .. }), "{error}");
    }

    #[test]
    fn damaged_files_never_panic() {
        let text = "\u{feff}a,\"b c\",skip,y\n1,2.5,,x\r\n-1e3,0,\"q\"\"q\",y\n4,,z,x\n";
        let seeds = [testing::gzip(text.as_bytes()), text.as_bytes().to_vec()];
        testing::fuzz(
            &seeds,
            |_| (),
            |bytes| {
                for missing in [Missing::Refuse, Missing::Drop, Missing::Mark] {
                    drop(read(testing::input(bytes), b',', missing, roles));
                }
            },
        );
    }
}
