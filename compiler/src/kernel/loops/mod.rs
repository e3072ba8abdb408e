//! Kernel IR: a kernel as loops over tiles, with every address decided.
//!
//! This is the last form before native code: the scheduler lowers a kernel's body to it, the code
//! generator translates it instruction by instruction. [`verify`] checks it; its `Display` is the
//! listing that `cygnet inspect --stage kernels` shows.

#[cfg(test)]
pub(crate) mod interpret;
mod parts;
mod print;
mod verify;

pub use verify::{Invalid, verify};

use cygnet_runtime::program::Motion;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::index::Expression;
use crate::op::{ArgKind, Elementwise, RandomKind, ReduceKind};
use crate::types::{DType, Scalar};

/// How a native function is called; see [`cygnet_runtime::program`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Convention {
    /// Once per piece.
    Pieces,
    /// Once per region of a product, reading or writing its tile.
    Region {
        /// Number of batch axes of the product; the function's first axes, then row and column.
        batch_axes: usize,
        /// If columns run in blocks of this width, the axis after the row is the number of the
        /// block, and the next one the index within it.
        block: Option<usize>,
    },
}

/// A native function to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// Name, for symbols and listings.
    pub name: String,
    /// How it is called.
    pub convention: Convention,
    /// Axes that statements loop over, or that the caller fixes.
    pub axes: Vec<LoopAxis>,
    /// Memory that it touches.
    pub buffers: Vec<Buffer>,
    /// Mutable scalars: accumulators.
    pub variables: Vec<DType>,
    /// The code.
    pub body: Vec<Statement>,
}

/// An index that runs in a loop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoopAxis {
    /// Name in listings.
    pub name: String,
    /// All values are below this; what simplifications of index expressions rely on.
    pub extent: usize,
}

/// Number of an axis in its function; index expressions refer to it.
pub type AxisId = usize;

/// Number of a buffer in its function.
pub type BufferId = usize;

/// Number of a variable in its function.
pub type VariableId = usize;

/// Number of a scalar or lane value in its function; defined before use, in an enclosing or the
/// same statement list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(pub u32);

/// Memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Buffer {
    /// Element type.
    pub dtype: DType,
    /// Where it lies.
    pub place: Place,
    /// Elements.
    pub length: usize,
    /// Whether what is written is better not kept in caches; its place is a multiple of 64 bytes then.
    pub streamed: bool,
    /// Name in listings.
    pub name: String,
}

/// Where a buffer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// At this byte offset of the arena.
    Arena(usize),
    /// At a byte offset of the arena that moves with the loops around the function. Buffers that
    /// move in the same way overlap as those that do not; others never do.
    Moving(usize, Motion),
    /// At this byte offset of the running thread's scratch memory.
    Scratch(usize),
    /// The tile of a region function. Its element offset is given by the row and column axes;
    /// expressions on it have the form `row * tile stride + column` relative to the region, so
    /// accesses name no expression of their own ([`Address::Tile`]).
    Tile,
}

/// The range of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Range {
    /// These bounds.
    Fixed {
        /// First index.
        start: usize,
        /// One past the last index.
        end: usize,
    },
    /// The part of `0..extent` that falls to the piece: piece `p` of `count` takes
    /// `p * chunk .. min((p + 1) * chunk, extent)`, where `p` is `piece / inner % count`.
    Piece {
        /// Number of parts along this axis.
        count: usize,
        /// Pieces along the axes inside this one.
        inner: usize,
        /// Indices per piece.
        chunk: usize,
        /// End of the whole range.
        extent: usize,
    },
    /// The single index of batch axis `axis` that the region belongs to, `extents` being those
    /// of all batch axes.
    RegionBatch {
        /// Distance between neighbours in the region's linear batch index.
        inner: usize,
        /// Extent of this batch axis.
        extent: usize,
    },
    /// The region's rows.
    RegionRows,
    /// The region's columns.
    RegionColumns,
    /// The numbers of the blocks of columns that the region has a part of.
    RegionBlocks {
        /// Columns of a block.
        width: usize,
    },
    /// The part of the running block that lies in the region.
    RegionWithin {
        /// Columns of a block.
        width: usize,
    },
}

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Statement {
    /// A loop, one index at a time.
    Loop {
        /// The axis that runs.
        axis: AxisId,
        /// Its range.
        range: Range,
        /// What is done for each index.
        body: Vec<Statement>,
    },
    /// A vectorized innermost loop: the instructions are computed for all indices of the range,
    /// in tiles, without order between indices. Loads see memory as it was before the stores of
    /// the same index.
    Tiles {
        /// The axis that runs.
        axis: AxisId,
        /// Its range.
        range: Range,
        /// Per-index instructions.
        body: Vec<LoopInstruction>,
    },
    /// Scalar instructions at this place.
    Scalar(Vec<LoopInstruction>),
}

