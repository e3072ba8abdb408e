//! Names: what every one of them stands for, before anything is evaluated.
//!
//! This pass reads every definition of a program from top to bottom, also what a static `if` would
//! leave out, and reports unknown, repeated and unused names, assignments to what cannot be
//! assigned, and arguments that the called definition does not have.

mod calls;
mod expressions;
mod names;

use names::{Kind, Names};

use super::evaluate::is_input;
use super::package::{ModuleId, Package, duplicate};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::syntax::ast::{
    self, Block, Body, ClauseKind, Declaration, Function, FunctionKind, Item, Pattern, Recipe,
    Shape, Statement, TypeKind,
};

/// Resolves the names of all definitions in `module`.
pub(super) fn resolve(package: &Package, module: ModuleId) -> Vec<Diagnostic> {
    let mut resolver = Resolver {
        package,
        module,
        names: Names::default(),
        diagnostics: Vec::new(),
        loops: 0,
        run: false,
        pure: false,
    };
    for item in &package.module(module).ast.items {
        match item {
            Item::Function(function) => {
                resolver.pure = function.kind == FunctionKind::Fn;
                resolver.function(function);
                resolver.pure = false;
            }
            Item::Recipe(recipe) => resolver.recipe(recipe),
            Item::Binding(binding) => {
                resolver.expr(&binding.value);
            }
            Item::Use(_) => {}
        }
    }
    resolver.diagnostics.sort_by_key(Diagnostic::primary_span);
    resolver.diagnostics
}

/// Names that the language defines everywhere.
const LANGUAGE_NAMES: [&str; 4] = ["training", "inf", "nan", "pi"];

/// Names that the language defines in recipes and optimizers.
const RUN_NAMES: [&str; 3] = ["step", "steps", "epoch"];

struct Resolver<'p> {
    package: &'p Package,
    module: ModuleId,
    names: Names<'p>,
    diagnostics: Vec<Diagnostic>,
    /// How many loops are open in the innermost function.
    loops: u32,
    /// Whether `step` and `epoch` are defined here.
    run: bool,
    /// Whether this is a `fn` at the top of a file, which owns nothing.
    pure: bool,
}

impl<'p> Resolver<'p> {
    /// A definition with a scope of its own.
    fn function(&mut self, function: &'p Function) {
        let loops = std::mem::take(&mut self.loops);
        let run = std::mem::replace(&mut self.run, function.kind == FunctionKind::Optimizer);
        self.names.open(true);
        if function.kind == FunctionKind::Optimizer {
            self.names.define("value", function.name.span, Kind::Given);
            self.names.define("grad", function.name.span, Kind::Given);
        }
        self.parameters(&function.parameters);
        self.inputs_first(function);
        if let Some(ty) = &function.result {
            // Names that only the result has are bound when the body is known.
            self.ty(ty);
        }
        match &function.body {
            Body::Block(block) => self.statements(block, function.kind == FunctionKind::Model),
            Body::Expr(expr) => self.expr(expr),
        }
        self.close();
        self.loops = loops;
        self.run = run;
    }

    /// Parameters: their names, and the dims that their types bind.
    fn parameters(&mut self, parameters: &'p [ast::Parameter]) {
        for parameter in parameters {
            let name = &parameter.name;
            if let Some(before) = self.names.define(&name.name, name.span, Kind::Parameter) {
                let text = format!("two parameters are called `{}`", name.name);
                self.diagnostics.push(
                    Diagnostic::error("duplicate-name", text)
                        .primary(name.span, "defined again here")
                        .secondary(before, "first defined here")
                        .help("give one of them another name"),
                );
            }
        }
        for parameter in parameters {
            if let Some(ty) = &parameter.ty {
                self.ty(ty);
            }
        }
        for parameter in parameters {
            if let Some(default) = &parameter.default {
                self.expr(default);
            }
        }
    }

    fn inputs_first(&mut self, function: &'p Function) {
        let mut fixed: Option<&ast::Parameter> = None;
        for parameter in &function.parameters {
            match (is_input(parameter), fixed) {
                (false, _) => fixed = Some(parameter),
                (true, Some(before)) => {
                    let name = &parameter.name.name;
                    self.diagnostics.push(
                        Diagnostic::error(
                            "input-after-static",
                            format!("the input `{name}` stands behind a static parameter"),
                        )
                        .primary(parameter.span, "an input")
                        .secondary(before.span, "a static parameter")
                        .help("tensor inputs come first"),
                    );
                    return;
                }
                (true, None) => {}
            }
        }
    }

