//! Programs stored, loaded, damaged.

use std::path::Path;
use std::time::Duration;

use cygnet_compiler::compile::compile;
use cygnet_compiler::graph::{Output, SlotRole};
use cygnet_compiler::op::{Elementwise, Emit};
use cygnet_compiler::optimize::MathMode;
use cygnet_compiler::types::TensorType;
use cygnet_runtime::dtype::DType;
use cygnet_runtime::tensor::Tensor;

use super::*;
use crate::session::{Session, SessionOptions};

/// The exponential, or another function, of `count` numbers.
fn graph(function: &str, count: usize) -> Graph {
    let mut graph = Graph::new();
    let slot = graph.declare_slot("x", SlotRole::Input, TensorType::new(DType::F32, &[count]));
    let x = graph.read_slot(slot);
    let function = Elementwise::named(function).expect("an entry of the table");
    let node = graph.emit(function.into(), &[x]);
    graph.outputs.push(Output { name: "y".to_owned(), node });
    graph
}

/// A product, with what follows on it, and a sum.
fn product() -> Graph {
    let mut graph = Graph::new();
    let mut slot = |name: &str, shape: &[usize]| {
        let slot = graph.declare_slot(name, SlotRole::Input, TensorType::new(DType::F32, shape));
        graph.read_slot(slot)
    };
    let (x, weight) = (slot("x", &[40, 30]), slot("weight", &[30, 50]));
    let y = graph.contract(x, weight, &[], &[(1, 0)]);
    let node = graph.emit(Elementwise::named("tanh").expect("an entry").into(), &[y]);
    graph.outputs.push(Output { name: "y".to_owned(), node });
    graph
}

fn options(folder: &Path) -> SessionOptions {
    let cache = Some(Cache::new(folder.to_owned(), MOST_BYTES));
    SessionOptions { cache, threads: 1, ..SessionOptions::default() }
}

fn result(session: &mut Session) -> Vec<f32> {
    session.set("x", &Tensor::from_slice(&[3], &[0.0f32, 1.0, -2.0])).unwrap();
    session.step();
    session.output("y").unwrap().as_slice::<f32>().to_vec()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// A cache with the program of a graph, the key, and the bytes of the file.
struct Stored {
    folder: tempfile::TempDir,
    cache: Cache,
    graph: Graph,
    key: Key,
    bytes: Vec<u8>,
}

impl Stored {
    fn new(graph: Graph) -> Stored {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned(), MOST_BYTES);
        let key = Cache::key(&graph, &CompileOptions::default()).unwrap();
        let compiled = compile(&graph, &CompileOptions::default(), |_| {}).unwrap();
        cache.store(key, &compiled.loaded.bundle);
        let bytes = fs::read(cache.path(key)).unwrap();
        Stored { folder, cache, graph, key, bytes }
    }

    /// Whether a program is loaded if the file has these bytes.
    fn loads(&self, bytes: &[u8]) -> bool {
        fs::write(self.cache.path(self.key), bytes).unwrap();
        self.cache.load(self.key, &self.graph, Cpu::detect()).is_some()
    }
}

#[test]
fn a_stored_program_computes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (graph, options) = (graph("exp", 3), options(&folder.path().join("new")));
    let mut first = Session::new(&graph, &options).unwrap();
    assert!(first.compiled().is_some());
    let mut second = Session::new(&graph, &options).unwrap();
    assert!(second.compiled().is_none(), "it was compiled again");
    assert_eq!(result(&mut first), result(&mut second));
    assert_eq!(second.executable().kernels, first.executable().kernels);
}

#[test]
fn keys_tell_programs_apart() {
    let options = CompileOptions::default();
    let key = |graph: &Graph, options: &CompileOptions| Cache::key(graph, options).unwrap();
    let one = key(&graph("exp", 3), &options);
    assert_eq!(one, key(&graph("exp", 3), &CompileOptions { threads: 1, ..options }));
    assert_ne!(one, key(&graph("exp", 4), &options));
    assert_ne!(one, key(&graph("tanh", 3), &options));
    let mut keys = vec![one];
    let mut differs = |options: &CompileOptions| {
        let key = key(&graph("exp", 3), options);
        assert!(!keys.contains(&key), "{options:?}");
        keys.push(key);
    };
    for cpu in [Cpu::Portable, Cpu::Avx2, Cpu::Avx512] {
        if cpu != options.cpu {
            differs(&CompileOptions { cpu, ..options });
        }
    }
    for math in [MathMode::Strict, MathMode::Finite] {
        let mut options = options;
        options.optimize.math = math;
        differs(&options);
    }
    let mut fixed = options;
    fixed.optimize.fixed_weights = true;
    differs(&fixed);
    let mut plain = options;
    plain.optimize.algebra = false;
    differs(&plain);
}

