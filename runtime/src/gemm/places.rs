//! Where the elements along an axis of a scattered matrix lie, vector by vector; and copies of
//! such matrices in scratch memory.

use super::vector::Vector;
use crate::contraction::Digits;
use crate::simd::MAX_LANES;

/// Most runs of neighbours that a vector is put together from; with more, its lanes are gathered
/// one by one.
const MOST_PIECES: usize = 4;

/// The elements along an axis, in groups of a vector's lanes. Groups start anew at the start of
/// each block of the axis.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    /// First index of each block, and the number of its first group.
    blocks: Vec<(usize, usize)>,
    /// Where the elements of each group lie.
    pub groups: Vec<From>,
    /// Distance of each group's first element.
    offsets: Vec<isize>,
    /// Pieces of groups.
    pub pieces: Vec<Piece>,
    /// Distances of gathered elements.
    pub gathered: Vec<[i32; MAX_LANES]>,
    /// How few vectors hold them, where they do.
    nearby: Vec<Option<Nearby>>,
}

/// Elements that lie in a few stretches of memory no longer than a vector, not all of which is used: every
/// other element of some rows, as windows with a stride have them.
#[derive(Clone, Copy, Debug)]
struct Nearby {
    /// Distance and length of each stretch; empty ones behind those that there are.
    stretches: [(isize, usize); STRETCHES],
    /// How many there are, rounded up to 2, 4 or 8.
    count: usize,
    /// Where the elements are in the vectors of all stretches.
    lanes: [i32; MAX_LANES],
}

/// Vectors that elements can be picked from.
const STRETCHES: usize = 8;

impl Nearby {
    /// The stretches that hold elements at these distances, of vectors with so many lanes.
    fn new(offsets: &[i32], lanes_of_vector: usize) -> Option<Nearby> {
        let mut sorted: Vec<i32> = offsets.to_vec();
        sorted.sort_unstable();
        let (mut stretches, mut count) = ([(0, 0); STRETCHES], 0);
        let mut rest = &sorted[..];
        while let [first, ..] = *rest {
            let held = rest.partition_point(|&offset| offset - first < lanes_of_vector as i32);
            *stretches.get_mut(count)? = (first as isize, (rest[held - 1] - first) as usize + 1);
            count += 1;
            rest = &rest[held..];
        }
        let mut lanes = [0; MAX_LANES];
        for (lane, &offset) in lanes.iter_mut().zip(offsets) {
            let holds = |&(start, length): &(isize, usize)| {
                (start..start + length as isize).contains(&(offset as isize))
            };
            let stretch = stretches.iter().position(holds)?;
            *lane = (stretch * lanes_of_vector) as i32 + offset - stretches[stretch].0 as i32;
        }
        Some(Nearby { stretches, count: count.next_power_of_two().max(2), lanes })
    }

    /// The elements, at these distances from `source`; `COUNT` is [`Nearby::count`].
    #[inline(always)]
    unsafe fn load<V: Vector, const COUNT: usize>(&self, source: *const V::Element) -> V {
        // SAFETY: by the caller's promise: between elements of a stretch there are others of the tensor.
        unsafe {
            let zero = V::load_first(source, 0);
            let mut vectors = [zero; STRETCHES];
            for (vector, (start, length)) in vectors.iter_mut().zip(self.stretches).take(COUNT) {
                *vector = V::load_first(source.wrapping_offset(start), length);
            }
            let [a, b, c, d, ..] = vectors;
            match COUNT {
                2 => V::pick_of_two([a, b], self.lanes.as_ptr()),
                4 => V::pick_of_four([a, b, c, d], self.lanes.as_ptr()),
                _ => V::pick_of_eight(vectors, self.lanes.as_ptr()),
            }
        }
    }
}

/// Where a group's elements lie, seen from the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// They are neighbours.
    Run,
    /// In some runs of neighbours: numbers of the first piece and of that behind the last one.
    Pieces(usize, usize),
    /// At gathered distances, by number.
    Apart(usize),
}

/// Lanes `first..end` from `offset` on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub offset: isize,
    pub first: usize,
    pub end: usize,
}

impl Lanes {
    /// Groups of at most `lanes` elements of the axis, cut into blocks of (start, length).
    pub fn new(
        digits: &Digits,
        lanes: usize,
        blocks: impl IntoIterator<Item = (usize, usize)>,
    ) -> Lanes {
        let mut all = Lanes {
            blocks: Vec::new(),
            groups: Vec::new(),
            offsets: Vec::new(),
            pieces: Vec::new(),
            gathered: Vec::new(),
            nearby: Vec::new(),
        };
        for (start, length) in blocks {
            all.blocks.push((start, all.groups.len()));
            for first in (start..start + length).step_by(lanes) {
                all.push(digits, first, lanes.min(start + length - first), lanes);
            }
        }
        all
    }