    /// A type: names without a meaning become dims.
    fn ty(&mut self, ty: &'p ast::Type) {
        match &ty.kind {
            TypeKind::Tensor { shape, .. } => self.binding_shape(shape),
            TypeKind::Tuple(types) => types.iter().for_each(|ty| self.ty(ty)),
            TypeKind::Name(_) | TypeKind::Error => {}
        }
    }

    /// A shape that gives names to axes: names that are unknown so far are bound by it.
    fn binding_shape(&mut self, shape: &'p Shape) {
        for (name, span) in shape.names() {
            if !self.names.mark(name) && !self.is_global_value(name) {
                self.names.define(name, span, Kind::Dim);
            }
        }
        self.shape(shape);
    }

    /// The statements of a block, in the scope that is open.
    ///
    /// Functions that a `model` holds are its entry points.
    fn statements(&mut self, block: &'p Block, model: bool) {
        // Functions can be used before they stand there.
        for statement in &block.statements {
            if let Statement::Function(function) = statement {
                self.define(&function.name, if model { Kind::EntryPoint } else { Kind::Function });
            }
        }
        for statement in &block.statements {
            match statement {
                Statement::Binding(binding) => self.binding(binding),
                Statement::Declaration(declaration) => self.declaration(declaration),
                Statement::Assignment(assignment) => self.assignment(assignment),
                Statement::Function(function) => self.function(function),
                Statement::Yield(statement) => {
                    self.expr(&statement.value);
                    if self.loops == 0 {
                        self.diagnostics.push(
                            Diagnostic::error("stray-yield", "`yield` stands in no loop")
                                .primary(statement.span, "nothing collects this")
                                .help("the value of a block is its last expression"),
                        );
                    }
                }
                Statement::Expr(expr) => self.expr(expr),
                Statement::Error(_) => {}
            }
        }
    }

    fn binding(&mut self, binding: &'p ast::Binding) {
        self.expr(&binding.value);
        if let Some(ty) = &binding.ty {
            self.ty(ty);
        }
        let kind = if binding.mutable { Kind::Variable } else { Kind::Value };
        self.pattern(&binding.pattern, kind);
    }

    fn declaration(&mut self, declaration: &'p Declaration) {
        if let Some(literal) = &declaration.stored_name {
            self.string(literal);
        }
        if let Some(ast::Type { kind: TypeKind::Tensor { shape, .. }, .. }) = &declaration.ty {
            self.shape(shape);
        }
        self.expr(&declaration.initial);
        let kind = match declaration.kind {
            ast::DeclarationKind::Param => Kind::Weight,
            ast::DeclarationKind::State => Kind::State,
        };
        self.define(&declaration.name, kind);
    }

    fn assignment(&mut self, assignment: &'p ast::Assignment) {
        self.expr(&assignment.value);
        let name = &assignment.name;
        let diagnostic = match self.names.find(&name.name) {
            Some(local) if local.kind.is_assignable() && !local.outside => return,
            Some(local) => {
                let why = match local.outside {
                    true => format!("`{}` belongs to the definition around this one", name.name),
                    false => format!("`{}` is {}", name.name, local.kind.describe()),
                };
                Diagnostic::error("not-assignable", format!("`{}` cannot be assigned", name.name))
                    .primary(name.span, why)
                    .secondary(local.span, "bound here")
            }
            None => {
                Diagnostic::error("not-assignable", format!("there is no variable `{}`", name.name))
                    .primary(name.span, "not bound before")
            }
        };
        let help = format!("declare it first: `var {} = ...`", name.name);
        self.diagnostics.push(diagnostic.help(help));
    }

    fn pattern(&mut self, pattern: &'p Pattern, kind: Kind) {
        for name in pattern.names() {
            self.define(name, kind);
        }
    }

    /// Binds a name in the innermost scope; once only.
    fn define(&mut self, name: &'p ast::Ident, kind: Kind) {
        if let Some(before) = self.names.define(&name.name, name.span, kind) {
            self.diagnostics.push(duplicate(&name.name, name.span, before));
        }
    }

    /// Closes the innermost scope and reports what was not used in it.
    fn close(&mut self) {
        for local in self.names.close() {
            let name = local.name;
            if local.used || name.starts_with('_') {
                continue;
            }
            let Some(what) = local.kind.unused() else { continue };
            self.diagnostics.push(
                Diagnostic::warning("unused-name", format!("the {what} `{name}` is never used"))
                    .primary(local.span, "not used")
                    .help(format!("take it away, or call it `_{name}` if it has to be there")),
            );
        }
    }

