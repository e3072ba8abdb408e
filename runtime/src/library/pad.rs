//! Images with zeros around them.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{part, wanted_pieces};
use crate::cpu::Cpu;
use crate::simd::{self, FromPlaces, Vector, multiversion};

/// Images `[outer, rows, columns]` to `[outer, low + rows + high, low + columns + high]`.
///
/// Rows of images are short: a vector of the result has parts of several, and zeros between them. All images
/// are alike, so it is decided once for each vector of an image what it is put together from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pad {
    /// Number of images.
    pub outer: usize,
    /// Rows and columns of an image.
    pub extents: [usize; 2],
    /// Rows above and columns before it.
    pub low: [usize; 2],
    /// Rows below and columns behind it.
    pub high: [usize; 2],
}

/// Elements of images that are copied vector by vector: those stay in the first-level cache.
const CHUNK: usize = 1 << 12;

/// Elements of an image that are worth a piece of their own.
const LEAST_PART: usize = 1 << 10;

impl Pad {
    /// Rows and columns of a padded image.
    pub fn padded(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.low[axis] + self.extents[axis] + self.high[axis])
    }

    /// Elements of a padded image.
    fn elements(&self) -> usize {
        self.padded().iter().product()
    }

    /// Into how many parts the images are cut, and each of them.
    fn parts(&self) -> [usize; 2] {
        let wanted = wanted_pieces(self.outer * self.elements());
        let images = self.outer.clamp(1, wanted);
        [images, wanted.div_ceil(images).min(self.elements() / LEAST_PART).max(1)]
    }

    pub(super) fn pieces(&self) -> usize {
        self.parts().iter().product()
    }
}

/// A [`Pad`] made ready for an instruction set.
pub(super) struct Prepared {
    shape: Pad,
    cpu: Cpu,
    /// What the vectors of a padded image are put together from.
    stretches: Vec<Stretch>,
}

/// Vectors of a padded image: one that is put together from parts of rows, or some that follow each other in
/// a row as they do in the image.
struct Stretch {
    /// The first element in the padded image.
    start: usize,
    runs: SmallVec<[Run; 3]>,
    lanes: usize,
    vectors: usize,
}

/// Lanes `first..end` are neighbours in the image, from this element on.
#[derive(Clone, Copy)]
struct Run {
    start: usize,
    first: usize,
    end: usize,
}

impl Stretch {
    /// Whether a vector behind it follows in the image as well, both being whole.
    fn goes_on_with(&self, next: &Stretch, lanes: usize) -> bool {
        let whole = |run: &Run| run.end - run.first == lanes;
        match (&self.runs[..], &next.runs[..]) {
            ([a], [b]) => whole(a) && whole(b) && a.start + self.vectors * lanes == b.start,
            _ => false,
        }
    }
}

impl Prepared {
    /// Prepares it.
    pub fn new(shape: &Pad, cpu: Cpu) -> Prepared {
        let lanes = simd::lanes(cpu);
        let ([_, width], [rows, columns], low) = (shape.padded(), shape.extents, shape.low);
        let elements = shape.elements();
        let vector = |start: usize| {
            let end = elements.min(start + lanes);
            let mut runs = SmallVec::new();
            let mut at = start;
            while at < end {
                let (y, x) = (at / width, at % width);
                // Up to the end of the row, of the image in it, or of what is before it.
                let (stop, inside) = match x {
                    _ if y < low[0] || y >= low[0] + rows || x >= low[1] + columns => {
                        (width, false)
                    }
                    _ if x < low[1] => (low[1], false),
                    _ => (low[1] + columns, true),
                };
                let next = end.min(at + stop - x);
                if inside {
                    let from = (y - low[0]) * columns + x - low[1];
                    runs.push(Run { start: from, first: at - start, end: next - start });
                }
                at = next;
            }
            Stretch { start, runs, lanes: end - start, vectors: 1 }
        };
        let mut stretches: Vec<Stretch> = Vec::new();
        for stretch in (0..elements).step_by(lanes).map(vector) {
            match stretches.last_mut() {
                Some(last) if last.goes_on_with(&stretch, lanes) => last.vectors += 1,
                _ => stretches.push(stretch),
            }
        }
        Prepared { shape: *shape, cpu, stretches }
    }

    /// Computes a piece.
    ///
    /// # Safety
    /// The machine has the instructions; the pointers lead to as many elements as the extents say;
    /// nobody writes the images or uses the piece's part of the result meanwhile.
    pub unsafe fn run(&self, source: *const f32, result: *mut f32, piece: usize) {
        let [images, parts] = self.shape.parts();
        let copy = Copy {
            prepared: self,
            images: part(self.shape.outer, images, piece / parts),
            stretches: part(self.stretches.len(), parts, piece % parts),
            source,
            result,
        };
        // SAFETY: by the caller's promise.
        unsafe { copy_images::address(self.cpu)(&raw const copy) };
    }
}

/// Parts of images to copy.
#[repr(C)]
struct Copy<'a> {
    prepared: &'a Prepared,
    images: Range<usize>,
    stretches: Range<usize>,
    source: *const f32,
    result: *mut f32,
}

