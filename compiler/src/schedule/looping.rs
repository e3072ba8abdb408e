//! Loops: what their bodies need, and where that lies.
//!
//! A body is scheduled like a step of its own. Its temporaries lie in one block of the memory
//! around the loop; its slots and outputs lie where the loop's operands and results do, elements
//! of stacked tensors in their place. A carry stays in its place if the body can replace it there;
//! else it takes turns between two places, so that nothing is copied.

use std::collections::BTreeMap;

use cygnet_runtime::program::{Home, Motion};

use super::bands::{self, Bands};
use super::memory::{Block, Memory, Placed, pack};
use super::order::{self, Order, Replacement};
use crate::kernel::{KernelBody, KernelGraph, KernelId, Loop, LoopOperand, ValueId};

/// Bytes between the two places of a condition to end.
const BETWEEN_CONDITIONS: usize = 64;

/// The order of a graph and of the bodies of its loops.
pub struct Ordered {
    /// The order of the graph itself.
    pub order: Order,
    /// Its loops.
    pub loops: BTreeMap<KernelId, OrderedLoop>,
}

/// The order of a loop's body and the layout of the block that it needs.
pub struct OrderedLoop {
    /// The body.
    pub body: Ordered,
    /// How it is cut, if rows never meet in it.
    pub bands: Option<Bands>,
    /// Bytes of the block.
    pub bytes: usize,
    /// Per value of the body: its place in the block, if it lies there.
    values: Vec<Option<usize>>,
    /// Per slot: the place of the second buffer of an alternating carry.
    second: Vec<Option<usize>>,
    /// The places of the blocks of loops inside.
    blocks: BTreeMap<KernelId, usize>,
    /// The place of the condition to end. Odd steps have one of their own behind it: a thread may
    /// be at the next step already when another one looks at the condition.
    end: Option<usize>,
}

impl Ordered {
    /// Orders a graph, which is `depth` loops in, and the bodies of its loops.
    pub fn new(graph: &mut KernelGraph, depth: usize) -> Ordered {
        // In a loop inside a loop, results may move, and places that take turns would have to
        // move along.
        let replacement = if depth == 1 { Replacement::Alternate } else { Replacement::Copy };
        Ordered::with(graph, depth, replacement)
    }

    fn with(graph: &mut KernelGraph, depth: usize, replacement: Replacement) -> Ordered {
        let mut loops = BTreeMap::new();
        for id in graph.kernels.node_indices() {
            if let KernelBody::Loop(the_loop) = &mut graph.kernels[id].body {
                loops.insert(id, OrderedLoop::new(the_loop, depth + 1));
            }
        }
        Ordered { order: order::order(graph, replacement), loops }
    }

    /// The blocks that loops need, each in the phase of its loop.
    pub fn blocks(&self) -> Vec<(KernelId, Block)> {
        let phase_of = |id: KernelId| {
            let phase = order::PhaseKind::Loop(id);
            let number = self.order.phases.iter().position(|other| *other == phase);
            number.expect("every loop has a phase")
        };
        let block = |(&id, inside): (&KernelId, &OrderedLoop)| {
            let phase = phase_of(id);
            (id, Block { bytes: inside.bytes, lifetime: phase..=phase })
        };
        self.loops.iter().map(block).collect()
    }
}

impl OrderedLoop {
    fn new(the_loop: &mut Loop, depth: usize) -> OrderedLoop {
        let body = match the_loop.until {
            // Whether the number of steps is odd is not known: nothing takes turns.
            true => Ordered::with(&mut the_loop.body, depth, Replacement::Copy),
            false => Ordered::new(&mut the_loop.body, depth),
        };
        let bands = bands::bands(the_loop);
        let (graph, order) = (&the_loop.body, &body.order);
        let always = 0..=order.phases.len();
        let mut blocks: Vec<Block> = Vec::new();
        let mut add = |bytes: usize, lifetime| {
            blocks.push(Block { bytes, lifetime });
            blocks.len() - 1
        };
        let mut values = vec![None; graph.values.len()];
        for (index, value) in graph.values.iter().enumerate() {
            let id = ValueId(index as u32);
            let lifetime = match value.slot.map(|slot| the_loop.operands[slot as usize]) {
                Some(LoopOperand::Carry { result: None, .. }) => always.clone(),
                Some(_) => continue,
                None => {
                    let outside = graph.outputs.iter().any(|(_, output)| *output == id);
                    let alternates = (graph.updates.iter())
                        .any(|(slot, new)| *new == id && order.alternating.contains(slot));
                    if outside || alternates || order.alias[index].is_some() {
                        continue;
                    }
                    match bands {
                        // Another band may be at another step.
                        Some(_) => always.clone(),
                        None => order.lifetime[index].clone(),
                    }
                }
            };
            values[index] = Some(add(value.ty.bytes(), lifetime));
        }
        let mut second = vec![None; graph.slots.len()];
        for &slot in &order.alternating {
            let bytes = graph.slots[slot as usize].ty.bytes();
            second[slot as usize] = Some(add(bytes, always.clone()));
        }
        let end = the_loop.until.then(|| add(2 * BETWEEN_CONDITIONS, always.clone()));
        let inner: Vec<(KernelId, usize)> = (body.blocks().into_iter())
            .map(|(id, block)| (id, add(block.bytes, block.lifetime)))
            .collect();
        let (offsets, bytes) = pack(&blocks, 0);
        let place = |number: Option<usize>| number.map(|number| offsets[number]);
        OrderedLoop {
            bands,
            bytes,
            values: values.into_iter().map(place).collect(),
            second: second.into_iter().map(place).collect(),
            blocks: inner.into_iter().map(|(id, number)| (id, offsets[number])).collect(),
            end: place(end),
            body,
        }
    }

