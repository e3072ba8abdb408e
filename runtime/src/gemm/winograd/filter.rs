//! Minimal filtering along one axis: `F(2, 3)` at the points 0, 1, -1 and infinity, `F(4, 3)` also at
//! 2 and -2. `SIDE` elements of an input become as many points, and these `TILE` results, two fewer.

use crate::gemm::vector::Vector;

/// The transform of inputs, `B^T d`.
#[inline(always)]
pub(super) fn of_inputs<V: Vector<Element = f32>, const SIDE: usize>(d: [V; SIDE]) -> [V; SIDE] {
    let mut points = d;
    if SIDE == 4 {
        points[0] = d[0] - d[2];
        points[1] = d[1] + d[2];
        points[2] = d[2] - d[1];
        points[3] = d[1] - d[3];
    } else {
        let (even, odd) = (d[4] - d[2] * 4.0, d[3] - d[1] * 4.0);
        let (far_even, far_odd) = (d[4] - d[2], (d[3] - d[1]) * 2.0);
        points[0] = d[0] * 4.0 - d[2] * 5.0 + d[4];
        points[1] = even + odd;
        points[2] = even - odd;
        points[3] = far_even + far_odd;
        points[4] = far_even - far_odd;
        points[5] = d[1] * 4.0 - d[3] * 5.0 + d[5];
    }
    points
}

/// The transform of a kernel's three taps, `G g`.
#[inline(always)]
pub(super) fn of_kernel<V: Vector<Element = f32>, const SIDE: usize>(
    [a, b, c]: [V; 3],
) -> [V; SIDE] {
    let mut points = [a; SIDE];
    if SIDE == 4 {
        let (outer, inner) = ((a + c) * 0.5, b * 0.5);
        points[1] = outer + inner;
        points[2] = outer - inner;
    } else {
        let (outer, inner) = ((a + c) * (-1.0 / 6.0), b * (1.0 / 6.0));
        let (far_outer, far_inner) = (a * (1.0 / 24.0) + c * (1.0 / 6.0), b * (1.0 / 12.0));
        points[0] = a * 0.25;
        points[1] = outer - inner;
        points[2] = outer + inner;
        points[3] = far_outer + far_inner;
        points[4] = far_outer - far_inner;
    }
    points[SIDE - 1] = c;
    points
}

/// The transform back to results, `A^T m`.
#[inline(always)]
pub(super) fn of_points<V: Vector<Element = f32>, const SIDE: usize, const TILE: usize>(
    m: [V; SIDE],
) -> [V; TILE] {
    let mut results = [m[0]; TILE];
    if SIDE == 4 {
        results[0] = m[0] + m[1] + m[2];
        results[1] = m[1] - m[2] - m[3];
    } else {
        let (sum, difference) = (m[1] + m[2], m[1] - m[2]);
        let (far_sum, far_difference) = (m[3] + m[4], m[3] - m[4]);
        results[0] = m[0] + sum + far_sum;
        results[1] = difference + far_difference * 2.0;
        results[2] = sum + far_sum * 4.0;
        results[3] = difference + far_difference * 8.0 + m[5];
    }
    results
}

/// The transform of cotangents of `F(2, 3)`, `A dy`.
#[inline(always)]
pub(super) fn of_cotangents<V: Vector<Element = f32>>([a, b]: [V; 2]) -> [V; 4] {
    [a, a + b, a - b, -b]
}

/// The transform of sums of `F(2, 3)` to gradients of taps, `G^T m`.
#[inline(always)]
pub(super) fn of_sums<V: Vector<Element = f32>>(m: [V; 4]) -> [V; 3] {
    let (sum, difference) = ((m[1] + m[2]) * 0.5, (m[1] - m[2]) * 0.5);
    [m[0] + sum, difference, sum + m[3]]
}

/// Element `place` of each column: a row.
#[inline(always)]
pub(super) fn row<V: Copy, const ROWS: usize, const COLUMNS: usize>(
    columns: &[[V; ROWS]; COLUMNS],
    place: usize,
) -> [V; COLUMNS] {
    let mut row = [columns[0][0]; COLUMNS];
    for (element, column) in row.iter_mut().zip(columns) {
        *element = column[place];
    }
    row
}
