//! Compiled graphs that several sessions share, so that each graph is compiled once.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cygnet_compiler::compile::{CompileOptions, Compiled, compile};
use cygnet_compiler::graph::Graph;

/// What was compiled so far, all with the same options. Threads that need the same graph at the
/// same time wait for one compilation of it.
#[derive(Default)]
pub struct Compilations {
    entries: Mutex<Vec<Arc<Compilation>>>,
}

struct Compilation {
    graph: Graph,
    /// What became of it, or how the compiler failed.
    outcome: OnceLock<Result<Arc<Compiled>, String>>,
}

impl Compilations {
    /// The graph, compiled now unless an equal one was before.
    ///
    /// # Errors
    /// How the compiler failed.
    pub fn compiled(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<Arc<Compiled>, String> {
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
        let outcome = entry.outcome.get_or_init(|| match compile(graph, options, |_| {}) {
            Ok((_, compiled)) => Ok(Arc::new(compiled)),
            Err(error) => Err(error.to_string()),
        });
        outcome.clone()
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
