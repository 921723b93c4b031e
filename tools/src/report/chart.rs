//! Curves as pictures for a page: SVG that needs nothing but itself, its lines and words in the page's own colour.

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;

/// Colours by number, as in the page's style. They are to be told from black and from white.
pub const COLOURS: [(u8, u8, u8); 4] = [(0xd9, 0x82, 0x2b), (0x2b, 0x83, 0xd9), (0x3f, 0xa4, 0x5b), (0x8a, 0x7f, 0xb5)];

const SIZE: (u32, u32) = (620, 300);
const TEXT: u32 = 13;
/// Stands for the page's own colour, and is nobody else's.
const INK: RGBColor = RGBColor(1, 2, 3);
const INK_WRITTEN: &str = "\"#010203\"";
/// Only a picture that stands alone has to say what language it is in.
const NAMESPACE: &str = " xmlns=\"http://www.w3.org/2000/svg\"";

/// Numbers in one direction.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What they are, with their unit.
    pub label: String,
    /// Whether each step of the same length is the same factor. What is not above 0 is left out then.
    pub is_logarithmic: bool,
}

impl Axis {
    /// One on which each step of the same length is as much.
    #[must_use]
    pub fn linear(label: &str) -> Self {
        Self { label: label.into(), is_logarithmic: false }
    }

    /// One on which each step of the same length is the same factor.
    #[must_use]
    pub fn logarithmic(label: &str) -> Self {
        Self { label: label.into(), is_logarithmic: true }
    }

    /// Whether `number` has a place on it.
    fn has(&self, number: f64) -> bool {
        number.is_finite() && (!self.is_logarithmic || number > 0.0)
    }
}

/// How points are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Joined.
    Line,
    /// Joined, and filled below.
    Area,
    /// Each alone.
    Dots,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub struct Series {
    /// Whose they are.
    pub name: String,
    /// The number of its colour.
    pub colour: usize,
    /// How they are shown.
    pub shape: Shape,
    /// The points.
    pub points: Vec<(f64, f64)>,
}

/// A part of the horizontal axis in which somebody had his turn.
#[derive(Clone, Copy, Debug)]
pub struct Band {
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// The number of its colour.
    pub colour: usize,
}

/// A picture.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Its heading.
    pub title: String,
    /// What the reader must know to read it.
    pub note: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// Behind all else.
    pub bands: Vec<Band>,
    /// The curves.
    pub series: Vec<Series>,
}

type Trouble = DrawingAreaErrorKind<std::io::Error>;

impl Chart {
    /// The picture; nothing if there is nothing to be seen.
    #[must_use]
    pub fn svg(&self) -> Option<String> {
        let (x, y) = (self.extent(&self.x, |point| point.0)?, self.extent(&self.y, |point| point.1)?);
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let drawn = match (self.x.is_logarithmic, self.y.is_logarithmic) {
            (false, false) => self.draw(&area, x.0..x.1, y.0..y.1),
            (true, false) => self.draw(&area, (x.0..x.1).log_scale(), y.0..y.1),
            (false, true) => self.draw(&area, x.0..x.1, (y.0..y.1).log_scale()),
            (true, true) => self.draw(&area, (x.0..x.1).log_scale(), (y.0..y.1).log_scale()),
        };
        drop(area);
        drawn.ok()?;
        Some(svg.replace(INK_WRITTEN, "\"currentColor\"").replacen(NAMESPACE, " role=\"img\"", 1))
    }

    /// The least and the greatest number on an axis, and not the same.
    fn extent(&self, axis: &Axis, number: impl Fn(&(f64, f64)) -> f64) -> Option<(f64, f64)> {
        let numbers = self.series.iter().flat_map(|series| &series.points).map(number);
        let numbers = numbers.filter(|number| axis.has(*number));
        let (least, most) = numbers.fold((f64::MAX, f64::MIN), |(least, most), it| (least.min(it), most.max(it)));
        match axis.is_logarithmic {
            _ if least > most => None,
            true => Some((least / 1.2, most * 1.2)),
            false => Some((least.min(0.0), if most > least.min(0.0) { most * 1.05 } else { 1.0 })),
        }
    }

