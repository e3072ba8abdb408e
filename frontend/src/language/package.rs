//! A program: its file, the files that it uses, and the standard library.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use petgraph::algo::tarjan_scc;
use petgraph::graph::DiGraph;

use super::resolve::resolve;
use super::standard;
use crate::diagnostic::Diagnostic;
use crate::source::{FileId, SourceMap, Span};
use crate::syntax::ast::{self, Imports, Item};
use crate::syntax::{self, MAX_SOURCE_BYTES};

/// The number of a module (a file) in its [`Package`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(usize);

/// What a name at the top of a module stands for. Recipes have names of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definition {
    /// Item `item` of a module: a function or a binding.
    Item {
        /// The module it stands in.
        module: ModuleId,
        /// Its number among the module's items.
        item: usize,
    },
    /// A whole module: `use "file.cyg" as name`.
    Module(ModuleId),
}

/// One source file of a package.
#[derive(Debug)]
pub struct Module {
    /// The file's number.
    pub file: FileId,
    /// The definitions.
    pub ast: ast::File,
    /// Whether it belongs to the standard library.
    pub standard: bool,
    /// What the names at the top of the file stand for, imported ones included.
    pub names: HashMap<String, Definition>,
    /// The folder that `use` is relative to.
    folder: PathBuf,
    /// The modules that its `use` items name, by number of the item.
    uses: HashMap<usize, ModuleId>,
}

/// A parsed program with everything that it refers to.
#[derive(Debug)]
pub struct Package {
    sources: SourceMap,
    modules: Vec<Module>,
    root: ModuleId,
    prelude: HashMap<String, Definition>,
    diagnostics: Vec<Diagnostic>,
    /// Whether all of the text could be read.
    readable: bool,
}

impl Package {
    /// Reads the program in the file at `path`, and the files that it uses.
    ///
    /// What is wrong with it (also that there is no such file) is returned beside the package,
    /// which then holds what could be read.
    pub fn load(path: &Path) -> (Package, Vec<Diagnostic>) {
        let name = path.display().to_string();
        match read(path) {
            Ok(text) => Package::from_source(&name, &text),
            Err(reason) => {
                let (mut package, _) = Package::from_source(&name, "");
                let missing = Diagnostic::error("unreadable-file", format!("`{name}` {reason}"))
                    .help("give the path of a `.cyg` file");
                package.diagnostics = vec![missing.clone()];
                package.readable = false;
                (package, vec![missing])
            }
        }
    }

    /// The program `text`; `name` is the path that diagnostics show and that `use` is relative to.
    pub fn from_source(name: &str, text: &str) -> (Package, Vec<Diagnostic>) {
        let mut package = Package {
            sources: SourceMap::new(),
            modules: Vec::new(),
            root: ModuleId(0),
            prelude: HashMap::new(),
            diagnostics: Vec::new(),
            readable: true,
        };
        for (file, text) in standard::FILES {
            let module = package.parse(&format!("std/{file}"), text, PathBuf::new(), true);
            package.define(module);
            package.prelude.extend(package.modules[module.0].names.clone());
        }
        let folder = Path::new(name).parent().map(Path::to_path_buf).unwrap_or_default();
        package.root = package.parse(name, text, folder, false);
        package.load_uses();
        package.report_cycles();
        for module in package.root.0..package.modules.len() {
            package.define(ModuleId(module));
        }
        // With mistakes in the text, names may be missing that are there.
        let stray =
            |diagnostic: &Diagnostic| diagnostic.is_error() && diagnostic.code != "duplicate-name";
        package.readable = !package.diagnostics.iter().any(stray);
        if package.readable {
            let names: Vec<Diagnostic> =
                package.program().flat_map(|module| resolve(&package, module)).collect();
            package.diagnostics.extend(names);
        }
        let diagnostics = package.diagnostics.clone();
        (package, diagnostics)
    }

    /// All source files, for showing diagnostics.
    pub fn sources(&self) -> &SourceMap {
        &self.sources
    }

    /// What is wrong with the text of the program.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// What was reported, if there are mistakes in it.
    pub(super) fn errors_so_far(&self) -> Result<(), Vec<Diagnostic>> {
        match self.diagnostics.iter().any(Diagnostic::is_error) {
            true => Err(self.diagnostics.clone()),
            false => Ok(()),
        }
    }

    /// Whether the text of the program and of all files that it uses could be read without
    /// mistakes. If not, definitions may be missing or cut short.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// The module of the program's own file.
    pub fn root(&self) -> ModuleId {
        self.root
    }

    /// The module with this number.
    pub fn module(&self, id: ModuleId) -> &Module {
        &self.modules[id.0]
    }

    /// The modules of the program, its own file first; without the standard library.
    pub fn program(&self) -> impl Iterator<Item = ModuleId> {
        (self.root.0..self.modules.len()).map(ModuleId)
    }

    /// The modules of the standard library.
    pub fn standard(&self) -> impl Iterator<Item = ModuleId> {
        (0..self.root.0).map(ModuleId)
    }

