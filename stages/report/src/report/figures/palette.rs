//! Colours. Text, axes and grids are CSS variables that the page sets for light and dark; data
//! colours are chosen to hold on both, and for readers with a colour-vision deficiency.
//!
//! Source: categories are the palette of Okabe & Ito (2008, "Color Universal Design") without
//! black and with the yellow darkened (it vanishes on white), extended by colours of Brewer's
//! Dark2 and Set2; the sequential scale is viridis (van der Walt & Smith 2015) sampled at nine
//! points; the diverging scale runs from blue over nothing to red as RdBu does, with the neutral
//! middle transparent so that it takes the page's colour.

/// Text in figures.
pub(crate) const INK: &str = "var(--fig-ink)";
/// Axis lines and ticks.
pub(crate) const AXIS: &str = "var(--fig-axis)";
/// Grid lines.
pub(crate) const GRID: &str = "var(--fig-grid)";
/// The ground that a figure stands on.
pub(crate) const GROUND: &str = "var(--fig-ground)";

/// The variables' values in figures that stand alone (light).
pub(crate) const STANDALONE: [(&str, &str); 4] = [
    (INK, "#1c2330"),
    (AXIS, "#5b6472"),
    (GRID, "#e3e6ea"),
    (GROUND, "#ffffff"),
];

/// Points and bars that are not significant, or not classed.
pub(crate) const MUTED: [u8; 3] = [0x9a, 0xa1, 0xac];
/// More: gain, higher, discordant, cancer.
pub(crate) const HIGH: [u8; 3] = [0xd5, 0x5e, 0x00];
/// Less: loss, lower, concordant, normal.
pub(crate) const LOW: [u8; 3] = [0x1f, 0x83, 0xc9];

const CATEGORIES: [[u8; 3]; 16] = [
    [0x00, 0x72, 0xb2],
    [0xe6, 0x9f, 0x00],
    [0x00, 0x9e, 0x73],
    [0xcc, 0x79, 0xa7],
    [0x56, 0xb4, 0xe9],
    [0xd5, 0x5e, 0x00],
    [0xb5, 0xa1, 0x00],
    [0x8c, 0x6b, 0xb1],
    [0xa6, 0x76, 0x1d],
    [0x66, 0xc2, 0xa5],
    [0xe7, 0x29, 0x8a],
    [0x7f, 0x8a, 0x99],
    [0x4d, 0xac, 0x26],
    [0xfc, 0x8d, 0x62],
    [0x5e, 0x7c, 0xe2],
    [0xb3, 0x58, 0x06],
];

const VIRIDIS: [[u8; 3]; 9] = [
    [0x44, 0x01, 0x54],
    [0x47, 0x2d, 0x7b],
    [0x3b, 0x52, 0x8b],
    [0x2c, 0x72, 0x8e],
    [0x21, 0x91, 0x8c],
    [0x28, 0xae, 0x80],
    [0x5e, 0xc9, 0x62],
    [0xad, 0xdc, 0x30],
    [0xfd, 0xe7, 0x25],
];

const LOSS: [u8; 3] = [0x21, 0x66, 0xd0];
const GAIN: [u8; 3] = [0xd0, 0x30, 0x1f];

/// The colour of category `i`; they repeat after sixteen.
pub(crate) fn category(i: usize) -> [u8; 3] {
    CATEGORIES[i % CATEGORIES.len()]
}

/// The colour of a value of a well-known column, else of its position among the values.
pub(crate) fn named(value: &str, position: usize) -> [u8; 3] {
    match value {
        "Cancer" | "Malignant" | "discordant" => HIGH,
        "Normal" | "concordant" => LOW,
        "intermediate" | "" => MUTED,
        _ => category(position),
    }
}

/// viridis at `t` in [0, 1].
pub(crate) fn sequential(t: f64) -> [u8; 3] {
    let at = t.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let (i, f) = ((at as usize).min(VIRIDIS.len() - 2), at.fract());
    let f = if at as usize > i { 1.0 } else { f };
    std::array::from_fn(|c| {
        (f64::from(VIRIDIS[i][c]) * (1.0 - f) + f64::from(VIRIDIS[i + 1][c]) * f).round() as u8
    })
}

/// Loss to gain at `t` in [-1, 1]: colour and opacity.
pub(crate) fn diverging(t: f64) -> [u8; 4] {
    let [r, g, b] = if t < 0.0 { LOSS } else { GAIN };
    [r, g, b, (t.abs().min(1.0) * 255.0).round() as u8]
}

/// `#rrggbb`.
pub(crate) fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Without transparency.
pub(crate) fn opaque([r, g, b]: [u8; 3]) -> [u8; 4] {
    [r, g, b, 255]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_meet_their_ends() {
        assert_eq!(sequential(0.0), VIRIDIS[0]);
        assert_eq!(sequential(1.0), VIRIDIS[8]);
        assert_eq!(sequential(0.5), VIRIDIS[4]);
        assert_eq!(sequential(-3.0), VIRIDIS[0]);
        assert_eq!(diverging(0.0)[3], 0);
        assert_eq!(diverging(-2.0), [0x21, 0x66, 0xd0, 255]);
        assert_eq!(diverging(0.5)[3], 128);
        assert_eq!(hex([0, 255, 16]), "#00ff10");
    }
}
