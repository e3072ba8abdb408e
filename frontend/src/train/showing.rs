//! `show`: files of pictures and arrays after each epoch.

use std::path::{Path, PathBuf};

use crate::data::dataset::Dataset;
use crate::data::npy::write_npy;
use crate::data::picture;
use crate::error::Error;
use crate::language::program::Program;
use crate::session::{Session, SessionOptions};

use super::batches;

/// What a recipe shows, and where.
pub(super) struct Showing {
    program: Program,
    folder: PathBuf,
    session: Option<Session>,
}

impl Showing {
    /// Files go to the folder `show` below `out`.
    pub fn new(program: Program, out: &Path) -> Showing {
        Showing { program, folder: out.join("show"), session: None }
    }

    /// Computes what is shown with the weights of `trained`, for the first samples where it needs
    /// some, and writes `NAME-EPOCH.png` or `.npy`.
    ///
    /// # Errors
    /// If it cannot be compiled or written, or there are fewer samples than a batch.
    pub fn write(
        &mut self,
        samples: &Dataset,
        trained: &Session,
        options: &SessionOptions,
        (seed, epoch): (u64, usize),
    ) -> Result<(), Error> {
        if self.session.is_none() {
            let mut session = Session::new(&self.program.graph, options)?;
            session.initialize(&self.program, seed)?;
            std::fs::create_dir_all(&self.folder).map_err(|error| {
                Error::request(
                    format!("{}: {error}", self.folder.display()),
                    "choose another --out",
                )
            })?;
            self.session = Some(session);
        }
        let Some(session) = &mut self.session else { return Ok(()) };
        session.copy_weights_from(trained)?;
        let mut inputs = self.program.inputs.iter().filter(|input| session.has_slot(&input.name));
        if let Some(input) = inputs.next() {
            let batch = input.ty.shape.first().copied().unwrap_or(1);
            if samples.len() < batch {
                return Err(Error::request(
                    format!("`show` needs {batch} samples, but there are {}", samples.len()),
                    "set a smaller batch, or hold out more samples for testing",
                ));
            }
            let indices: Vec<u32> = (0..batch as u32).collect();
            batches::fill(session, samples, &indices)?;
        }
        // The same random numbers each time, so that pictures of different epochs compare.
        session.executor().set_step_number(0);
        session.step();
        for output in &self.program.outputs {
            let tensor = session.output(&output.name)?;
            let name = format!("{}-{epoch:04}", output.name);
            match picture::layout(&tensor) {
                Some(layout) => {
                    let path = self.folder.join(name + ".png");
                    picture::write(&path, &tensor, layout).map_err(Error::data)?;
                }
                None => {
                    let path = self.folder.join(name + ".npy");
                    write_npy(&path, &tensor).map_err(Error::data)?;
                }
            }
        }
        Ok(())
    }
}
