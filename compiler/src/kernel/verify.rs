//! Whether a kernel graph is what the scheduler may rely on.

use std::collections::BTreeMap;

use petgraph::algo::is_cyclic_directed;
use petgraph::visit::EdgeRef;

use super::{
    AxisRole, Body, InstructionKind, Kernel, KernelBody, KernelGraph, KernelId, Library, Loop,
    LoopOperand, Product, ProductOperand, ValueId,
};
use crate::index::{Expression, IndexMap, row_major_strides};
use crate::op::Primitive;
use crate::types::{DType, Shape, TensorType};

/// Checks all invariants of a kernel graph; the error says what does not hold, and where.
pub fn verify(graph: &KernelGraph) -> Result<(), String> {
    let mut writers: BTreeMap<ValueId, KernelId> = BTreeMap::new();
    for id in graph.kernels.node_indices() {
        let kernel = &graph.kernels[id];
        let place = |error: String| format!("kernel {} ({}): {error}", id.index(), kernel.name);
        verify_kernel(graph, kernel).map_err(place)?;
        for value in kernel.stored() {
            if graph.values[value.0 as usize].slot.is_some() {
                return Err(place(format!("{value} is a slot, read before the step")));
            }
            if writers.insert(value, id).is_some_and(|other| other != id) {
                return Err(place(format!("{value} is written twice")));
            }
        }
    }
    for (number, value) in graph.values.iter().enumerate() {
        let id = ValueId(number as u32);
        match value.slot {
            Some(slot) => match graph.slots.get(slot as usize) {
                Some(info) if info.ty == value.ty => {}
                _ => return Err(format!("{id} is not slot {slot}: its type is {}", value.ty)),
            },
            None if !writers.contains_key(&id) => return Err(format!("nothing writes {id}")),
            None => {}
        }
    }
    verify_edges(graph, &writers)?;
    verify_results(graph, &writers)
}

/// Edges lead from the writer of a value to each reader, and never around in a circle.
fn verify_edges(graph: &KernelGraph, writers: &BTreeMap<ValueId, KernelId>) -> Result<(), String> {
    if is_cyclic_directed(&graph.kernels) {
        return Err("kernels wait for each other in a circle".to_owned());
    }
    let mut edges: Vec<(KernelId, KernelId, ValueId)> =
        graph.kernels.edge_references().map(|e| (e.source(), e.target(), *e.weight())).collect();
    let mut flows: Vec<(KernelId, KernelId, ValueId)> = Vec::new();
    for id in graph.kernels.node_indices() {
        for value in graph.kernels[id].loaded() {
            flows.extend(writers.get(&value).map(|&writer| (writer, id, value)));
        }
    }
    edges.sort_unstable();
    flows.sort_unstable();
    match edges == flows {
        true => Ok(()),
        false => Err(format!("edges are {edges:?}, values flow along {flows:?}")),
    }
}

/// Results, new values of slots and guards are written by kernels, with the right types.
fn verify_results(
    graph: &KernelGraph,
    writers: &BTreeMap<ValueId, KernelId>,
) -> Result<(), String> {
    let written = |what: &str, value: ValueId| match writers.contains_key(&value) {
        true => Ok(&graph.values[value.0 as usize].ty),
        false => Err(format!("{what} {value} is not written by a kernel")),
    };
    for (name, value) in &graph.outputs {
        written(&format!("output {name}"), *value)?;
    }
    let (mut slots, mut values) = (Vec::new(), Vec::new());
    for &(slot, value) in &graph.updates {
        let ty = written(&format!("the new value of slot {slot}"), value)?;
        if graph.slots.get(slot as usize).map(|info| &info.ty) != Some(ty) {
            return Err(format!("slot {slot} does not take {value} of type {ty}"));
        }
        if slots.contains(&slot) || values.contains(&value) {
            return Err(format!("slot {slot} or {value} is in two updates"));
        }
        slots.push(slot);
        values.push(value);
    }
    for &value in &graph.guards {
        let ty = written("the guard", value)?;
        if ty.rank() != 0 || !ty.dtype.is_float() {
            return Err(format!("{ty} cannot guard the step"));
        }
    }
    Ok(())
}

