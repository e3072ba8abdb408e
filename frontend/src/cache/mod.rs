//! Compiled programs on disk, so that a process need not compile what another one has.
//!
//! A file holds one [`Bundle`]. Its name is a hash of all that the program depends on: the
//! graph, the options, the machine's instructions and the build of Cygnet. It is written under
//! another name first and then renamed, so nobody reads half of one; a header with length and
//! checksum finds files that were damaged later, which count as absent. Nothing here is an error:
//! what cannot be read is compiled, and what cannot be written is compiled again next time.

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cygnet_compiler::compile::CompileOptions;
use cygnet_compiler::executable::{Bundle, Loaded, fingerprint};
use cygnet_compiler::graph::Graph;
use cygnet_runtime::cpu::Cpu;
use siphasher::sip128::{Hasher128, SipHasher13};

/// The environment variable that tells the folder, or `off`.
pub const VARIABLE: &str = "CYGNET_CACHE";

/// Most bytes of all files together, if not told otherwise.
const MOST_BYTES: u64 = 256 << 20;

/// What a file starts with; the last byte is the version of the format.
const MAGIC: [u8; 8] = *b"cygnet\0\x01";

/// Bytes in front of the program: the magic bytes, key, length and checksum.
const HEADER_BYTES: usize = 8 + 16 + 8 + 16;

/// How files end.
const EXTENSION: &str = ".program";

/// How files end that are being written.
const UNFINISHED: &str = ".unfinished";

/// Nobody writes for longer than this.
const WRITING: Duration = Duration::from_secs(3600);

/// A folder of compiled programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
    most_bytes: u64,
}

/// What a program depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u128);

impl Cache {
    /// A cache in a folder, which is made when something is stored, of files that together take at
    /// most so many bytes.
    pub fn new(folder: PathBuf, most_bytes: u64) -> Cache {
        Cache { folder, most_bytes }
    }

    /// The user's: in the folder that [`VARIABLE`] tells, else in `cygnet` in the folder for caches
    /// (`$XDG_CACHE_HOME`, or `.cache` at home). None if the variable is `off`, or there is no such
    /// folder.
    pub fn of_user() -> Option<Cache> {
        Some(Cache::new(folder(&|name| std::env::var_os(name))?, MOST_BYTES))
    }

    /// The key of a graph's program; none if there is no code generator for this machine.
    pub fn key(graph: &Graph, options: &CompileOptions) -> Option<Key> {
        let mut hasher = SipHasher13::new();
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        fingerprint(graph, options, &mut hasher).ok()?;
        Some(Key(hasher.finish128().as_u128()))
    }

    /// The program with this key, in memory, if there is one, it is whole, and it is the graph's.
    pub fn load(&self, key: Key, graph: &Graph, cpu: Cpu) -> Option<Loaded> {
        if !self.is_trusted() {
            return None;
        }
        let path = self.path(key);
        let bytes = fs::read(&path).ok()?;
        let bundle: Bundle = postcard::from_bytes(payload(&bytes, key)?).ok()?;
        let loaded = bundle.load(cpu).ok().filter(|loaded| loaded.bundle.is_of(graph))?;
        // Files that were not used for longest are removed first.
        let file = File::options().append(true).open(&path);
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
        Some(loaded)
    }

    /// Stores a program, and removes others if there are too many.
    pub fn store(&self, key: Key, program: &Bundle) {
        // The program runs without having been stored.
        let _ = self.try_to_store(key, program);
    }

    fn try_to_store(&self, key: Key, program: &Bundle) -> std::io::Result<()> {
        let payload = postcard::to_stdvec(program).map_err(std::io::Error::other)?;
        let mut folder = DirBuilder::new();
        folder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
        folder.create(&self.folder)?;
        if !self.is_trusted() {
            return Ok(());
        }
        let mut file = tempfile::Builder::new().suffix(UNFINISHED).tempfile_in(&self.folder)?;
        file.write_all(&header(&payload, key))?;
        file.write_all(&payload)?;
        file.persist(self.path(key))?;
        self.shrink()
    }

    /// Whether not everybody can put files into the folder: what lies there is run.
    fn is_trusted(&self) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let metadata = fs::metadata(&self.folder);
            metadata.is_ok_and(|metadata| metadata.permissions().mode() & 0o002 == 0)
        }
        #[cfg(not(unix))]
        self.folder.is_dir()
    }

    fn path(&self, key: Key) -> PathBuf {
        self.folder.join(format!("{:032x}{EXTENSION}", key.0))
    }

    /// Removes the files that were not used for longest until the others are few enough, and what
    /// processes that were killed did not finish.
    fn shrink(&self) -> std::io::Result<()> {
        let now = SystemTime::now();
        let mut files: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            // Another process may have removed it.
            let Ok(metadata) = path.metadata() else { continue };
            let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
            let modified = metadata.modified()?;
            if name.ends_with(EXTENSION) {
                files.push((modified, path, metadata.len()));
            } else if name.ends_with(UNFINISHED)
                && now.duration_since(modified).is_ok_and(|age| age > WRITING)
            {
                let _ = fs::remove_file(path);
            }
        }
        files.sort();
        let mut bytes: u64 = files.iter().map(|(.., bytes)| bytes).sum();
        // The last one was stored a moment ago.
        let others = files.len().saturating_sub(1);
        for (_, path, size) in &files[..others] {
            if bytes <= self.most_bytes {
                break;
            }
            let _ = fs::remove_file(path);
            bytes -= size;
        }
        Ok(())
    }
}

/// The folder of the user's cache, given the environment.
fn folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let told = |name| variable(name).filter(|value| !value.is_empty());
    match told(VARIABLE) {
        Some(off) if off == "off" => None,
        Some(folder) => Some(folder.into()),
        None => {
            let home = || told("HOME").map(|home| Path::new(&home).join(".cache"));
            // The specification ignores paths that are not absolute.
            let caches =
                told("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            Some(caches.or_else(home)?.join("cygnet"))
        }
    }
}

fn header(payload: &[u8], key: Key) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..24].copy_from_slice(&key.0.to_le_bytes());
    header[24..32].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    header[32..].copy_from_slice(&checksum(payload).to_le_bytes());
    header
}

/// What follows the header of a whole file with this key.
fn payload(file: &[u8], key: Key) -> Option<&[u8]> {
    let (found, payload) = file.split_at_checked(HEADER_BYTES)?;
    (*found == header(payload, key)).then_some(payload)
}

fn checksum(bytes: &[u8]) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish128().as_u128()
}