#[test]
fn damaged_files_count_as_absent() {
    let stored = Stored::new(graph("exp", 3));
    let whole = stored.bytes.clone();
    assert!(stored.loads(&whole));
    // Every byte: magic bytes, version, key, length, checksum, program.
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 1 << (place % 8);
        assert!(!stored.loads(&damaged), "byte {place}");
    }
    for length in (0..HEADER_BYTES + 1).chain([whole.len() / 2, whole.len() - 1]) {
        assert!(!stored.loads(&whole[..length]), "{length} bytes");
    }
    assert!(!stored.loads(&[&whole[..], b"more"].concat()));
    // A file under the name of another program.
    let other = Key(stored.key.0 ^ 1);
    fs::write(stored.cache.path(other), &whole).unwrap();
    assert!(stored.cache.load(other, &stored.graph, Cpu::detect()).is_none());
    // The program of another graph, as if keys were equal.
    fs::write(stored.cache.path(stored.key), &whole).unwrap();
    assert!(stored.cache.load(stored.key, &graph("exp", 4), Cpu::detect()).is_none());
}

#[test]
fn damaged_files_are_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (graph, options) = (graph("exp", 3), options(folder.path()));
    let expected = result(&mut Session::new(&graph, &options).unwrap());
    let [path] = &files(folder.path())[..] else { panic!("one file") };
    let whole = fs::read(path).unwrap();
    for damaged in [&b""[..], b"cygnet\0\0", &whole[..100]] {
        fs::write(path, damaged).unwrap();
        let mut session = Session::new(&graph, &options).unwrap();
        assert!(session.compiled().is_some());
        assert_eq!(result(&mut session), expected);
        assert!(Session::new(&graph, &options).unwrap().compiled().is_none());
        assert_eq!(fs::read(path).unwrap(), whole, "compilation is deterministic");
    }
}

/// Files that are what they say they are, but whose program was changed: what can be checked is,
/// and nothing panics. (They are not run.)
#[test]
fn inconsistent_programs_are_refused() {
    let stored = Stored::new(product());
    let program = stored.bytes[HEADER_BYTES..].to_vec();
    let forged = |program: &[u8]| [&header(program, stored.key)[..], program].concat();
    assert!(stored.loads(&forged(&program)));
    let mut refused = 0;
    for place in 0..program.len() {
        for value in [0, 0x7f, 0xff] {
            let mut changed = program.clone();
            changed[place] = value;
            refused += usize::from(!stored.loads(&forged(&changed)));
        }
    }
    assert!(refused > 200, "{refused}");
    for length in 0..program.len() {
        assert!(!stored.loads(&forged(&program[..length])), "{length} bytes");
    }
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let stored = Stored::new(graph("exp", 3));
    let compiled = compile(&stored.graph, &CompileOptions::default(), |_| {}).unwrap();
    let program = &compiled.loaded.bundle;
    let folder = stored.folder.path();
    let small = Cache::new(folder.to_owned(), 2 * stored.bytes.len() as u64);
    let age = |path: &Path, seconds| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    };
    // One that was left by a process that was killed, and one that is being written.
    let (left, written) = (folder.join("a.unfinished"), folder.join("b.unfinished"));
    fs::write(&left, "left").unwrap();
    fs::write(&written, "written").unwrap();
    age(&left, 1);
    let other = Key(2);
    small.store(other, program);
    assert!(!left.exists() && written.exists());
    age(&small.path(stored.key), 10);
    age(&small.path(other), 20);
    // It is used.
    assert!(small.load(stored.key, &stored.graph, Cpu::detect()).is_some());
    small.store(Key(3), program);
    assert!(small.path(stored.key).exists() && small.path(Key(3)).exists());
    assert!(!small.path(other).exists());
    // Two programs, and the one being written.
    assert_eq!(files(folder).len(), 3);
}

#[test]
fn a_folder_that_cannot_be_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let mut session = Session::new(&graph("exp", 3), &options(&file)).unwrap();
    assert_eq!(result(&mut session)[0], 1.0);
}

#[cfg(unix)]
#[test]
fn a_folder_that_everybody_may_write_to_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let stored = Stored::new(graph("exp", 3));
    assert!(stored.loads(&stored.bytes));
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(stored.folder.path(), open).unwrap();
    assert!(!stored.loads(&stored.bytes));
    Session::new(&graph("tanh", 3), &options(stored.folder.path())).unwrap();
    assert_eq!(files(stored.folder.path()).len(), 1);
}

#[test]
fn the_environment_tells_the_folder() {
    let folder_of = |variables: &[(&str, &str)]| {
        folder(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    };
    let home = ("HOME", "/home/ada");
    assert_eq!(folder_of(&[home]), Some("/home/ada/.cache/cygnet".into()));
    let caches = ("XDG_CACHE_HOME", "/caches");
    assert_eq!(folder_of(&[home, caches]), Some("/caches/cygnet".into()));
    let relative = ("XDG_CACHE_HOME", "caches");
    assert_eq!(folder_of(&[home, relative]), Some("/home/ada/.cache/cygnet".into()));
    assert_eq!(folder_of(&[home, caches, (VARIABLE, "/mine")]), Some("/mine".into()));
    assert_eq!(folder_of(&[home, caches, (VARIABLE, "off")]), None);
    assert_eq!(folder_of(&[home, (VARIABLE, "")]), Some("/home/ada/.cache/cygnet".into()));
    assert_eq!(folder_of(&[]), None);
}
