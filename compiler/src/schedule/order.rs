//! Ordering kernels into barrier-separated phases.

use std::ops::RangeInclusive;

use petgraph::Direction;
use petgraph::algo::{has_path_connecting, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::kernel::{Kernel, KernelBody, KernelGraph, KernelId, ValueId};

use super::copies;
use super::in_place::is_pointwise;

/// When each kernel runs, and which values take the place of a slot.
pub struct Order {
    /// Kernels of each phase; guards stand alone.
    pub phases: Vec<PhaseKind>,
    /// Per value: the slot's value whose place it takes.
    pub alias: Vec<Option<ValueId>>,
    /// Per value: phases from the first write to the last read.
    pub lifetime: Vec<RangeInclusive<usize>>,
    /// Per value: whether a kernel reads it, in this step or, as a slot, in the next one.
    pub is_read: Vec<bool>,
    /// Slots whose old and new value take turns in two places.
    pub alternating: Vec<u32>,
}

/// What is done with a new value of a slot that cannot take the old one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// It is copied there when nothing needs the old one any more.
    Copy,
    /// The next step finds it where it is: old and new value have a place each and take turns.
    Alternate,
}

/// What happens between two barriers.
#[derive(Clone, Debug, PartialEq)]
pub enum PhaseKind {
    /// These kernels.
    Kernels(Vec<KernelId>),
    /// The check that a value is finite.
    Guard(ValueId),
    /// This kernel, which is a loop.
    Loop(KernelId),
}

/// A node of the dependency graph.
#[derive(Clone, Copy, PartialEq)]
enum Job {
    Kernel(KernelId),
    Guard(ValueId),
}

/// Orders the kernels, adding copies where an update can't be written in place.
///
/// # Panics
/// If the graph is cyclic, which its verifier excludes.
pub fn order(graph: &mut KernelGraph, replacement: Replacement) -> Order {
    copies::complete(graph);
    let mut jobs: DiGraph<Job, ()> = graph.kernels.map(|kernel, _| Job::Kernel(kernel), |_, _| ());
    let writer = writers(graph);
    let readers = readers(graph);
    let guards: Vec<NodeIndex> = (graph.guards.iter())
        .map(|&value| {
            let guard = jobs.add_node(Job::Guard(value));
            if let Some(kernel) = writer[value.0 as usize] {
                jobs.add_edge(kernel, guard, ());
            }
            guard
        })
        .collect();

    let mut alias = vec![None; graph.values.len()];
    let mut alternating = Vec::new();
    let old_value = copies::slot_values(graph);
    for update in 0..graph.updates.len() {
        let (slot, new) = graph.updates[update];
        let (Some(old), Some(kernel)) = (old_value[slot as usize], writer[new.0 as usize]) else {
            unreachable!("completed: every slot has a value, every update a kernel");
        };
        let before: Vec<NodeIndex> = (readers[old.0 as usize].iter().copied())
            .filter(|&reader| reader != kernel)
            .chain(guards.iter().copied())
            .collect();
        let reads_itself = readers[old.0 as usize].contains(&kernel);
        let in_place = alias[new.0 as usize].is_none()
            && (!reads_itself || is_pointwise(&graph.kernels[kernel], old, new))
            && before.iter().all(|&job| !has_path_connecting(&jobs, kernel, job, None));
        let last = if in_place {
            alias[new.0 as usize] = Some(old);
            kernel
        } else if replacement == Replacement::Alternate {
            alternating.push(slot);
            continue;
        } else {
            let (copy, copied) = copies::add_copy(graph, new);
            let job = jobs.add_node(Job::Kernel(copy));
            jobs.add_edge(kernel, job, ());
            alias.push(Some(old));
            graph.updates[update].1 = copied;
            job
        };
        for job in before {
            jobs.update_edge(job, last, ());
        }
    }

    let (phases, phase_of) = phases(&jobs, &graph.kernels);
    let lifetime = lifetimes(graph, &phase_of, phases.len());
    let is_update = |value| graph.updates.iter().any(|(_, update)| *update == ValueId(value));
    let readers = self::readers(graph);
    let is_read =
        readers.iter().zip(0..).map(|(readers, value)| !readers.is_empty() || is_update(value));
    let is_read = is_read.collect();
    Order { phases, alias, lifetime, is_read, alternating }
}

/// Assigns each job the first phase after all that it depends on. Guards and loops have phases of
/// their own. Returns the phases, and the phase of each kernel.
fn phases(
    jobs: &DiGraph<Job, ()>,
    kernels: &DiGraph<Kernel, ValueId>,
) -> (Vec<PhaseKind>, Vec<usize>) {
    let sorted = toposort(jobs, None).expect("a verified kernel graph is acyclic");
    let mut level = vec![0; jobs.node_count()];
    for &job in &sorted {
        let before = jobs.neighbors_directed(job, Direction::Incoming);
        level[job.index()] = before.map(|other| level[other.index()] + 1).max().unwrap_or(0);
    }
    let mut phases = Vec::new();
    let mut phase_of = vec![0; kernels.node_count()];
    for current in 0..=level.iter().copied().max().unwrap_or(0) {
        let members = jobs.node_indices().filter(|job| level[job.index()] == current);
        let mut together = Vec::new();
        for job in members {
            match jobs[job] {
                Job::Guard(value) => phases.push(PhaseKind::Guard(value)),
                Job::Kernel(kernel) if matches!(kernels[kernel].body, KernelBody::Loop(_)) => {
                    phase_of[kernel.index()] = phases.len();
                    phases.push(PhaseKind::Loop(kernel));
                }
                Job::Kernel(kernel) => together.push(kernel),
            }
        }
        for kernel in &together {
            phase_of[kernel.index()] = phases.len();
        }
        if !together.is_empty() {
            phases.push(PhaseKind::Kernels(together));
        }
    }
    (phases, phase_of)
}

/// Per value: phases from the first write to the last read; to the end for what is read after
/// the step or checked by a guard.
fn lifetimes(graph: &KernelGraph, phase_of: &[usize], end: usize) -> Vec<RangeInclusive<usize>> {
    let (writer, readers) = (writers(graph), readers(graph));
    (0..graph.values.len())
        .map(|index| {
            let value = ValueId(index as u32);
            let first = writer[index].map_or(0, |kernel| phase_of[kernel.index()]);
            let last = readers[index].iter().map(|reader| phase_of[reader.index()]).max();
            let stays = graph.guards.contains(&value)
                || graph.outputs.iter().any(|(_, output)| *output == value)
                || graph.updates.iter().any(|(_, update)| *update == value);
            first..=if stays { end } else { last.unwrap_or(first) }
        })
        .collect()
}

/// Per value: the kernel that writes it.
pub fn writers(graph: &KernelGraph) -> Vec<Option<KernelId>> {
    let mut writer = vec![None; graph.values.len()];
    for kernel in graph.kernels.node_indices() {
        for value in graph.kernels[kernel].stored() {
            writer[value.0 as usize] = Some(kernel);
        }
    }
    writer
}

/// Per value: the kernels that read it.
pub fn readers(graph: &KernelGraph) -> Vec<Vec<KernelId>> {
    let mut readers = vec![Vec::new(); graph.values.len()];
    for kernel in graph.kernels.node_indices() {
        for value in graph.kernels[kernel].loaded() {
            readers[value.0 as usize].push(kernel);
        }
    }
    readers
}
