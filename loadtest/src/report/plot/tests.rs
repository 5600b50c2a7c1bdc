use roxmltree::{Document, Node};

use super::{
    scale::{Ruler, Scale, short},
    *,
};
use crate::stats::Spread;

const HOSTILE: &str = "<script>alert('x')</script> & \"quoted\" \u{1}";

fn texts<'d>(document: &'d Document<'_>) -> Vec<&'d str> {
    document
        .descendants()
        .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")))
        .filter_map(|node| node.text())
        .collect()
}

fn count(document: &Document<'_>, class: &str) -> usize {
    document.descendants().filter(|node| node.attribute("class") == Some(class)).count()
}

fn spread(median: f64) -> Spread {
    Spread { median, min: median * 0.9, max: median * 1.2 }
}

fn ticks(scale: Scale, values: &[f64]) -> Vec<f64> {
    Ruler::over(scale, values.iter().copied(), (0.0, 100.0)).ticks
}

/// All numbers of a chart's places are finite and inside the picture.
fn check_places(svg: &str) {
    let document = Document::parse(svg).unwrap_or_else(|error| panic!("{error}: {svg}"));
    let size = |name: &str| -> f64 { document.root_element().attribute(name).unwrap().parse().unwrap() };
    let (width, height) = (size("width"), size("height"));
    let inside = |node: Node<'_, '_>, names: &[&str], most: f64| {
        for value in names.iter().filter_map(|name| node.attribute(*name)) {
            let value: f64 = value.parse().unwrap();
            assert!((-0.1..=most + 0.1).contains(&value), "{value} is outside of {most}: {svg}");
        }
    };
    for node in document.descendants() {
        inside(node, &["x", "x1", "x2", "cx"], width);
        inside(node, &["y", "y1", "y2", "cy"], height);
        let path = node.attribute("d").unwrap_or_default().replace(['M', 'L', 'Z'], " ");
        for value in path.split_whitespace() {
            assert!((-0.1..=width).contains(&value.parse::<f64>().unwrap()), "{value}: {svg}");
        }
    }
}

#[test]
fn text_of_users_stays_text() {
    let mut chart = Chart::new(
        HOSTILE,
        Axis::linear(HOSTILE),
        Axis::linear(HOSTILE),
        vec![Series::line(HOSTILE, vec![(0.0, 1.0), (1.0, 2.0)]), Series::line("b", vec![(0.0, 1.0)])],
    );
    chart.remark = HOSTILE.to_owned();
    chart.marks = vec![(0.5, HOSTILE.to_owned())];
    let bars = BarChart {
        title: HOSTILE.to_owned(),
        remark: HOSTILE.to_owned(),
        y: Axis::linear(HOSTILE),
        groups: vec!["<b>".to_owned()],
        series: vec![BarSeries { name: HOSTILE.to_owned(), bars: vec![Some(spread(1.0))] }],
    };
    let shown = HOSTILE.replace('\u{1}', "\u{fffd}");
    for svg in [chart.svg(), chart.svg_file(), bars.svg()] {
        assert!(!svg.contains("<script") && !svg.contains("<b>"), "{svg}");
        let document = Document::parse(&svg).unwrap();
        assert!(texts(&document).contains(&shown.as_str()), "{svg}");
        assert_eq!(document.root_element().attribute("aria-label"), Some(shown.as_str()));
    }
}

#[test]
fn only_a_file_of_its_own_has_a_style() {
    let chart = Chart::new("t", Axis::linear("x"), Axis::linear("y"), Vec::new());
    assert!(!chart.svg().contains("<style"));
    assert!(chart.svg_file().contains("prefers-color-scheme:dark"));
    assert!(Document::parse(&chart.svg_file()).is_ok());
}

#[test]
fn holes_part_a_line_and_a_lone_point_is_still_seen() {
    let points = vec![
        (0.0, 1.0),
        (1.0, 2.0),
        (2.0, f64::NAN),
        (3.0, 1.0),
        (4.0, 5.0),
        (5.0, f64::INFINITY),
        (6.0, 1.0),
    ];
    let svg = Chart::new("t", Axis::linear("x"), Axis::linear("y"), vec![Series::line("a", points)]).svg();
    check_places(&svg);
    let document = Document::parse(&svg).unwrap();
    assert_eq!(count(&document, "path"), 2);
    assert_eq!(document.descendants().filter(|node| node.tag_name().name() == "circle").count(), 1);
}