fn verify_kernel(graph: &KernelGraph, kernel: &Kernel) -> Result<(), String> {
    let is_value = |value: ValueId| (value.0 as usize) < graph.values.len();
    if let Some(value) = kernel.loaded().into_iter().chain(kernel.stored()).find(|&v| !is_value(v))
    {
        return Err(format!("there is no {value}"));
    }
    match &kernel.body {
        KernelBody::Fused(body) => {
            if body.stores.is_empty() {
                return Err("nothing is stored".to_owned());
            }
            verify_body(graph, body, None)
        }
        KernelBody::Product(product) => verify_product(graph, product),
        KernelBody::Library(library) => verify_library(graph, library),
        KernelBody::Loop(the_loop) => verify_loop(graph, the_loop),
    }
}

/// Operands and result are as many, and as large, as the routine says.
fn verify_library(graph: &KernelGraph, library: &Library) -> Result<(), String> {
    let Library { routine, dtype, operands, result } = library;
    let expected = routine.operands(*dtype);
    if expected.len() != operands.len() {
        return Err(format!("{} of {} operands", routine.name(), operands.len()));
    }
    let places = operands.iter().zip(expected).chain([(result, routine.result(*dtype))]);
    for (value, (elements, dtype)) in places {
        let ty = &graph.values[value.0 as usize].ty;
        if ty.dtype != dtype || ty.elements() != elements {
            return Err(format!("{value} of type {ty} in place of {elements} elements of {dtype}"));
        }
    }
    Ok(())
}

/// The body is valid; what stands for its slots and outputs outside has fitting types.
fn verify_loop(graph: &KernelGraph, the_loop: &Loop) -> Result<(), String> {
    let Loop { length, body, operands, yields, .. } = the_loop;
    verify(body).map_err(|error| format!("in the loop: {error}"))?;
    if !body.guards.is_empty() {
        return Err("the loop guards a value".to_owned());
    }
    let results = body.outputs.len().checked_sub(usize::from(the_loop.until));
    if operands.len() != body.slots.len() || Some(yields.len()) != results {
        return Err("operands or yields are missing".to_owned());
    }
    if let Some(end) = the_loop.end() {
        let ty = &body.values[end.0 as usize].ty;
        if *ty != TensorType::new(DType::Bool, &[]) {
            return Err(format!("the loop ends when a {ty} holds"));
        }
    }
    let outside = |value: ValueId| &graph.values[value.0 as usize].ty;
    let stacked = |ty: &TensorType| TensorType {
        dtype: ty.dtype,
        shape: std::iter::once(*length).chain(ty.shape.iter().copied()).collect(),
    };
    for (slot, operand) in body.slots.iter().zip(operands) {
        let fits = match operand {
            LoopOperand::Carry { initial, result } => {
                *outside(*initial) == slot.ty
                    && result.is_none_or(|result| *outside(result) == slot.ty)
            }
            LoopOperand::Sequence(value) => *outside(*value) == stacked(&slot.ty),
            LoopOperand::Capture(value) => *outside(*value) == slot.ty,
        };
        if !fits {
            return Err(format!("{} of type {} is not {operand:?}", slot.name, slot.ty));
        }
    }
    for &(slot, _) in &body.updates {
        if !matches!(operands[slot as usize], LoopOperand::Carry { .. }) {
            return Err(format!("slot {slot} changes and is not carried"));
        }
    }
    for ((name, value), yielded) in body.outputs.iter().zip(yields) {
        let ty = &body.values[value.0 as usize].ty;
        if *outside(*yielded) != stacked(ty) {
            return Err(format!("{name} of type {ty} is not an element of {yielded}"));
        }
    }
    Ok(())
}

fn verify_product(graph: &KernelGraph, product: &Product) -> Result<(), String> {
    let domain = |first: usize, second: usize| -> Shape {
        product.batch.iter().copied().chain([first, second]).collect()
    };
    let (rows, columns, depth) = (product.rows, product.columns, product.depth);
    for (operand, domain) in
        [(&product.left, domain(rows, depth)), (&product.right, domain(depth, columns))]
    {
        match operand {
            ProductOperand::Value(value, map) => {
                let ty = verify_map(graph, *value, map, &domain)?;
                if ty.dtype != product.dtype {
                    return Err(format!("operand {value} of a {} product", product.dtype));
                }
                if !map.constraints().is_empty() {
                    return Err(format!("operand {value} is read under conditions"));
                }
                if !map.is_matrix(&row_major_strides(&ty.shape)) {
                    return Err(format!("operand {value} does not lie like a matrix by {map}"));
                }
            }
            ProductOperand::Computed(body) => {
                all_parallel(body, &domain)?;
                if !body.stores.is_empty() {
                    return Err("an operand that is computed stores something".to_owned());
                }
                if body.instructions.last().map(|last| last.dtype) != Some(product.dtype) {
                    return Err(format!("a computed operand is not {}", product.dtype));
                }
                verify_body(graph, body, None)?;
            }
        }
    }
    all_parallel(&product.epilogue, &domain(rows, columns))?;
    if product.epilogue.stores.is_empty() {
        return Err("the epilogue stores nothing".to_owned());
    }
    verify_body(graph, &product.epilogue, Some(product.dtype))
}

