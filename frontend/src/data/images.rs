//! The sources `images`, `folders` and `pairs`: PNG and JPEG files.

use std::path::{Path, PathBuf};

use cygnet_runtime::tensor::Tensor;
use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageReader};

use super::error::{DataError, Fault};
use super::raw::{Origin, Places, RawField};
use super::request::{Contents, Request};
use super::source::FieldSpec;

/// The folders of pictures and of their masks.
const PAIRS: [[&str; 2]; 3] = [["images", "masks"], ["images", "labels"], ["image", "label"]];

/// The images in a folder, in the order of their names.
pub(super) fn open_images(request: &Request<'_>) -> Result<Contents, DataError> {
    let (folder, [field]) = (one_folder(request)?, request.fields) else {
        return Err(request.wrong_count("one field", format!("{}", request.fields.len())));
    };
    let files = image_files(&folder)?;
    let images = read(&files, field, request.options.count("size")?, FilterType::Triangle)?;
    Ok(Contents::plain(vec![Some(images.into_field(&folder))]))
}

/// A folder for each class, in the order of their names; or such folders in `train` and `test`. The
/// first field takes the images, the second the classes.
pub(super) fn open_folders(request: &Request<'_>) -> Result<Contents, DataError> {
    let folder = one_folder(request)?;
    let [field, label] = request.fields else {
        let found = format!("{} fields", request.fields.len());
        return Err(request.wrong_count("two fields", found));
    };
    let size = request.options.count("size")?;
    let part = |folder: &Path| -> Result<Vec<Option<RawField>>, DataError> {
        let mut classes = entries(folder)?;
        classes.retain(|path| path.is_dir());
        if classes.is_empty() {
            return Err(DataError::in_file(folder, Fault::NoFolders));
        }
        let (mut files, mut labels) = (Vec::new(), Vec::new());
        for (class, number) in classes.iter().zip(0_i32..) {
            let found = image_files(class)?;
            labels.extend(std::iter::repeat_n(number, found.len()));
            files.extend(found);
        }
        let images = read(&files, field, size, FilterType::Triangle)?.into_field(folder);
        let labels = RawField {
            tensor: Tensor::from_slice(&[labels.len()], &labels),
            classes: Some(classes.iter().map(|class| name(class)).collect()),
            origin: Origin { path: Some(folder.to_path_buf()), places: Places::Unknown },
        };
        Ok(vec![Some(images), Some(labels).filter(|_| !label.is_ignored())])
    };
    let (train, test) = (folder.join("train"), folder.join("test"));
    if train.is_dir() && test.is_dir() {
        return Ok(Contents { test: Some(part(&test)?), ..Contents::plain(part(&train)?) });
    }
    Ok(Contents::plain(part(&folder)?))
}

/// Images and masks of the same names in two folders, cut into squares if they are to be.
pub(super) fn open_pairs(request: &Request<'_>) -> Result<Contents, DataError> {
    let folder = one_folder(request)?;
    let [image, mask] = request.fields else {
        let found = format!("{} fields", request.fields.len());
        return Err(request.wrong_count("two fields", found));
    };
    let folders = PAIRS.map(|names| names.map(|name| folder.join(name)));
    let Some([images, masks]) = folders.iter().find(|pair| pair.iter().all(|part| part.is_dir()))
    else {
        let expected = PAIRS.iter().map(|[a, b]| format!("{a} and {b}")).collect();
        return Err(DataError::in_file(&folder, Fault::EmptyFolder { expected }));
    };
    let (files, mask_files) = (image_files(images)?, image_files(masks)?);
    let stems = |files: &[PathBuf]| files.iter().map(|file| stem(file)).collect::<Vec<String>>();
    let (names, mask_names) = (stems(&files), stems(&mask_files));
    if let Some(lonely) = names.iter().find(|name| !mask_names.contains(name)) {
        return Err(DataError::in_file(masks, Fault::NoCounterpart { name: lonely.clone() }));
    }
    if let Some(lonely) = mask_names.iter().find(|name| !names.contains(name)) {
        return Err(DataError::in_file(images, Fault::NoCounterpart { name: lonely.clone() }));
    }
    let crop = request.options.count("crop")?;
    let images = read(&files, image, None, FilterType::Triangle)?.cut(crop, &folder)?;
    let masks = read(&mask_files, mask, None, FilterType::Nearest)?.cut(crop, &folder)?;
    let keep = |spec: &FieldSpec, field| Some(field).filter(|_| !spec.is_ignored());
    Ok(Contents::plain(vec![
        keep(image, images.into_field(&folder)),
        keep(mask, masks.into_field(&folder)),
    ]))
}