    /// A recipe.
    fn recipe(&mut self, recipe: &'p Recipe) {
        self.run = true;
        self.names.open(true);
        self.parameters(&recipe.parameters);
        for clause in &recipe.clauses {
            match &clause.kind {
                ClauseKind::Binding(binding) => self.binding(binding),
                ClauseKind::Declaration(declaration) => self.declaration(declaration),
                ClauseKind::Assignment(assignment) => self.assignment(assignment),
                ClauseKind::Data { fields, source } => {
                    for field in fields {
                        if let Some(ty) = &field.ty {
                            self.ty(ty);
                        }
                        self.pattern(&field.pattern, Kind::Value);
                    }
                    self.source(source);
                }
                ClauseKind::Load { targets, source } => {
                    self.paths(targets);
                    self.source(source);
                }
                ClauseKind::Freeze { targets, condition } => {
                    self.paths(targets);
                    condition.iter().for_each(|condition| self.expr(condition));
                }
                ClauseKind::Minimize { name, objective, groups } => {
                    self.expr(objective);
                    for group in groups {
                        group.over.iter().for_each(|over| self.paths(over));
                        self.using(group);
                    }
                    if let Some(name) = name {
                        // It need not be used: it also names what is shown.
                        self.define(name, Kind::Objective);
                    }
                }
                ClauseKind::Batch(expr)
                | ClauseKind::Accumulate(expr)
                | ClauseKind::Epochs(expr)
                | ClauseKind::Stop(expr) => self.expr(expr),
                ClauseKind::Report(entries) => {
                    entries.iter().for_each(|entry| self.expr(&entry.value));
                }
                ClauseKind::Show(exprs) => {
                    exprs.iter().for_each(|expr| self.expr(expr));
                }
                ClauseKind::Error => {}
            }
        }
        self.close();
        self.run = false;
    }

    /// Transformations of gradients, which get them as their first argument, and an optimizer.
    fn using(&mut self, group: &'p ast::UpdateGroup) {
        let steps = match group.steps() {
            Ok(steps) => steps,
            Err(span) => {
                return self.report(
                    Diagnostic::error("gradient-steps", "gradients have no axes to move")
                        .primary(span, "not a transformation of gradients")
                        .help(
                            "write functions before the optimizer: `clip_norm(1.0) |> adam(lr: \
                             lr)`",
                        ),
                );
            }
        };
        let last = steps.len() - 1;
        for (number, step) in steps.into_iter().enumerate() {
            self.expr(step.callee);
            let arguments = step.arguments.unwrap_or(&[]);
            arguments.iter().for_each(|argument| self.expr(&argument.value));
            if step.arguments.is_some() || number < last {
                let gradients = (number < last).then_some(step.span);
                self.call(step.callee, gradients, arguments, step.span);
            }
        }
    }

    /// The call that names a source of data or weights: the name is not one of the program.
    fn source(&mut self, source: &'p ast::Expr) {
        if let ast::ExprKind::Call { arguments, .. } = &source.kind {
            arguments.iter().for_each(|argument| self.expr(&argument.value));
        }
    }

    /// Paths of parameters: each starts with an instance or a model.
    fn paths(&mut self, paths: &'p ast::Paths) {
        for path in paths.included.iter().chain(&paths.excluded) {
            self.name(&path.root.name, path.root.span);
        }
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Whether a name is bound to a value at the top of the module, so that a shape means it.
    fn is_global_value(&self, name: &str) -> bool {
        self.package
            .definition(self.module, name)
            .and_then(|definition| self.package.item(definition))
            .is_some_and(|item| matches!(item, Item::Binding(_)))
    }

    fn unknown_name(&mut self, name: &str, span: Span) {
        let language = LANGUAGE_NAMES.iter().chain(RUN_NAMES.iter().filter(|_| self.run));
        let known = (self.names.visible().into_iter())
            .chain(self.package.visible_names(self.module))
            .chain(super::builtins::Builtin::names())
            .chain(language.copied());
        let unknown = Diagnostic::error("unknown-name", format!("there is no `{name}`"))
            .primary(span, "not defined");
        let near = crate::diagnostic::closest(name, known);
        if let Some(near) = near {
            // It was probably meant, so it is not unused.
            self.names.mark(near);
        }
        self.report(match near {
            Some(near) => unknown.help(format!("did you mean `{near}`?")),
            None if RUN_NAMES.contains(&name) => {
                unknown.help(format!("`{name}` is known in recipes and optimizers only"))
            }
            None => unknown.help("define it before it is used"),
        });
    }
}