    fn draw<X, Y>(&self, area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>, x: X, y: Y) -> Result<(), Trouble>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let font = ("sans-serif", TEXT).into_font().color(&INK);
        let mut chart =
            ChartBuilder::on(area).margin(8).x_label_area_size(38).y_label_area_size(64).build_cartesian_2d(x, y)?;
        let (low, high) = (chart.y_range().start, chart.y_range().end);
        chart.draw_series(self.bands.iter().map(|band| {
            let style = colour(band.colour).mix(0.12).filled();
            Rectangle::new([(band.from, low), (band.to, high)], style)
        }))?;
        chart
            .configure_mesh()
            .axis_style(INK.mix(0.6))
            .bold_line_style(INK.mix(0.15))
            .light_line_style(TRANSPARENT)
            .label_style(font.clone())
            .axis_desc_style(font)
            .x_labels(7)
            .y_labels(6)
            .x_label_formatter(&number)
            .y_label_formatter(&number)
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .draw()?;
        for series in &self.series {
            let (colour, shown) = (colour(series.colour), |point: &&(f64, f64)| self.is_shown(point));
            let points = series.points.iter().filter(shown).copied();
            let drawn = match series.shape {
                Shape::Dots => chart.draw_series(points.map(|at| Circle::new(at, 2, colour.filled()))),
                Shape::Line => chart.draw_series(LineSeries::new(points, colour.stroke_width(2))),
                Shape::Area => {
                    let area = AreaSeries::new(points, low, colour.mix(0.2));
                    chart.draw_series(area.border_style(colour.stroke_width(2)))
                }
            };
            drawn?;
        }
        area.present()
    }

    fn is_shown(&self, (x, y): &(f64, f64)) -> bool {
        self.x.has(*x) && self.y.has(*y)
    }
}

fn colour(number: usize) -> RGBColor {
    let (red, green, blue) = COLOURS[number % COLOURS.len()];
    RGBColor(red, green, blue)
}

/// A number beside an axis: three digits that count, and thousands and millions in one letter.
fn number(value: &f64) -> String {
    let (value, unit) = match value.abs() {
        1e9.. => (value / 1e9, "G"),
        1e6.. => (value / 1e6, "M"),
        1e4.. => (value / 1e3, "k"),
        _ => (*value, ""),
    };
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let short = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{short}{unit}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn chart(points: Vec<(f64, f64)>) -> Chart {
        let series = Series { name: "it".into(), colour: 1, shape: Shape::Line, points };
        let (x, y) = (Axis::logarithmic("time, ms"), Axis::linear("part"));
        let bands = vec![Band { from: 2.0, to: 3.0, colour: 0 }];
        Chart { title: "t".into(), note: "n".into(), x, y, bands, series: vec![series] }
    }

    #[test]
    fn a_picture_is_in_the_page_s_own_colour_and_names_nobody_else() {
        for shape in [Shape::Line, Shape::Area, Shape::Dots] {
            let mut chart = chart(vec![(1.0, 0.0), (10.0, 5.0), (100.0, 7.0)]);
            chart.series[0].shape = shape;
            let svg = chart.svg().expect("a picture");
            assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
            assert!(svg.contains("currentColor") && svg.contains("#2B83D9") && svg.contains("time, ms"), "{svg}");
            assert!(!svg.contains("http") && !svg.contains(INK_WRITTEN), "{svg}");
        }
    }

    #[test]
    fn what_cannot_be_shown_is_left_out() {
        assert_eq!(chart(Vec::new()).svg(), None);
        assert_eq!(chart(vec![(0.0, 1.0), (f64::NAN, 1.0)]).svg(), None);
        assert!(chart(vec![(0.0, 1.0), (5.0, 5.0)]).svg().is_some());
        assert!(chart(vec![(5.0, 0.0)]).svg().is_some());
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in
            [(0.0, "0"), (0.25, "0.25"), (3.0, "3"), (31.62, "31.6"), (1000.0, "1000"), (25_000.0, "25k"), (2e9, "2G")]
        {
            assert_eq!(number(&value), text);
        }
    }
}
