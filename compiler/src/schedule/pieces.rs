//! Cutting a kernel's domain into pieces: a function of the shape and the predicted cost only,
//! never of the number of threads.

use crate::kernel::loops::Range;

/// Predicted nanoseconds that a piece should take, and half of which it takes at least: well above
/// the cost of calling it.
const PIECE_NANOSECONDS: f64 = 4_000.0;

/// Most pieces of a kernel: enough to balance 16 threads.
const MAX_PIECES: usize = 64;

/// What decides on the pieces of a kernel.
#[derive(Clone, Copy, Debug)]
pub enum Cutting {
    /// They are worth their while: its predicted nanoseconds on one thread.
    Cost(f64),
    /// This axis is cut into parts of this height, and nothing else is.
    Bands {
        /// The axis of the kernel's domain.
        axis: usize,
        /// Indices per piece.
        height: usize,
    },
}

/// An axis that may be cut.
#[derive(Clone, Copy, Debug)]
pub struct Cuttable {
    /// Its number in the kernel's domain.
    pub axis: usize,
    /// Number of indices.
    pub extent: usize,
    /// Indices per piece are a multiple of this.
    pub granularity: usize,
    /// Most indices per piece, if pieces must not be larger (for buffers in cache).
    pub most: Option<usize>,
}

/// The range of each axis, outermost first, and the number of pieces.
pub fn cut(axes: &[Cuttable], cutting: Cutting) -> (Vec<Range>, usize) {
    match cutting {
        Cutting::Cost(nanoseconds) => cut_by_cost(axes, nanoseconds),
        Cutting::Bands { axis, height } => {
            let range = |cuttable: &Cuttable| {
                let &Cuttable { axis: own, extent, .. } = cuttable;
                match extent.div_ceil(height) {
                    count if own == axis && count > 1 => {
                        Range::Piece { count, inner: 1, chunk: height, extent }
                    }
                    _ => Range::Fixed { start: 0, end: extent },
                }
            };
            let own = axes.iter().find(|cuttable| cuttable.axis == axis);
            let pieces = own.map_or(1, |cuttable| cuttable.extent.div_ceil(height));
            (axes.iter().map(range).collect(), pieces)
        }
    }
}

fn cut_by_cost(axes: &[Cuttable], nanoseconds: f64) -> (Vec<Range>, usize) {
    // A power of two: three pieces would keep one of two threads busy twice as long as the other.
    let worthwhile = ((nanoseconds / PIECE_NANOSECONDS) as usize).clamp(1, MAX_PIECES);
    let mut wanted = worthwhile.next_power_of_two();
    let mut parts = Vec::with_capacity(axes.len());
    for axis in axes {
        let units = axis.extent.div_ceil(axis.granularity).max(1);
        let mut chunk = units.div_ceil(wanted.min(units)) * axis.granularity;
        if let Some(most) = axis.most {
            chunk = chunk.min(most.next_multiple_of(axis.granularity));
        }
        let count = axis.extent.div_ceil(chunk).max(1);
        wanted = wanted.div_ceil(count);
        parts.push((count, chunk));
    }
    let mut inner = parts.iter().map(|(count, _)| count).product::<usize>();
    let pieces = inner;
    let ranges = axes
        .iter()
        .zip(parts)
        .map(|(axis, (count, chunk))| {
            inner /= count;
            match count {
                1 => Range::Fixed { start: 0, end: axis.extent },
                _ => Range::Piece { count, inner, chunk, extent: axis.extent },
            }
        })
        .collect();
    (ranges, pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(extent: usize) -> Cuttable {
        Cuttable { axis: 0, extent, granularity: 1, most: None }
    }

    #[test]
    fn little_work_is_one_piece() {
        let (ranges, pieces) = cut(&[axis(100), axis(512)], Cutting::Cost(1_000.0));
        assert_eq!(pieces, 1);
        assert_eq!(ranges[1], Range::Fixed { start: 0, end: 512 });
    }

    #[test]
    fn a_short_outer_axis_passes_the_cutting_on() {
        let (ranges, pieces) = cut(&[axis(3), axis(1000)], Cutting::Cost(80_000.0));
        assert_eq!(pieces, 33);
        assert_eq!(ranges[0], Range::Piece { count: 3, inner: 11, chunk: 1, extent: 3 });
        assert_eq!(ranges[1], Range::Piece { count: 11, inner: 1, chunk: 91, extent: 1000 });
    }

    #[test]
    fn pieces_divide_among_two_threads() {
        for nanoseconds in [9_000.0, 13_000.0, 22_000.0, 300_000.0] {
            let (_, pieces) = cut(&[axis(4096)], Cutting::Cost(nanoseconds));
            assert!(pieces.is_power_of_two() && pieces > 1, "{pieces}");
        }
    }

    #[test]
    fn chunks_keep_to_granularity_and_limit() {
        let axis = Cuttable { axis: 0, extent: 10_000, granularity: 512, most: Some(1024) };
        let (ranges, pieces) = cut(&[axis], Cutting::Cost(1_000.0));
        assert_eq!(pieces, 10);
        assert_eq!(ranges[0], Range::Piece { count: 10, inner: 1, chunk: 1024, extent: 10_000 });
    }

    #[test]
    fn bands_cut_their_axis_only() {
        let axes = [3, 32, 500].map(|extent| Cuttable { axis: extent % 7, ..axis(extent) });
        let (ranges, pieces) = cut(&axes, Cutting::Bands { axis: 4, height: 12 });
        assert_eq!(pieces, 3);
        let band = Range::Piece { count: 3, inner: 1, chunk: 12, extent: 32 };
        let whole = |end| Range::Fixed { start: 0, end };
        assert_eq!(ranges, [whole(3), band, whole(500)]);
    }
}