    /// Whether a place lies in the standard library.
    pub fn is_standard(&self, span: Span) -> bool {
        (span.file as usize) < self.root.0
    }

    /// What `name` stands for at the top of `module`: its own definition, an import or one of the
    /// standard library.
    pub fn definition(&self, module: ModuleId, name: &str) -> Option<Definition> {
        let own = self.modules[module.0].names.get(name);
        own.or_else(|| self.prelude.get(name)).copied()
    }

    /// The item that a definition stands for; `None` for a whole module.
    pub fn item(&self, definition: Definition) -> Option<&Item> {
        match definition {
            Definition::Item { module, item } => Some(&self.modules[module.0].ast.items[item]),
            Definition::Module(_) => None,
        }
    }

    /// The names visible at the top of `module`, for suggestions; sorted.
    pub fn visible_names(&self, module: ModuleId) -> Vec<&str> {
        let own = self.modules[module.0].names.keys();
        let mut names: Vec<&str> = own.chain(self.prelude.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The functions of the program's own file with the given keyword, in order.
    pub fn functions(&self, kind: ast::FunctionKind) -> impl Iterator<Item = &ast::Function> {
        self.modules[self.root.0].ast.items.iter().filter_map(move |item| match item {
            Item::Function(function) if function.kind == kind => Some(function),
            _ => None,
        })
    }

    /// The recipes of the program's own file, in order.
    pub fn recipes(&self) -> impl Iterator<Item = &ast::Recipe> {
        self.modules[self.root.0].ast.items.iter().filter_map(|item| match item {
            Item::Recipe(recipe) => Some(recipe),
            _ => None,
        })
    }

    fn parse(&mut self, name: &str, text: &str, folder: PathBuf, standard: bool) -> ModuleId {
        let file = self.sources.add(name, text);
        let parsed = syntax::parse(&self.sources, file);
        self.diagnostics.extend(parsed.diagnostics);
        self.modules.push(Module {
            file,
            ast: parsed.ast,
            standard,
            names: HashMap::new(),
            folder,
            uses: HashMap::new(),
        });
        ModuleId(self.modules.len() - 1)
    }

    /// Reads the files that modules use, and those that these use.
    fn load_uses(&mut self) {
        let mut known: HashMap<PathBuf, ModuleId> = HashMap::new();
        let root_name = self.sources.file(self.modules[self.root.0].file).name();
        if let Ok(path) = Path::new(root_name).canonicalize() {
            known.insert(path, self.root);
        }
        let mut next = self.root.0;
        while next < self.modules.len() {
            let uses: Vec<(usize, ast::Use)> = self.modules[next]
                .ast
                .items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| match item {
                    Item::Use(item) => Some((index, item.clone())),
                    _ => None,
                })
                .collect();
            for (index, item) in uses {
                let Some(relative) = item.path.plain() else {
                    let text = "the path of a used file is fixed text, without values";
                    self.diagnostics.push(
                        Diagnostic::error("use-path", text)
                            .primary(item.path.span, "values in a path")
                            .help("write the path out"),
                    );
                    continue;
                };
                let path = self.modules[next].folder.join(relative);
                let key = path.canonicalize().unwrap_or_else(|_| path.clone());
                let module = match known.get(&key) {
                    Some(&module) => module,
                    None => match read(&path) {
                        Ok(text) => {
                            let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
                            let name = path.display().to_string();
                            let module = self.parse(&name, &text, folder, false);
                            known.insert(key, module);
                            module
                        }
                        Err(reason) => {
                            self.diagnostics.push(
                                Diagnostic::error(
                                    "unreadable-file",
                                    format!("`{}` {reason}", path.display()),
                                )
                                .primary(item.path.span, "used here")
                                .help("the path is relative to the file that the `use` stands in"),
                            );
                            continue;
                        }
                    },
                };
                self.modules[next].uses.insert(index, module);
            }
            next += 1;
        }
    }

    /// Files that use each other in a circle.
    fn report_cycles(&mut self) {
        let mut graph = DiGraph::<(), Span>::new();
        let nodes: Vec<_> = self.modules.iter().map(|_| graph.add_node(())).collect();
        for (index, module) in self.modules.iter().enumerate() {
            for (&item, &used) in &module.uses {
                graph.add_edge(nodes[index], nodes[used.0], module.ast.items[item].span());
            }
        }
        for component in tarjan_scc(&graph) {
            let mut inside: Vec<(Span, String)> = graph
                .edge_indices()
                .filter_map(|edge| {
                    let (from, to) = graph.edge_endpoints(edge)?;
                    let both = component.contains(&from) && component.contains(&to);
                    let file = self.modules[to.index()].file;
                    let name = self.sources.file(file).name().to_owned();
                    both.then(|| (graph[edge], name))
                })
                .collect();
            inside.sort();
            let mut spans = inside.into_iter();
            let Some((first, name)) = spans.next() else { continue };
            let mut diagnostic = Diagnostic::error("use-cycle", "files use each other in a circle")
                .primary(first, format!("uses `{name}`"))
                .help("move what both need into a third file");
            for (span, name) in spans {
                diagnostic = diagnostic.secondary(span, format!("uses `{name}`"));
            }
            self.diagnostics.push(diagnostic);
        }
    }

    /// Fills a module's names.
    fn define(&mut self, id: ModuleId) {
        let module = &self.modules[id.0];
        let mut names: HashMap<String, (Definition, Span)> = HashMap::new();
        let mut recipes: HashMap<&str, Span> = HashMap::new();
        let (mut diagnostics, mut missing) = (Vec::new(), Vec::new());
        for (index, item) in module.ast.items.iter().enumerate() {
            let here = Definition::Item { module: id, item: index };
            let mut define = |name: &ast::Ident, definition: Definition| {
                if let Some((_, before)) = names.get(&name.name) {
                    diagnostics.push(duplicate(&name.name, name.span, *before));
                } else {
                    names.insert(name.name.clone(), (definition, name.span));
                }
            };
            match item {
                Item::Function(function) => define(&function.name, here),
                Item::Binding(binding) => {
                    for name in binding.pattern.names() {
                        define(name, here);
                    }
                }
                Item::Recipe(recipe) => {
                    if let Some(before) = recipes.insert(&recipe.name.name, recipe.name.span) {
                        diagnostics.push(duplicate(&recipe.name.name, recipe.name.span, before));
                    }
                }
                Item::Use(item) => {
                    let Some(&used) = module.uses.get(&index) else { continue };
                    match &item.imports {
                        Imports::Module(name) => define(name, Definition::Module(used)),
                        Imports::Names(imported) => {
                            for name in imported {
                                match self.own_definition(used, &name.name) {
                                    Some(definition) => define(name, definition),
                                    None => missing.push(self.missing_import(used, name)),
                                }
                            }
                        }
                        Imports::All => {
                            for name in self.own_names(used) {
                                if let Some(definition) = self.own_definition(used, &name.name) {
                                    let name = ast::Ident { name: name.name, span: item.span };
                                    define(&name, definition);
                                }
                            }
                        }
                    }
                }
            }
        }
        diagnostics.append(&mut missing);
        if !module.standard {
            let mut shadowing: Vec<_> =
                names.iter().filter(|(name, _)| self.prelude.contains_key(*name)).collect();
            shadowing.sort_by_key(|(_, (_, span))| *span);
            for (name, (_, span)) in shadowing {
                diagnostics.push(
                    Diagnostic::warning(
                        "shadows-standard",
                        format!("`{name}` hides the definition of the standard library"),
                    )
                    .primary(*span, "defined here")
                    .help("give it another name unless every use is meant to change"),
                );
            }
        }
        let names = names.into_iter().map(|(name, (definition, _))| (name, definition)).collect();
        self.modules[id.0].names = names;
        self.diagnostics.extend(diagnostics);
    }

    /// The names that a module itself defines.
    fn own_names(&self, module: ModuleId) -> Vec<ast::Ident> {
        let items = &self.modules[module.0].ast.items;
        items
            .iter()
            .flat_map(|item| match item {
                Item::Function(function) => vec![&function.name],
                Item::Binding(binding) => binding.pattern.names(),
                Item::Use(_) | Item::Recipe(_) => Vec::new(),
            })
            .cloned()
            .collect()
    }

    fn own_definition(&self, module: ModuleId, name: &str) -> Option<Definition> {
        let items = &self.modules[module.0].ast.items;
        let item = items.iter().position(|item| match item {
            Item::Function(function) => function.name.name == name,
            Item::Binding(binding) => {
                binding.pattern.names().iter().any(|bound| bound.name == name)
            }
            Item::Use(_) | Item::Recipe(_) => false,
        })?;
        Some(Definition::Item { module, item })
    }

    fn missing_import(&self, module: ModuleId, name: &ast::Ident) -> Diagnostic {
        let file = self.sources.file(self.modules[module.0].file).name();
        let names = self.own_names(module);
        let missing = Diagnostic::error(
            "unknown-import",
            format!("`{file}` does not define `{}`", name.name),
        )
        .primary(name.span, "not defined there");
        let near = crate::diagnostic::closest(&name.name, names.iter().map(|n| n.name.as_str()));
        match near {
            Some(near) => missing.help(format!("did you mean `{near}`?")),
            None => missing.help("import a name that the file defines itself"),
        }
    }
}

/// Two definitions of one name.
pub(super) fn duplicate(name: &str, span: Span, before: Span) -> Diagnostic {
    Diagnostic::error("duplicate-name", format!("`{name}` is defined twice"))
        .primary(span, "defined again here")
        .secondary(before, "first defined here")
        .help("give one of them another name")
}

/// The text of a source file, or what is wrong with the file, as the rest of a sentence.
fn read(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is not a file".to_owned());
    }
    if metadata.len() > MAX_SOURCE_BYTES as u64 {
        return Err(format!("has more than {MAX_SOURCE_BYTES} bytes"));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    String::from_utf8(bytes)
        .map_err(|error| format!("is not UTF-8 text (byte {})", error.utf8_error().valid_up_to()))
}