#[test]
fn every_shape_stays_inside_the_picture() {
    let sets: [&[f64]; 7] = [
        &[],
        &[0.0],
        &[5.0],
        &[-3.0, 8.0],
        &[1e-9, 1e12],
        &[0.1, 0.3, 0.2],
        &[1.0, 18_000.0, 7.0, 100_000.0],
    ];
    for values in sets {
        for (x, y) in [(Axis::linear("x"), Axis::linear("y")), (Axis::log("x"), Axis::log("y"))] {
            let at = |nth: usize| (nth + 1) as f64 * 10.0;
            let numbered = || values.iter().copied().enumerate();
            let chart = Chart::new(
                "t",
                x,
                y.clone(),
                vec![
                    Series::line("line", numbered().map(|(nth, value)| (at(nth), value)).collect()),
                    Series::band(
                        "band",
                        numbered().map(|(nth, value)| (at(nth), value, value * 2.0)).collect(),
                    ),
                    Series {
                        name: "spread".to_owned(),
                        shape: Shape::Spreads(
                            numbered().map(|(nth, value)| (at(nth), spread(value))).collect(),
                        ),
                    },
                ],
            );
            check_places(&chart.svg());
            let bars = BarChart {
                title: "t".to_owned(),
                remark: String::new(),
                y,
                groups: values.iter().map(|value| format!("a rather long name of {value}")).collect(),
                series: vec![BarSeries {
                    name: "a".to_owned(),
                    bars: values.iter().map(|value| Some(spread(*value))).collect(),
                }],
            };
            check_places(&bars.svg());
        }
    }
}

#[test]
fn long_line_is_thinned_without_losing_its_peaks() {
    let mut points: Vec<_> = (0..100_000).map(|nth| (f64::from(nth), 10.0)).collect();
    points[54_321].1 = 1_000.0;
    points[77_777].1 = 0.0;
    let svg = Chart::new("t", Axis::linear("x"), Axis::linear("y"), vec![Series::line("a", points)]).svg();
    assert!(svg.len() < 60_000, "{}", svg.len());
    check_places(&svg);
    let document = Document::parse(&svg).unwrap();
    let path = document.descendants().find(|node| node.attribute("class") == Some("path")).unwrap();
    let ys: Vec<f64> = path
        .attribute("d")
        .unwrap()
        .split(['M', 'L'])
        .filter_map(|point| point.split_once(' ')?.1.parse().ok())
        .collect();
    let (top, bottom) =
        ys.iter().fold((f64::MAX, f64::MIN), |(top, bottom), y| (top.min(*y), bottom.max(*y)));
    assert!(bottom - top >= 199.0, "peak and dip span the picture: {top} to {bottom}");
}

#[test]
fn ticks_are_round_and_enclose_the_values() {
    assert_eq!(ticks(Scale::Linear, &[3.0, 47.0]), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
    assert_eq!(ticks(Scale::Linear, &[-1.0, 2.0]), [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0]);
    assert_eq!(ticks(Scale::Log, &[100.0, 18_000.0]), [100.0, 1_000.0, 10_000.0, 100_000.0]);
    assert_eq!(ticks(Scale::Log, &[3.0, 40.0]), [2.0, 5.0, 10.0, 20.0, 50.0]);
    assert_eq!(ticks(Scale::Log, &[0.0, -7.0]), ticks(Scale::Log, &[]));
    for values in [&[1e-9, 1e12][..], &[1.0], &[10.0], &[f64::NAN], &[7.0, 7.0]] {
        for scale in [Scale::Linear, Scale::Log] {
            let ticks = ticks(scale, values);
            assert!((2..=22).contains(&ticks.len()), "{values:?}: {ticks:?}");
            assert!(ticks.windows(2).all(|pair| pair[0] < pair[1]), "{values:?}: {ticks:?}");
        }
    }
}

#[test]
fn values_are_short() {
    for (value, text) in [
        (0.0, "0"),
        (0.25, "0.25"),
        (1.0, "1"),
        (40.0, "40"),
        (999.0, "999"),
        (1_500.0, "1.5k"),
        (9_999.0, "10k"),
        (15_000.0, "15k"),
        (2_500_000.0, "2.5M"),
        (-3.0, "-3"),
        (0.000_01, "1e-5"),
    ] {
        assert_eq!(short(value), text);
    }
}

#[test]
fn horizontal_axis_ends_where_the_values_end() {
    let ruler = Ruler::exactly(Scale::Log, 100.0, 18_000.0, (0.0, 100.0));
    assert_eq!((ruler.place(100.0), ruler.place(18_000.0)), (Some(0.0), Some(100.0)));
    assert_eq!(ruler.ticks, [100.0, 1_000.0, 10_000.0]);
    let ruler = Ruler::exactly(Scale::Linear, 0.0, 57.0, (0.0, 100.0));
    assert_eq!((ruler.place(57.0), ruler.ticks.last()), (Some(100.0), Some(&50.0)));
}

#[test]
fn long_remark_is_broken_into_lines() {
    let mut chart = Chart::new("t", Axis::linear("x"), Axis::linear("y"), Vec::new());
    chart.remark = "word ".repeat(40);
    let svg = chart.svg();
    check_places(&svg);
    let document = Document::parse(&svg).unwrap();
    let lines: Vec<_> = texts(&document).into_iter().filter(|text| text.starts_with("word")).collect();
    assert!(lines.len() > 1 && lines.iter().all(|line| line.len() < 70), "{lines:?}");
    assert_eq!(lines.join(" "), chart.remark.trim_end());
}