/// An instruction with the place of its result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoopInstruction {
    /// Its value, if it has one.
    pub result: Option<LaneId>,
    /// Element type of the value (of the stored one for stores).
    pub dtype: DType,
    /// What is done.
    pub kind: LoopInstructionKind,
}

/// An element of a buffer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Element offset, an expression in the function's axes.
    Offset(Expression),
    /// The tile's element at the current row and column of the region.
    Tile,
}

/// `low <= expression < high`.
pub use crate::index::Constraint;

/// What a loop instruction does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LoopInstructionKind {
    /// A constant.
    Constant(Scalar),
    /// An index expression as a number.
    Index(Expression),
    /// An element; `fill` instead where a constraint fails (then nothing is read).
    Load {
        /// Where from.
        buffer: BufferId,
        /// Which element.
        address: Address,
        /// Conditions under which the element exists.
        constraints: SmallVec<[Constraint; 1]>,
        /// The value elsewhere; present exactly if there are constraints.
        fill: Option<Scalar>,
    },
    /// An element at a computed index: NaN (0 for other types than floats) if the index lies
    /// outside `0..extent`; then nothing is read.
    Gather {
        /// Where from.
        buffer: BufferId,
        /// The element at index 0.
        address: Address,
        /// The index, an i32.
        index: LaneId,
        /// Elements between neighbouring indices.
        stride: usize,
        /// Number of indices.
        extent: usize,
    },
    /// `operand` where all constraints hold, else `fill`.
    Masked {
        /// The value inside.
        operand: LaneId,
        /// The conditions.
        constraints: SmallVec<[Constraint; 1]>,
        /// The value outside.
        fill: Scalar,
    },
    /// A random number at a position of a stream.
    Random {
        /// Distribution.
        kind: RandomKind,
        /// Name of the stream.
        stream: u64,
        /// Position.
        index: Expression,
    },
    /// An elementwise function.
    Apply(Elementwise, SmallVec<[LaneId; 3]>),
    /// Conversion to the instruction's dtype.
    Cast(LaneId),
    /// Writes an element.
    Store {
        /// Where to.
        buffer: BufferId,
        /// Which element.
        address: Address,
        /// What.
        value: LaneId,
    },
    /// Combines into an element: `element = combine(element, value)`. In `Tiles`, different
    /// indices have different elements.
    Accumulate {
        /// Where to.
        buffer: BufferId,
        /// Which element.
        address: Address,
        /// How.
        kind: ReduceKind,
        /// What.
        value: LaneId,
    },
    /// Sets a variable.
    Set(VariableId, LaneId),
    /// Reads a variable.
    Get(VariableId),
    /// Combines into a variable. In `Tiles`, all indices combine in a fixed order: within a tile
    /// in a tree, then tile after tile. A sum's variable is f64.
    Fold {
        /// The accumulator.
        variable: VariableId,
        /// How.
        kind: ReduceKind,
        /// What.
        value: LaneId,
    },
    /// Keeps the extreme and its position: `variable` holds the extreme, `position` (i32) the
    /// value of `index` where it was found first.
    FoldArg {
        /// The extreme so far.
        variable: VariableId,
        /// Its position so far.
        position: VariableId,
        /// Which extreme.
        kind: ArgKind,
        /// What.
        value: LaneId,
        /// Position of the current index.
        index: Expression,
    },
}