    fn push(&mut self, digits: &Digits, first: usize, count: usize, lanes: usize) {
        let base = digits.offset(first);
        let relative = |lane: usize| digits.offset(first + lane) - base;
        let kept = self.pieces.len();
        let mut lane = 0;
        while lane < count {
            let offset = relative(lane);
            let mut end = lane + 1;
            while end < count && relative(end) == offset + (end - lane) as isize {
                end += 1;
            }
            self.pieces.push(Piece { offset, first: lane, end });
            lane = end;
        }
        let from = match self.pieces.len() - kept {
            1 => From::Run,
            pieces if pieces <= MOST_PIECES => From::Pieces(kept, self.pieces.len()),
            _ => From::Apart(self.gathered.len()),
        };
        if !matches!(from, From::Pieces(..)) {
            self.pieces.truncate(kept);
        }
        if matches!(from, From::Apart(_)) {
            let mut offsets = [0; MAX_LANES];
            for (lane, offset) in offsets.iter_mut().enumerate().take(count) {
                *offset = i32::try_from(relative(lane)).expect("neighbours lie within 8 GiB");
            }
            self.gathered.push(offsets);
            self.nearby.push(Nearby::new(&offsets[..count], lanes));
        }
        self.groups.push(from);
        self.offsets.push(base);
    }

    /// Whether each group is a run of neighbours.
    pub fn are_runs(&self) -> bool {
        self.groups.iter().all(|group| *group == From::Run)
    }

    /// How many vectors are read for a group, on average; gathering counts its lanes.
    pub fn loads(&self) -> f64 {
        let of_group = |group: &From| match *group {
            From::Run => 1,
            From::Pieces(first, end) => end - first,
            // And nearly as many to pick from them.
            From::Apart(number) => {
                self.nearby[number].as_ref().map_or(MAX_LANES, |nearby| 2 * nearby.count - 1)
            }
        };
        let loads: usize = self.groups.iter().map(of_group).sum();
        loads as f64 / self.groups.len().max(1) as f64
    }

    /// The number of the first group of the block that starts at `start`.
    pub fn block(&self, start: usize) -> usize {
        let place = self.blocks.binary_search_by_key(&start, |block| block.0);
        self.blocks[place.expect("the start of a block")].1
    }

    /// Distances of the first elements of groups, from this one on.
    pub fn offsets(&self, group: usize) -> &[isize] {
        &self.offsets[group..]
    }
}

/// A part of a scattered matrix to copy: lines, each with the elements of the same groups.
pub(super) struct Copy<'a, T> {
    /// Where distances are counted from.
    pub source: *const T,
    /// Distance of each line.
    pub lines: &'a [isize],
    /// The axis along lines.
    pub lanes: &'a Lanes,
    /// The first group to copy.
    pub group: usize,
    /// Elements of a line to copy: whole groups, but for the last.
    pub length: usize,
    /// Element (0, 0) of the copy.
    pub target: *mut T,
    /// Elements between the rows of the copy, which are contiguous.
    pub target_stride: isize,
}

impl<T> Copy<'_, T> {
    /// Numbers of the groups, and the elements of each to copy.
    fn groups<V: Vector<Element = T>>(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.length.div_ceil(V::LANES))
            .map(|number| (self.group + number, (self.length - number * V::LANES).min(V::LANES)))
    }
}

/// Copies lines to rows, which have room for whole vectors.
///
/// # Safety
/// All elements are valid, source and target do not overlap, and the processor has the vectors'
/// instructions.
#[inline(always)]
pub(super) unsafe fn along<V: Vector>(copy: &Copy<'_, V::Element>) {
    // SAFETY: by the caller's promise; the number of lanes is that of the group.
    unsafe {
        let zero = V::load_first(copy.source, 0);
        for (number, (group, count)) in copy.groups::<V>().enumerate() {
            let source = copy.source.wrapping_offset(copy.lanes.offsets[group]);
            let target = copy.target.wrapping_add(number * V::LANES);
            match copy.lanes.groups[group] {
                From::Run if count == V::LANES => {
                    rows(copy, target, |line| V::load(source.wrapping_offset(line)));
                }
                From::Run => {
                    rows(copy, target, |line| V::load_first(source.wrapping_offset(line), count));
                }
                From::Pieces(first, end) => {
                    let pieces = &copy.lanes.pieces[first..end];
                    // Where lane 0 of a piece would be: then there is one distance to add for each line.
                    let at =
                        |piece: Piece| source.wrapping_offset(piece.offset - piece.first as isize);
                    match *pieces {
                        [a, b] => {
                            let (at_a, at_b) = (at(a), at(b));
                            rows(copy, target, |line| {
                                let vector = lanes_of(zero, at_a.wrapping_offset(line), a);
                                lanes_of(vector, at_b.wrapping_offset(line), b)
                            });
                        }
                        [a, b, c] => {
                            let (at_a, at_b, at_c) = (at(a), at(b), at(c));
                            rows(copy, target, |line| {
                                let vector = lanes_of(zero, at_a.wrapping_offset(line), a);
                                let vector = lanes_of(vector, at_b.wrapping_offset(line), b);
                                lanes_of(vector, at_c.wrapping_offset(line), c)
                            });
                        }
                        [a, b, c, d] => {
                            let (at_a, at_b, at_c, at_d) = (at(a), at(b), at(c), at(d));
                            rows(copy, target, |line| {
                                let vector = lanes_of(zero, at_a.wrapping_offset(line), a);
                                let vector = lanes_of(vector, at_b.wrapping_offset(line), b);
                                let vector = lanes_of(vector, at_c.wrapping_offset(line), c);
                                lanes_of(vector, at_d.wrapping_offset(line), d)
                            });
                        }
                        _ => unreachable!(
                            "one piece is a run, and more than {MOST_PIECES} are apart"
                        ),
                    }
                }
                From::Apart(number) => match copy.lanes.nearby[number] {
                    Some(nearby) => match nearby.count {
                        2 => rows(copy, target, |line| {
                            nearby.load::<V, 2>(source.wrapping_offset(line))
                        }),
                        4 => rows(copy, target, |line| {
                            nearby.load::<V, 4>(source.wrapping_offset(line))
                        }),
                        _ => rows(copy, target, |line| {
                            nearby.load::<V, 8>(source.wrapping_offset(line))
                        }),
                    },
                    None => {
                        let offsets = copy.lanes.gathered[number].as_ptr();
                        rows(copy, target, |line| {
                            zero.gather(source.wrapping_offset(line), offsets, count)
                        });
                    }
                },
            }
        }
    }
}

