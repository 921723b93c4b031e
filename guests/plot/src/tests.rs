extern crate std;

use std::string::ToString;
use std::{format, vec};

use proptest::prelude::*;

use crate::{Chart, Kind, Mistake, Number};

#[test]
fn numbers_are_read_and_written() {
    for (text, thousandths, shown) in [
        ("0", 0, "0"),
        ("-0.5", -500, "-0.5"),
        (".25", 250, "0.25"),
        ("8.", 8000, "8"),
        ("1.050", 1050, "1.05"),
        ("3.001", 3001, "3.001"),
        ("-1000000000", -1_000_000_000_000, "-1000000000"),
    ] {
        let number = Number::parse(text).expect(text);
        assert_eq!((number.thousandths(), number.to_string().as_str()), (thousandths, shown));
    }
    for text in ["", "-", ".", "1.2345", "1e3", "+1", "1000000000.001", "99999999999", "0x1", "1.-2", "٣"] {
        assert_eq!(Number::parse(text), None, "{text}");
    }
}

#[test]
fn a_query_says_what_to_draw() {
    let chart = Chart::from_query("values=1,2.5,-3&title=a+%3Cb%3E&kind=bars&else=1").expect("a chart");
    assert_eq!((chart.title.as_str(), chart.kind), ("a <b>", Kind::Bars));
    assert_eq!(chart.values, [1000, 2500, -3000].map(Number::of));
    for (query, mistake) in [
        ("", Mistake::NoValues),
        ("values=", Mistake::NoValues),
        ("values=1,x", Mistake::NoNumber),
        ("values=1&kind=pie", Mistake::NoKind),
        (&format!("values={}", "1,".repeat(257)), Mistake::TooMany),
        (&format!("values=1&title={}", "x".repeat(101)), Mistake::LongTitle),
    ] {
        assert_eq!(Chart::from_query(query), Err(mistake), "{query}");
    }
}

#[test]
fn nothing_that_is_said_becomes_markup() {
    let svg = Chart::from_query("values=1&title=%3Cscript%3E%22%26%00%1b").expect("a chart").svg();
    assert!(svg.contains("&lt;script&gt;&quot;&amp;  </text>"), "{svg}");
}

#[test]
fn a_line_goes_from_the_left_to_the_right() {
    let svg = Chart::from_query("values=0,10").expect("a chart").svg();
    assert!(svg.contains("points=\"72,336 624,40 \""), "{svg}");
    for level in ["0", "2", "4", "6", "8", "10"] {
        assert!(svg.contains(&format!(">{level}</text>")), "{level}: {svg}");
    }
}

proptest! {
    #[test]
    fn everything_is_drawn_within_the_picture(
        values in proptest::collection::vec(-1_000_000_000_000..=1_000_000_000_000_i64, 1..64), scale in 0..12_u32, bars: bool,
    ) {
        let values: vec::Vec<_> = values.iter().map(|value| Number::of(value / 10_i64.pow(scale))).collect();
        let kind = if bars { Kind::Bars } else { Kind::Line };
        let scale = Chart { title: "".into(), kind, values: values.clone() }.svg();
        let levels = scale.matches("<text").count();
        prop_assert!((2..=9).contains(&levels), "{levels} levels");
        for attribute in [" y=\"", " height=\"", " x=\""] {
            for number in scale.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()?.parse::<i64>().ok()) {
                prop_assert!((0..=640).contains(&number), "{attribute}{number}");
            }
        }
    }

    #[test]
    fn no_query_is_too_much(query in ".{0,200}") {
        if let Ok(chart) = Chart::from_query(&query) {
            let _ = chart.svg();
        }
    }
}
