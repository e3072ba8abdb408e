//! Tensors as pictures: a grid of images in one PNG file.

use std::io;
use std::path::Path;

use cygnet_runtime::dtype::DType;
use cygnet_runtime::tensor::Tensor;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::atomic::write_atomically;
use super::error::DataError;

/// How the elements of a tensor make images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Number of images.
    count: usize,
    /// 1 for grey images, 3 for red, green and blue.
    channels: usize,
    height: usize,
    width: usize,
}

/// Pixels between the images of a grid.
const GAP: usize = 2;

/// More pixels than this are no picture to look at.
const MOST_PIXELS: usize = 1 << 26;

/// The images that a tensor holds, if it can be seen so: u8, bool, or floats, of shape
/// `[n, c, h, w]` with one or three channels.
pub fn layout(tensor: &Tensor) -> Option<Layout> {
    let [count, channels @ (1 | 3), height, width] = *tensor.shape() else { return None };
    let layout = Layout { count, channels, height, width };
    let (columns, rows) = layout.grid();
    let pixels = columns.checked_mul(rows)?.checked_mul(height + GAP)?.checked_mul(width + GAP)?;
    let looks = tensor.dtype() != DType::I32 && pixels > 0;
    (looks && pixels <= MOST_PIXELS).then_some(layout)
}

impl Layout {
    /// Columns and rows of images: as many columns as rows, or one more.
    fn grid(self) -> (usize, usize) {
        let columns = (1..).find(|columns| columns * columns >= self.count).unwrap_or(1);
        (columns, self.count.div_ceil(columns.max(1)))
    }
}

/// Writes the images of a tensor as a grid. Floats from 0 to 1 become black to white; what lies
/// outside is cut off.
///
/// # Errors
/// If the file cannot be written; it is then as it was.
pub fn write(path: &Path, tensor: &Tensor, layout: Layout) -> Result<(), DataError> {
    let Layout { count, channels, height, width } = layout;
    let (columns, rows) = layout.grid();
    let (total_width, total_height) = (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP);
    let mut pixels = vec![0_u8; total_width * total_height * channels];
    let byte = |index: usize| match tensor.dtype() {
        DType::U8 => tensor.bytes()[index],
        // A cast saturates, and NaN becomes 0.
        _ => (tensor.get_f64(index) * 255.0).round() as u8,
    };
    for image in 0..count {
        let (top, left) = (image / columns * (height + GAP), image % columns * (width + GAP));
        for channel in 0..channels {
            for y in 0..height {
                for x in 0..width {
                    let place = ((top + y) * total_width + left + x) * channels + channel;
                    pixels[place] = byte(((image * channels + channel) * height + y) * width + x);
                }
            }
        }
    }
    let color = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    write_atomically(path, |writer| {
        PngEncoder::new(writer)
            .write_image(&pixels, total_width as u32, total_height as u32, color)
            .map_err(io::Error::other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_stand_in_a_grid() {
        let values: Vec<f32> = (0..3 * 4).map(|index| index as f32 / 10.0 - 0.1).collect();
        let tensor = Tensor::from_slice(&[3, 1, 2, 2], &values);
        let layout = layout(&tensor).unwrap();
        assert_eq!(layout.grid(), (2, 2));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid.png");
        write(&path, &tensor, layout).unwrap();
        let read = image::open(&path).unwrap().into_luma8();
        assert_eq!(read.dimensions(), (6, 6));
        assert_eq!(read.get_pixel(0, 0).0, [0]); // -0.1
        assert_eq!(read.get_pixel(0, 1).0, [26]); // 0.1
        assert_eq!(read.get_pixel(4, 0).0, [77]); // 0.3, the second image
        assert_eq!(read.get_pixel(2, 0).0, [0]); // the gap
        assert_eq!(read.get_pixel(1, 5).0, [255]); // 1.0, the third image
    }

    #[test]
    fn other_tensors_are_no_pictures() {
        assert_eq!(layout(&Tensor::from_slice(&[1, 1, 2, 2], &[1, 2, 3, 4])), None);
        assert_eq!(layout(&Tensor::from_slice(&[2, 2], &[0.0_f32; 4])), None);
        assert_eq!(layout(&Tensor::from_slice(&[1, 2, 2, 2], &[0.0_f32; 8])), None);
        assert!(layout(&Tensor::from_slice(&[2, 3, 2, 2], &[0_u8; 24])).is_some());
    }
}
