//! Index maps, each once.
//!
//! Kernels are tried over the same points again and again, and follow the same movements from
//! there. So maps get numbers, and what a movement leads to from a place is found once.

use rustc_hash::FxHashMap;

use crate::graph::{Graph, NodeId};
use crate::index::IndexMap;
use crate::op::Emit;
use crate::types::{DType, Scalar};

/// Number of a map in an [`Atlas`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place(u32);

/// How a node moves its first operand.
#[derive(Clone, Copy)]
pub(super) struct Movement {
    /// From its indices to the operand's. Where nothing is read, it says no more than that.
    pub need: Place,
    /// What stands where nothing is read.
    pub fill: Option<Scalar>,
}

/// The maps that were met while kernels were built for a graph.
pub(super) struct Atlas<'g> {
    graph: &'g Graph,
    maps: Vec<IndexMap>,
    places: FxHashMap<IndexMap, Place>,
    movements: FxHashMap<NodeId, Option<Movement>>,
    chained: FxHashMap<(Place, Place), Place>,
}

impl<'g> Atlas<'g> {
    /// Empty.
    pub fn new(graph: &'g Graph) -> Atlas<'g> {
        Atlas {
            graph,
            maps: Vec::new(),
            places: FxHashMap::default(),
            movements: FxHashMap::default(),
            chained: FxHashMap::default(),
        }
    }

    /// The graph whose kernels are built.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// The number of a map.
    pub fn place(&mut self, map: &IndexMap) -> Place {
        if let Some(&known) = self.places.get(map) {
            return known;
        }
        let place = Place(self.maps.len() as u32);
        self.maps.push(map.clone());
        self.places.insert(map.clone(), place);
        place
    }

    /// The map with a number.
    pub fn map(&self, place: Place) -> &IndexMap {
        &self.maps[place.0 as usize]
    }

    /// How a node moves its operand; `None` if it is no movement.
    pub fn movement(&mut self, id: NodeId) -> Option<Movement> {
        if let Some(&known) = self.movements.get(&id) {
            return known;
        }
        let node = self.graph.node(id);
        let shape = node.operands.first().map(|&operand| &self.graph.type_of(operand).shape);
        let map = shape.and_then(|shape| node.op.index_map(shape));
        let movement = map
            .map(|map| Movement { fill: map.fill(), need: self.place(&map.with_fill(any_fill())) });
        self.movements.insert(id, movement);
        movement
    }

    /// Where an operand is needed, if a movement's result is needed at `place`: first through the
    /// one map, then through the other. Both say only where a value is needed.
    pub fn chain(&mut self, place: Place, need: Place) -> Place {
        if let Some(&known) = self.chained.get(&(place, need)) {
            return known;
        }
        let map = self.map(place).compose(self.map(need)).expect("both maps fill alike");
        let chained = self.place(&map);
        self.chained.insert((place, need), chained);
        chained
    }
}

/// Stands for any fill value in maps that only say where a value is needed.
pub(super) fn any_fill() -> Scalar {
    Scalar::new(DType::F32, 0.0)
}