/// Stores a vector for each line, at `target` in the first row and below.
#[inline(always)]
unsafe fn rows<V: Vector>(
    copy: &Copy<'_, V::Element>,
    target: *mut V::Element,
    vector: impl Fn(isize) -> V,
) {
    let mut target = target;
    for &line in copy.lines {
        // SAFETY: by the caller's promise.
        unsafe { vector(line).store(target) };
        target = target.wrapping_offset(copy.target_stride);
    }
}

/// The lanes of a piece, where the first of the vector's lanes would be at `lane_0`.
#[inline(always)]
unsafe fn lanes_of<V: Vector>(vector: V, lane_0: *const V::Element, piece: Piece) -> V {
    // SAFETY: by the caller's promise.
    unsafe { vector.with(lane_0.wrapping_add(piece.first), piece.first, piece.end) }
}

#[inline(always)]
unsafe fn piece<V: Vector>(vector: V, source: *const V::Element, piece: Piece) -> V {
    // SAFETY: by the caller's promise.
    unsafe { vector.with(source.wrapping_offset(piece.offset), piece.first, piece.end) }
}

/// Copies lines to columns. Rows have room for whole vectors.
///
/// # Safety
/// As for [`along`].
#[inline(always)]
pub(super) unsafe fn across<V: Vector>(copy: &Copy<'_, V::Element>) {
    // SAFETY: by the caller's promise; the number of lanes is that of the group.
    unsafe {
        let zero = V::load_first(copy.source, 0);
        for (number, (group, count)) in copy.groups::<V>().enumerate() {
            let source = copy.source.wrapping_offset(copy.lanes.offsets[group]);
            let row = (number * V::LANES) as isize * copy.target_stride;
            let target = copy.target.wrapping_offset(row);
            for (block, lines) in copy.lines.chunks(V::LANES).enumerate() {
                // Vectors by hand: a closure for all of these cases is not inlined.
                let mut loaded = [zero; MAX_LANES];
                let from = lines.iter().map(|&line| source.wrapping_offset(line));
                let loaded_lines = loaded.iter_mut().zip(from);
                match copy.lanes.groups[group] {
                    From::Run if count == V::LANES => {
                        loaded_lines.for_each(|(vector, from)| *vector = V::load(from));
                    }
                    From::Run => {
                        loaded_lines
                            .for_each(|(vector, from)| *vector = V::load_first(from, count));
                    }
                    From::Pieces(first, end) => {
                        let pieces = &copy.lanes.pieces[first..end];
                        for (vector, from) in loaded_lines {
                            for &part in pieces {
                                *vector = piece(*vector, from, part);
                            }
                        }
                    }
                    From::Apart(number) => match copy.lanes.nearby[number] {
                        Some(nearby) => match nearby.count {
                            2 => loaded_lines.for_each(|(v, from)| *v = nearby.load::<V, 2>(from)),
                            4 => loaded_lines.for_each(|(v, from)| *v = nearby.load::<V, 4>(from)),
                            _ => loaded_lines.for_each(|(v, from)| *v = nearby.load::<V, 8>(from)),
                        },
                        None => {
                            let offsets = copy.lanes.gathered[number].as_ptr();
                            for (vector, from) in loaded_lines {
                                *vector = zero.gather(from, offsets, count);
                            }
                        }
                    },
                }
                let square = V::transpose(V::square(|line| loaded[line]));
                let mut target = target.wrapping_add(block * V::LANES);
                for vector in &square.as_ref()[..count] {
                    vector.store(target);
                    target = target.wrapping_offset(copy.target_stride);
                }
            }
        }
    }
}