fn one_folder(request: &Request<'_>) -> Result<PathBuf, DataError> {
    match &request.paths()[..] {
        [folder] => Ok(folder.clone()),
        paths => Err(request.wrong_count("one folder", format!("{} paths", paths.len()))),
    }
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let refused = |error| DataError::in_file(folder, Fault::Io { action: "read", error });
    let entries = std::fs::read_dir(folder).map_err(refused)?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(refused)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn image_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = entries(folder)?;
    files.retain(|path| {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        path.is_file() && ["png", "jpg", "jpeg"].contains(&extension.as_str())
    });
    match files.is_empty() {
        true => Err(DataError::in_file(folder, Fault::NoImages)),
        false => Ok(files),
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Images of one size, as planes of channels.
struct Images {
    count: usize,
    channels: usize,
    height: usize,
    width: usize,
    pixels: Vec<u8>,
}

/// Reads image files with the channels that a field declares, or those of the first image.
fn read(
    files: &[PathBuf],
    field: &FieldSpec,
    size: Option<usize>,
    filter: FilterType,
) -> Result<Images, DataError> {
    // A mask may be declared without an axis of channels.
    let declared = match field.shape.len() {
        4 => field.shape[1],
        _ => Some(1),
    };
    let mut images: Option<Images> = None;
    for path in files {
        let image = decode(path)?;
        let image = match size {
            Some(size) => square(&image, size as u32, filter),
            None => image,
        };
        let channels = images.as_ref().map(|images| images.channels).or(declared);
        let channels = channels.unwrap_or(if image.color().has_color() { 3 } else { 1 });
        let (width, height) = (image.width() as usize, image.height() as usize);
        let all =
            images.get_or_insert(Images { count: 0, channels, height, width, pixels: vec![] });
        if (all.height, all.width) != (height, width) {
            let fault = Fault::ImageSize {
                found: format!("{width}x{height}"),
                expected: format!("{}x{}", all.width, all.height),
            };
            return Err(DataError::in_file(path, fault).for_field(&field.name));
        }
        let samples = match channels {
            3 => image.to_rgb8().into_raw(),
            _ => image.to_luma8().into_raw(),
        };
        let step = if channels == 3 { 3 } else { 1 };
        for channel in 0..step {
            all.pixels.extend(samples.iter().skip(channel).step_by(step));
        }
        all.count += 1;
    }
    images.ok_or_else(|| DataError::new(Fault::NoSamples))
}

fn decode(path: &Path) -> Result<DynamicImage, DataError> {
    let refused = |error| DataError::in_file(path, Fault::Io { action: "read", error });
    let reader = ImageReader::open(path).map_err(refused)?;
    let reader = reader.with_guessed_format().map_err(refused)?;
    reader.decode().map_err(|error| {
        let reason = error.to_string();
        DataError::in_file(path, Fault::Malformed { format: "image", reason })
    })
}

/// The middle square of an image, resized.
fn square(image: &DynamicImage, size: u32, filter: FilterType) -> DynamicImage {
    let side = image.width().min(image.height());
    let (left, top) = ((image.width() - side) / 2, (image.height() - side) / 2);
    let middle = imageops::crop_imm(image, left, top, side, side).to_image();
    let resized = imageops::resize(&middle, size, size, filter);
    match image.color().has_color() {
        true => DynamicImage::ImageRgba8(resized),
        false => DynamicImage::ImageLuma8(DynamicImage::ImageRgba8(resized).into_luma8()),
    }
}

impl Images {
    /// Squares of this side, as many as fit, row by row; an image as it is without a side.
    fn cut(self, side: Option<usize>, folder: &Path) -> Result<Images, DataError> {
        let Some(side) = side else { return Ok(self) };
        let (rows, columns) = (self.height / side, self.width / side);
        if rows * columns == 0 {
            let fault = Fault::ImageSize {
                found: format!("{}x{}", self.width, self.height),
                expected: format!("at least {side}x{side}"),
            };
            return Err(DataError::in_file(folder, fault));
        }
        let mut pixels = Vec::with_capacity(self.pixels.len());
        let line = |image: usize, channel: usize, y: usize| {
            ((image * self.channels + channel) * self.height + y) * self.width
        };
        for image in 0..self.count {
            for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |c| (row, c))) {
                for channel in 0..self.channels {
                    for y in row * side..(row + 1) * side {
                        let start = line(image, channel, y) + column * side;
                        pixels.extend_from_slice(&self.pixels[start..start + side]);
                    }
                }
            }
        }
        let count = self.count * rows * columns;
        Ok(Images { count, channels: self.channels, height: side, width: side, pixels })
    }

    fn into_field(self, folder: &Path) -> RawField {
        let shape = [self.count, self.channels, self.height, self.width];
        RawField {
            tensor: Tensor::from_slice(&shape, &self.pixels),
            classes: None,
            origin: Origin { path: Some(folder.to_path_buf()), places: Places::Unknown },
        }
    }
}