fn all_parallel(body: &Body, domain: &[usize]) -> Result<(), String> {
    let parallel = body.axes.iter().all(|axis| axis.role == AxisRole::Parallel);
    match parallel && body.extents().as_slice() == domain {
        true => Ok(()),
        false => Err(format!("axes {:?} instead of parallel ones of {domain:?}", body.axes)),
    }
}

/// Checks the domain and the reach of a map; returns the type of what it reaches.
fn verify_map<'a>(
    graph: &'a KernelGraph,
    value: ValueId,
    map: &IndexMap,
    domain: &[usize],
) -> Result<&'a TensorType, String> {
    let ty = &graph.values[value.0 as usize].ty;
    if map.domain() != domain {
        return Err(format!("the map {map} onto {value} is not over {domain:?}"));
    }
    if map.rank() != ty.rank() {
        return Err(format!("the map {map} does not fit {value} of type {ty}"));
    }
    if map.fill().is_some() == map.constraints().is_empty() {
        return Err(format!("conditions and fill value of the map {map} do not go together"));
    }
    if map.fill().is_some_and(|fill| fill.dtype != ty.dtype) {
        return Err(format!("the map {map} fills {value} with another element type"));
    }
    let empty = domain.contains(&0);
    if map.constraints().is_empty() && !empty {
        for (index, &extent) in map.indices().iter().zip(&ty.shape) {
            let (low, high) = index.range(domain);
            if low < 0 || high >= extent as i64 {
                return Err(format!("the map {map} leaves {value} of type {ty}"));
            }
        }
    }
    Ok(ty)
}

fn verify_body(graph: &KernelGraph, body: &Body, accumulator: Option<DType>) -> Result<(), String> {
    let extents = body.extents();
    let per_point = body.per_point();
    let reduced = body.axes.iter().filter(|axis| axis.role == AxisRole::Reduced).count();
    for (number, instruction) in body.instructions.iter().enumerate() {
        let operands = instruction.kind.operands();
        if operands.iter().any(|operand| operand.0 as usize >= number) {
            return Err(format!("%{number} uses a later instruction"));
        }
        let types: Vec<TensorType> =
            (operands.iter()).map(|id| TensorType::scalar(body.instruction(*id).dtype)).collect();
        let types: Vec<&TensorType> = types.iter().collect();
        let same = || types[0].dtype;
        let dtype = match &instruction.kind {
            InstructionKind::Constant(value) => value.dtype,
            InstructionKind::Load { value, map } => {
                verify_map(graph, *value, map, &extents)
                    .map_err(|error| format!("%{number}: {error}"))?
                    .dtype
            }
            InstructionKind::Gather { value, map, axis, .. } => {
                let ty = verify_map(graph, *value, map, &extents)
                    .map_err(|error| format!("%{number}: {error}"))?;
                if map.indices().get(*axis).and_then(Expression::as_constant) != Some(0) {
                    return Err(format!(
                        "%{number}: {map} does not start at index 0 of axis {axis}"
                    ));
                }
                if !map.constraints().is_empty() {
                    return Err(format!("%{number}: an index under conditions"));
                }
                if same() != DType::I32 {
                    return Err(format!("%{number}: an index of type {}", same()));
                }
                ty.dtype
            }
            InstructionKind::Accumulator => accumulator
                .ok_or_else(|| format!("%{number}: there is no product outside an epilogue"))?,
            InstructionKind::Index(_) | InstructionKind::Cast(_) => instruction.dtype,
            InstructionKind::Random { .. } if instruction.dtype.is_float() => instruction.dtype,
            InstructionKind::Random { .. } => {
                return Err(format!("%{number}: a random number of type {}", instruction.dtype));
            }
            InstructionKind::Apply(function, _) => {
                function.infer(&types).map_err(|error| format!("%{number}: {error}"))?.dtype
            }
            InstructionKind::Masked(_, map) => {
                let fits = map.domain() == extents.as_slice()
                    && map.fill().is_some_and(|fill| fill.dtype == same());
                if !fits {
                    return Err(format!("%{number}: the condition {map} does not fit"));
                }
                same()
            }
            InstructionKind::Reduce(..) if reduced > 0 => same(),
            InstructionKind::ArgReduce(..) if reduced == 1 => DType::I32,
            InstructionKind::Reduce(..) | InstructionKind::ArgReduce(..) => {
                return Err(format!("%{number} reduces over {reduced} axes"));
            }
        };
        if dtype != instruction.dtype {
            return Err(format!("%{number} is {}, not {dtype}", instruction.dtype));
        }
    }
    let rows: Shape = (body.axes.iter())
        .filter(|axis| axis.role == AxisRole::Parallel)
        .map(|axis| axis.extent)
        .collect();
    for store in &body.stores {
        let number = store.instruction.0 as usize;
        let Some(instruction) = body.instructions.get(number) else {
            return Err(format!("there is no %{number} to store"));
        };
        let domain = if per_point[number] { &extents[..] } else { &rows[..] };
        let ty = verify_map(graph, store.value, &store.map, domain)?;
        if ty.dtype != instruction.dtype {
            return Err(format!("%{number}: {} goes into {}", instruction.dtype, store.value));
        }
        if !store.map.constraints().is_empty() {
            return Err(format!("{} is written under conditions", store.value));
        }
        if !is_injective(&store.map, &ty.shape) {
            return Err(format!("the map {} does not write {} once", store.map, store.value));
        }
    }
    verify_parts(graph, body)
}

