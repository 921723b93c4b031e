//! The picture.

use alloc::string::String;
use core::fmt::{self, Write};

use crate::{Chart, Kind, Number};

/// Pixels of the picture, and of the field in which values are.
const WIDTH: i64 = 640;
const HEIGHT: i64 = 360;
const LEFT: i64 = 72;
const RIGHT: i64 = 16;
const TOP: i64 = 40;
const BOTTOM: i64 = 24;
/// Lines across the field, at most.
const LINES: i64 = 6;
/// Bytes that a picture takes besides its values, and for each of them.
const ROOM: usize = 1024;
const ROOM_FOR_VALUE: usize = 48;

impl Chart {
    /// Draws it.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut svg = String::with_capacity(ROOM + self.values.len() * ROOM_FOR_VALUE);
        // A string takes everything.
        let _ = self.draw(&mut svg);
        svg
    }

    fn draw(&self, svg: &mut String) -> fmt::Result {
        let scale = self.scale();
        write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" "
        )?;
        svg.write_str("font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n")?;
        if !self.title.is_empty() {
            write!(svg, "<text x=\"{}\" y=\"24\" font-size=\"16\" text-anchor=\"middle\">", WIDTH / 2)?;
            writeln!(svg, "{}</text>", Escaped(&self.title))?;
        }
        for level in scale.levels() {
            let y = scale.y(level);
            writeln!(svg, "<path d=\"M{LEFT} {y}H{}\" stroke=\"#ddd\"/>", WIDTH - RIGHT)?;
            writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{level}</text>", LEFT - 8, y + 4)?;
        }
        match self.kind {
            Kind::Line => self.draw_line(svg, &scale)?,
            Kind::Bars => self.draw_bars(svg, &scale)?,
        }
        svg.write_str("</svg>\n")
    }

    fn draw_line(&self, svg: &mut String, scale: &Scale) -> fmt::Result {
        svg.write_str("<polyline fill=\"none\" stroke=\"#2563eb\" stroke-width=\"2\" points=\"")?;
        let gaps = (self.values.len() as i64 - 1).max(1);
        for (index, value) in (0..).zip(&self.values) {
            write!(svg, "{},{} ", LEFT + (WIDTH - LEFT - RIGHT) * index / gaps, scale.y(*value))?;
        }
        svg.write_str("\"/>\n")
    }

    fn draw_bars(&self, svg: &mut String, scale: &Scale) -> fmt::Result {
        let (field, count, zero) = (WIDTH - LEFT - RIGHT, self.values.len() as i64, scale.y(Number::ZERO));
        for (index, value) in (0..).zip(&self.values) {
            let (from, to) = (LEFT + field * index / count, LEFT + field * (index + 1) / count);
            let (y, width) = (scale.y(*value), ((to - from) * 4 / 5).max(1));
            let (top, height) = (y.min(zero), (y - zero).abs().max(1));
            writeln!(svg, "<rect x=\"{from}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"#2563eb\"/>")?;
        }
        Ok(())
    }

    /// From the least to the greatest value, and to zero, in steps of 1, 2 or 5 and zeroes.
    fn scale(&self) -> Scale {
        let all = || self.values.iter().map(|value| value.thousandths()).chain([0]);
        let (least, most) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
        let mut step = 1;
        for factor in [2, 5, 10].into_iter().cycle() {
            let unit = step;
            if (most - least) / unit < LINES {
                break;
            }
            // 1, 2, 5, 10, 20, 50 …
            step = if factor == 5 { step / 2 * 5 } else { step * 2 };
        }
        let bottom = least.div_euclid(step) * step;
        let top = (most.div_euclid(step) + i64::from(most.rem_euclid(step) != 0)) * step;
        Scale { bottom, top: top.max(bottom + step), step }
    }
}

/// Which values the field has, in thousandths.
struct Scale {
    bottom: i64,
    top: i64,
    step: i64,
}

impl Scale {
    /// Where values are that a line crosses the field at.
    fn levels(&self) -> impl Iterator<Item = Number> {
        (self.bottom..=self.top).step_by(self.step.unsigned_abs() as usize).map(Number::of)
    }

    /// How far from the top of the picture a value is.
    const fn y(&self, value: Number) -> i64 {
        let field = HEIGHT - TOP - BOTTOM;
        HEIGHT - BOTTOM - field * (value.thousandths() - self.bottom) / (self.top - self.bottom)
    }
}

/// A text in which nothing is markup.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '<' => to.write_str("&lt;")?,
                '>' => to.write_str("&gt;")?,
                '&' => to.write_str("&amp;")?,
                '"' => to.write_str("&quot;")?,
                '\'' => to.write_str("&#39;")?,
                // XML has no others of these (XML 1.0, 2.2).
                _ if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') => to.write_char(' ')?,
                _ => to.write_char(character)?,
            }
        }
        Ok(())
    }
}
