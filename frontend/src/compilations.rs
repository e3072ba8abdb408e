//! Compiled graphs that several sessions share, so that each graph is compiled once.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cygnet_compiler::graph::Graph;

use crate::session::Obtained;

/// What was compiled so far, all with the same options. Threads that need the same graph at the
/// same time wait for one compilation of it.
#[derive(Default)]
pub struct Compilations {
    entries: Mutex<Vec<Arc<Compilation>>>,
}

struct Compilation {
    graph: Graph,
    /// What became of it, or how the compiler failed.
    outcome: OnceLock<Result<Obtained, String>>,
}

impl Compilations {
    /// What `obtain` makes of the graph, unless it has made it of an equal one before.
    ///
    /// # Errors
    /// Those of `obtain`.
    pub(crate) fn obtain(
        &self,
        graph: &Graph,
        obtain: impl FnOnce() -> Result<Obtained, String>,
    ) -> Result<Obtained, String> {
        let entry = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            match entries.iter().find(|entry| entry.graph.computes_the_same(graph)) {
                Some(entry) => Arc::clone(entry),
                None => {
                    let entry = Compilation { graph: graph.clone(), outcome: OnceLock::new() };
                    entries.push(Arc::new(entry));
                    Arc::clone(&entries[entries.len() - 1])
                }
            }
        };
        entry.outcome.get_or_init(obtain).clone()
    }

    /// How many graphs were compiled.
    pub fn count(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl std::fmt::Debug for Compilations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compilations").field("count", &self.count()).finish()
    }
}