/// A value is written by one store, or in parts that do not overlap; each element is.
fn verify_parts(graph: &KernelGraph, body: &Body) -> Result<(), String> {
    let mut parts: BTreeMap<ValueId, Vec<&IndexMap>> = BTreeMap::new();
    for store in &body.stores {
        parts.entry(store.value).or_default().push(&store.map);
    }
    for (value, maps) in parts {
        let written: usize = maps.iter().map(|map| map.domain().iter().product::<usize>()).sum();
        let apart = |(number, map): (usize, &&IndexMap)| {
            maps[..number].iter().all(|other| are_apart(map, other))
        };
        let ty = &graph.values[value.0 as usize].ty;
        let once = ty.elements() == 0 || maps.iter().enumerate().all(apart);
        if written != ty.elements() || !once {
            let map = maps[0];
            return Err(format!("the map {map} does not write {value} once"));
        }
    }
    Ok(())
}

/// Whether two maps lead to different places: to different ranges along some axis.
fn are_apart(a: &IndexMap, b: &IndexMap) -> bool {
    a.indices().iter().zip(b.indices()).any(|(first, second)| {
        let (low, high) = first.range(a.domain());
        let (other_low, other_high) = second.range(b.domain());
        high < other_low || other_high < low
    })
}

/// Domains up to this size are checked index by index for injectivity if the map has no strides.
const CHECKED_ONE_BY_ONE: usize = 1 << 16;

/// Whether no two points reach the same element: the strides, in order, are those of a mixed
/// radix, or the elements were counted.
fn is_injective(map: &IndexMap, shape: &[usize]) -> bool {
    if map.domain().contains(&0) {
        return true;
    }
    let offset = map.offset(&row_major_strides(shape));
    let wide: Vec<usize> = (0..map.domain().len()).filter(|&a| map.domain()[a] > 1).collect();
    let strides: Option<Vec<(i64, i64)>> = wide
        .iter()
        .map(|&axis| offset.stride(axis).map(|stride| (stride.abs(), map.domain()[axis] as i64)))
        .collect();
    if let Some(mut strides) = strides {
        strides.sort_unstable();
        let mut reach = 1;
        return strides.iter().all(|&(stride, extent)| {
            let apart = stride >= reach;
            reach += stride * (extent - 1);
            apart
        });
    }
    let count: usize = map.domain().iter().product();
    if count > CHECKED_ONE_BY_ONE {
        return true;
    }
    let mut seen = vec![false; shape.iter().product()];
    (0..count).all(|number| {
        let mut rest = number;
        let mut point = vec![0; map.domain().len()];
        for axis in (0..point.len()).rev() {
            point[axis] = rest % map.domain()[axis];
            rest /= map.domain()[axis];
        }
        let place = offset.evaluate(&point) as usize;
        !std::mem::replace(&mut seen[place], true)
    })
}
