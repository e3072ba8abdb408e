//! Kernels of an instruction set of x86-64: the generic bodies, compiled with its features.

/// Defines the kernels `outer`, `dot`, `copy`, `transpose`, `along` and `across` of an f32 vector type for a
/// processor with these features. The module has `sums`, see [`sums!`].
macro_rules! compiled {
    ($vector:ty, $features:literal) => {
        const LANES: usize = <$vector as crate::simd::Vector>::LANES;

        #[target_feature(enable = $features)]
        unsafe fn outer<const ROWS: usize, const VECTORS: usize, const TABLES: bool>(
            tile: &Tile<f32>,
        ) {
            // SAFETY: by the caller's promise; this function has the features.
            unsafe {
                let follows = TABLES || ROWS == 1 || tile.is_left_contiguous();
                if !(VECTORS == 2 && tile.columns == 2 * LANES && follows) {
                    return kernel::outer::<$vector, ROWS, VECTORS, TABLES>(tile);
                }
                let mut tile = *tile;
                loop {
                    let sums = sums::<ROWS, TABLES>(&mut tile);
                    let sums = std::array::from_fn(|row| sums[row].map(<$vector>::from));
                    kernel::write::<$vector, ROWS, 2>(&tile, sums, [LANES; 2]);
                    if !tile.advance(ROWS) {
                        break;
                    }
                }
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn dot<const ROWS: usize, const COLUMNS: usize>(tile: &Tile<f32>) {
            // SAFETY: by the caller's promise; this function has the features.
            unsafe { kernel::dot::<$vector, ROWS, COLUMNS>(tile) }
        }

        #[target_feature(enable = $features)]
        unsafe fn copy(
            source: *const f32,
            source_stride: isize,
            target: *mut f32,
            target_stride: isize,
            rows: usize,
            columns: usize,
        ) {
            // SAFETY: by the caller's promise; this function has the features.
            unsafe {
                kernel::copy::<$vector>(source, source_stride, target, target_stride, rows, columns)
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn transpose(
            source: *const f32,
            source_stride: isize,
            target: *mut f32,
            target_stride: isize,
            rows: usize,
            columns: usize,
        ) {
            // SAFETY: by the caller's promise; this function has the features.
            unsafe {
                kernel::transpose::<$vector>(
                    source,
                    source_stride,
                    target,
                    target_stride,
                    rows,
                    columns,
                )
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn along(copy: &Copy<'_, f32>) {
            // SAFETY: by the caller's promise; this function has the features.
            unsafe { places::along::<$vector>(copy) }
        }

        #[target_feature(enable = $features)]
        unsafe fn across(copy: &Copy<'_, f32>) {
            // SAFETY: by the caller's promise; this function has the features.
            unsafe { places::across::<$vector>(copy) }
        }
    };
}