    /// The place of the block of a loop inside, if this one's block lies at `block`.
    pub fn block_of(&self, id: KernelId, block: usize) -> usize {
        block + self.blocks[&id]
    }

    /// Where the body's values lie, if the block lies at `block`. `around` is the memory around
    /// the loop, which is `depth` loops in.
    pub fn place(&self, the_loop: &Loop, around: &Memory, block: usize, depth: usize) -> Memory {
        let graph = &the_loop.body;
        let carries = Carries { ordered: self, the_loop, around, block, depth };
        let order = &self.body.order;
        let mut homes: Vec<Option<Home>> = (self.values.iter())
            .map(|place| place.map(|place| Home::fixed(block + place)))
            .collect();
        for (index, value) in graph.values.iter().enumerate() {
            let Some(slot) = value.slot else { continue };
            homes[index] = Some(match the_loop.operands[slot as usize] {
                LoopOperand::Carry { .. } => carries.home(slot, 0),
                LoopOperand::Capture(outside) => around.home(outside),
                LoopOperand::Sequence(outside) => {
                    element(around.home(outside), value.ty.bytes(), depth)
                }
            });
        }
        for &(slot, new) in &graph.updates {
            if order.alternating.contains(&slot) {
                homes[new.0 as usize] = Some(carries.home(slot, 1));
            }
        }
        for ((_, inside), outside) in graph.outputs.iter().zip(&the_loop.yields) {
            let bytes = graph.values[inside.0 as usize].ty.bytes();
            homes[inside.0 as usize] = Some(element(around.home(*outside), bytes, depth));
        }
        if let Some((end, home)) = the_loop.end().zip(self.end(block, depth)) {
            homes[end.0 as usize] = Some(home);
        }
        for (index, alias) in order.alias.iter().enumerate() {
            if let Some(target) = alias {
                homes[index] = homes[target.0 as usize];
            }
        }
        let placed = graph.values.iter().enumerate().map(|(index, value)| Placed {
            home: homes[index].expect("every value of a body has a place"),
            ty: value.ty.clone(),
            alias: order.alias[index],
            lifetime: order.lifetime[index].clone(),
            is_read: true,
        });
        Memory::new(placed.collect(), around.arena_bytes, around.slot_bytes)
    }

    /// Where the condition to end lies, if there is one.
    pub fn end(&self, block: usize, depth: usize) -> Option<Home> {
        let mut home = Home::fixed(block + self.end?);
        home.motion.0[Motion::parity(depth)] = BETWEEN_CONDITIONS as isize;
        Some(home)
    }

    /// Where each carry has to lie before the first step: the initial value and the place.
    pub fn initial(
        &self,
        the_loop: &Loop,
        around: &Memory,
        block: usize,
        depth: usize,
    ) -> Vec<(ValueId, Home)> {
        let carries = Carries { ordered: self, the_loop, around, block, depth };
        let operands = the_loop.operands.iter().enumerate();
        operands
            .filter_map(|(slot, operand)| match operand {
                LoopOperand::Carry { initial, .. } => {
                    Some((*initial, carries.at(slot as u32, the_loop.length)))
                }
                LoopOperand::Sequence(_) | LoopOperand::Capture(_) => None,
            })
            .collect()
    }
}

/// The element of the step of a stacked tensor.
fn element(stacked: Home, bytes: usize, depth: usize) -> Home {
    let Home { offset, mut motion } = stacked;
    motion.0[Motion::index(depth)] = bytes as isize;
    Home { offset, motion }
}

/// Where the carries of a loop lie.
struct Carries<'a> {
    ordered: &'a OrderedLoop,
    the_loop: &'a Loop,
    around: &'a Memory,
    block: usize,
    depth: usize,
}

impl Carries<'_> {
    /// The place of a carry when `left` steps are left: after the last one, it is where the
    /// result belongs.
    fn at(&self, slot: u32, left: usize) -> Home {
        let second = self.ordered.second[slot as usize].filter(|_| left % 2 == 1);
        if let Some(place) = second {
            return Home::fixed(self.block + place);
        }
        let LoopOperand::Carry { result, .. } = self.the_loop.operands[slot as usize] else {
            unreachable!("only carries change")
        };
        match result {
            Some(result) => self.around.home(result),
            None => {
                let values = self.the_loop.body.values.iter();
                let mut values = values.zip(&self.ordered.values);
                let (_, place) =
                    values.find(|(value, _)| value.slot == Some(slot)).expect("slots have values");
                let place = place.expect("a carry without result lies in the block");
                Home::fixed(self.block + place)
            }
        }
    }

    /// The place of a carry before (`later` 0) or after (1) each step.
    fn home(&self, slot: u32, later: usize) -> Home {
        let left = self.the_loop.length + later;
        let even = self.at(slot, left);
        let odd = self.at(slot, left + 1);
        let mut home = even;
        if even != odd {
            // Only in loops that stand in no other: then both places are fixed.
            home.motion.0[Motion::parity(self.depth)] = odd.offset as isize - even.offset as isize;
        }
        home
    }
}
