//! Images of up to 256 colours: heatmaps and scatters of many cells. An indexed PNG of a mostly
//! empty scatter is a few ten kilobytes, where as many SVG circles would be megabytes.

use base64::Engine as _;

use clcc_data::error::{StageError, StageResult};

/// Pixels as indices into a palette of red, green, blue and opacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raster {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    palette: Vec<[u8; 4]>,
}

impl Raster {
    /// All pixels have colour 0 of the palette.
    ///
    /// # Panics
    /// Where an edge is 0, or the palette is empty or has more than 256 colours.
    pub(crate) fn new(width: usize, height: usize, palette: Vec<[u8; 4]>) -> Self {
        assert!(width > 0 && height > 0, "an image has pixels");
        assert!(
            (1..=256).contains(&palette.len()),
            "a palette has 1 to 256 colours"
        );
        Self {
            width,
            height,
            pixels: vec![0; width * height],
            palette,
        }
    }

    /// Colours the pixel in column `x` and row `y`.
    pub(crate) fn set(&mut self, x: usize, y: usize, colour: u8) {
        debug_assert!(
            (colour as usize) < self.palette.len(),
            "the palette has the colour"
        );
        self.pixels[y * self.width + x] = colour;
    }

    /// Colours the pixels whose centre is within `radius` of (`cx`, `cy`); what lies outside the
    /// image is left out.
    pub(crate) fn disc(&mut self, cx: f64, cy: f64, radius: f64, colour: u8) {
        let span = |c: f64, edge: usize| {
            let lo = (c - radius).floor().max(0.0) as usize;
            let hi = (c + radius).ceil().clamp(0.0, edge as f64) as usize;
            lo..hi
        };
        for y in span(cy, self.height) {
            for x in span(cx, self.width) {
                let (dx, dy) = (x as f64 + 0.5 - cx, y as f64 + 0.5 - cy);
                if dx * dx + dy * dy <= radius * radius {
                    self.set(x, y, colour);
                }
            }
        }
    }

    /// Number of pixels of each colour.
    #[cfg(test)]
    pub(crate) fn census(&self) -> Vec<usize> {
        let mut n = vec![0; self.palette.len()];
        self.pixels.iter().for_each(|&p| n[p as usize] += 1);
        n
    }

    /// The file.
    ///
    /// # Errors
    /// [`StageError::Data`] where the encoder refuses.
    pub(crate) fn png(&self) -> StageResult<Vec<u8>> {
        let failed =
            |e: png::EncodingError| StageError::data(format!("cannot encode a figure: {e}"));
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::High);
        // Indices of neighbouring colours say nothing about each other, so no row filter.
        encoder.set_filter(png::Filter::NoFilter);
        encoder.set_palette(
            self.palette
                .iter()
                .flat_map(|c| c[..3].to_vec())
                .collect::<Vec<u8>>(),
        );
        encoder.set_trns(self.palette.iter().map(|c| c[3]).collect::<Vec<u8>>());
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(&self.pixels).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(bytes)
    }

    /// An SVG `<image>` at the given place, the file inside. `smooth: false` keeps the edges of
    /// pixels sharp when they are enlarged.
    ///
    /// # Errors
    /// As [`Raster::png`].
    pub(crate) fn image(
        &self,
        x: f64,
        y: f64,
        width: f64,
        height: f64,
        smooth: bool,
    ) -> StageResult<String> {
        let data = base64::engine::general_purpose::STANDARD.encode(self.png()?);
        let style = if smooth {
            ""
        } else {
            " style=\"image-rendering:pixelated\""
        };
        Ok(format!(
            "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\"{style} \
             href=\"data:image/png;base64,{data}\"/>"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_image_reads_back() {
        let mut raster = Raster::new(3, 2, vec![[0, 0, 0, 0], [10, 20, 30, 255], [1, 2, 3, 128]]);
        raster.set(2, 0, 1);
        raster.set(0, 1, 2);
        let mut reader = png::Decoder::new(std::io::Cursor::new(raster.png().unwrap()))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(
            reader.info().palette.as_deref(),
            Some(&[0, 0, 0, 10, 20, 30, 1, 2, 3][..])
        );
        assert_eq!(reader.info().trns.as_deref(), Some(&[0, 255, 128][..]));
        assert_eq!(pixels, [0, 0, 1, 2, 0, 0]);
    }

    #[test]
    fn a_disc_covers_the_pixels_whose_centres_it_holds_and_stops_at_the_edge() {
        let mut raster = Raster::new(5, 5, vec![[0; 4], [1; 4]]);
        // Centres within 1.1 of (2.5, 2.5): the pixel itself and its four neighbours.
        raster.disc(2.5, 2.5, 1.1, 1);
        assert_eq!(raster.census()[1], 5);
        // At the corner (0.5, 0.5): itself, right, below.
        raster.disc(0.5, 0.5, 1.1, 1);
        assert_eq!(raster.census()[1], 8);
        raster.disc(-9.0, 40.0, 2.0, 1);
        assert_eq!(raster.census()[1], 8);
    }
}