multiversion! {
    copy_images(copy: *const Copy<'_>) = images_of;
}

#[inline(always)]
unsafe fn images_of<V: Vector + FromPlaces<Lane = f32>>(copy: *const Copy<'_>) {
    // SAFETY: by the promise to `Prepared::run`: lanes that are read lie in an image of the source, and
    // those that are written in one of the result.
    unsafe {
        let Copy { prepared, images, stretches, source, result } = &*copy;
        let (from, to) = (prepared.shape.extents.iter().product(), prepared.shape.elements());
        let zero = V::load_first(*source, 0);
        for first in images.clone().step_by((CHUNK / to).max(1)) {
            let count = (CHUNK / to).max(1).min(images.end - first);
            let source = source.wrapping_add(first * from);
            for stretch in &prepared.stretches[stretches.clone()] {
                let Stretch { start, runs, lanes, vectors } = stretch;
                let target = result.wrapping_add(first * to + start);
                let chunk = Chunk { source, from, target, to, count };
                match runs[..] {
                    _ if *lanes < V::LANES => chunk.last(zero, runs, *lanes),
                    [] => chunk.zeros(zero),
                    [a] if a.end - a.first == V::LANES => chunk.whole::<V>(a, *vectors),
                    [a] => chunk.of_one(zero, a),
                    [a, b] => chunk.of_two(zero, a, b),
                    [a, b, c] => chunk.of_three(zero, a, b, c),
                    _ => chunk.of_many(zero, runs),
                }
            }
        }
    }
}

/// The same vector of some images.
#[derive(Clone, Copy)]
struct Chunk {
    source: *const f32,
    /// Elements from an image to the next.
    from: usize,
    target: *mut f32,
    to: usize,
    count: usize,
}

/// Functions instead of closures, which may lack the instructions of their callers.
impl Chunk {
    #[inline(always)]
    unsafe fn zeros<V: Vector>(self, zero: V) {
        for image in 0..self.count {
            // SAFETY: by the caller's promise, here and below.
            unsafe { zero.store(self.target.wrapping_add(image * self.to)) };
        }
    }

    /// Whole vectors that follow each other.
    #[inline(always)]
    unsafe fn whole<V: Vector>(self, run: Run, vectors: usize) {
        for number in 0..self.count {
            let image = self.image(number).wrapping_add(run.start);
            for offset in (0..vectors * V::LANES).step_by(V::LANES) {
                // SAFETY: as above.
                unsafe {
                    let target = self.result(number).wrapping_add(offset);
                    V::load(image.wrapping_add(offset)).store(target);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn of_one<V: Vector + FromPlaces<Lane = f32>>(self, zero: V, a: Run) {
        for image in 0..self.count {
            // SAFETY: as above.
            unsafe { with(zero, self.image(image), a).store(self.result(image)) };
        }
    }

    #[inline(always)]
    unsafe fn of_two<V: Vector + FromPlaces<Lane = f32>>(self, zero: V, a: Run, b: Run) {
        for number in 0..self.count {
            let image = self.image(number);
            // SAFETY: as above.
            unsafe { with(with(zero, image, a), image, b).store(self.result(number)) };
        }
    }

    #[inline(always)]
    unsafe fn of_three<V: Vector + FromPlaces<Lane = f32>>(self, zero: V, a: Run, b: Run, c: Run) {
        for number in 0..self.count {
            let image = self.image(number);
            // SAFETY: as above.
            unsafe {
                with(with(with(zero, image, a), image, b), image, c).store(self.result(number));
            }
        }
    }

    #[inline(always)]
    unsafe fn of_many<V: Vector + FromPlaces<Lane = f32>>(self, zero: V, runs: &[Run]) {
        for number in 0..self.count {
            let mut vector = zero;
            for &run in runs {
                // SAFETY: as above.
                vector = unsafe { with(vector, self.image(number), run) };
            }
            // SAFETY: as above.
            unsafe { vector.store(self.result(number)) };
        }
    }

    /// The last vector of images, which has fewer lanes.
    #[inline(always)]
    unsafe fn last<V: Vector + FromPlaces<Lane = f32>>(self, zero: V, runs: &[Run], lanes: usize) {
        for number in 0..self.count {
            let mut vector = zero;
            for &run in runs {
                // SAFETY: as above.
                vector = unsafe { with(vector, self.image(number), run) };
            }
            // SAFETY: as above.
            unsafe { vector.store_first(self.result(number), lanes) };
        }
    }

    #[inline(always)]
    fn image(self, number: usize) -> *const f32 {
        self.source.wrapping_add(number * self.from)
    }

    #[inline(always)]
    fn result(self, number: usize) -> *mut f32 {
        self.target.wrapping_add(number * self.to)
    }
}

/// The vector with the lanes of a run of an image.
#[inline(always)]
unsafe fn with<V: FromPlaces<Lane = f32>>(vector: V, image: *const f32, run: Run) -> V {
    // SAFETY: by the caller's promise.
    unsafe { vector.with(image.wrapping_add(run.start), run.first, run.end) }
}
