use proptest::prelude::*;

use super::*;

fn profile(text: &str) -> Profile {
    let text = format!("name = \"x\"\nstory = \"y\"\n{text}");
    Profile::parse(&text).unwrap()
}

fn dues(text: &str) -> Vec<f64> {
    let profile = profile(text);
    due_times(&profile.messages[0], &profile).collect()
}

const TEN: &str = "duration = \"10s\"\n[clients]\ncount = 10\n[[messages]]\nlist = \"normal\"\n";

#[test]
fn even_rate_is_even() {
    let dues = dues(&format!("{TEN}curve = [{{ at = \"2s\", rate = 4.0 }}]"));
    assert_eq!(dues.len(), 31, "the last would be due at the end");
    assert!(dues.windows(2).all(|pair| (pair[1] - pair[0] - 0.25).abs() < 1e-9));
    assert!((dues[0] - 2.25).abs() < 1e-9);
}

#[test]
fn rising_rate_has_the_area_under_it() {
    let dues =
        dues(&format!("{TEN}curve = [{{ at = \"0s\", rate = 0.0 }}, {{ at = \"10s\", rate = 20.0 }}]"));
    assert!((99..=100).contains(&dues.len()), "{}", dues.len());
    let first_half = dues.iter().filter(|due| **due < 5.0).count();
    assert!((24..=25).contains(&first_half), "{first_half}");
    assert!(dues.is_sorted());
}

#[test]
fn silence_sends_nothing_and_ends() {
    assert!(dues(TEN).is_empty());
    assert!(dues(&format!("{TEN}curve = [{{ at = \"0s\", rate = 0.0 }}]")).is_empty());
    assert!(dues(&format!("{TEN}curve = [{{ at = \"20s\", rate = 5.0 }}]")).is_empty());
}

#[test]
fn bursts_come_again_on_top_of_the_curve() {
    let text = format!(
        "{TEN}curve = [{{ at = \"0s\", rate = 1.0 }}]\nburst = [{{ at = \"3s\", count = 5, every = \"4s\" }}]"
    );
    let dues = dues(&text);
    assert_eq!(dues.iter().filter(|due| **due == 3.0).count(), 5 + 1);
    assert_eq!(dues.len(), 9 + 10);
    assert!(dues.is_sorted());
}

#[test]
fn compression_moves_times_and_keeps_rates() {
    let text = "duration = \"100s\"\ncompression = 10.0\n[clients]\ncount = 1\n[[messages]]\nlist = \"normal\"\ncurve = [{ at = \"50s\", rate = 10.0 }]";
    let dues = dues(text);
    assert!((5.0..5.2).contains(&dues[0]) && dues.len() == 49, "{} from {}", dues.len(), dues[0]);
}

#[test]
fn rates_are_those_of_a_room() {
    let text = "duration = \"10s\"\nrooms = 7\n[clients]\ncount = 7\n[[messages]]\nlist = \"normal\"\ncurve = [{ at = \"0s\", rate = 1.0 }]";
    assert_eq!(dues(text).len(), 69);
}

#[test]
fn crowd_follows_its_curve() {
    let text = "duration = \"10s\"\n[clients]\ncount = 1000\n[crowd]\ncurve = [{ at = \"0s\", online = 0.1 }, { at = \"4s\", online = 1.0 }, { at = \"6s\", online = 1.0 }, { at = \"8s\", online = 0.5 }]";
    let profile = profile(text);
    let curve = Curve::of_crowd(&profile.crowd, &profile);
    let online_at = |at_s: f64| {
        let is_online = |client: &u32| {
            let crossings = curve.crossings(rank(7, *client));
            crossings
                .iter()
                .rev()
                .find(|crossing| crossing.at_s <= at_s)
                .is_some_and(|crossing| crossing.is_up)
        };
        (0..1_000_u32).filter(is_online).count()
    };
    for (at_s, expect) in [(0.0, 100), (2.0, 550), (5.0, 1_000), (7.0, 750), (9.0, 500)] {
        assert!(online_at(at_s).abs_diff(expect) <= 2, "{at_s}: {}", online_at(at_s));
    }
}

#[test]
fn chance_is_even_and_repeats() {
    let draws: Vec<f64> = (0..10_000).map(|who| chance(1, who, Draw::Jitter(3))).collect();
    let mean = draws.iter().sum::<f64>() / draws.len() as f64;
    assert!((mean - 0.5).abs() < 0.02, "{mean}");
    assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
    assert_eq!(chance(1, 5, Draw::Cut(0)).to_bits(), chance(1, 5, Draw::Cut(0)).to_bits());
    assert_ne!(chance(1, 5, Draw::Cut(0)).to_bits(), chance(2, 5, Draw::Cut(0)).to_bits());
}

proptest! {
    /// Whoever comes goes before coming again, and times ascend.
    #[test]
    fn crossings_take_turns(
        points in prop::collection::vec((0.01_f64..10.0, 0.0_f64..=1.0), 1..8),
        rank in 0.0_f64..1.0,
    ) {
        let mut at_s = 0.0;
        let points = points.into_iter().map(|(step, value)| { at_s += step; (at_s, value) }).collect();
        let crossings = Curve { points }.crossings(rank);
        for (nth, crossing) in crossings.iter().enumerate() {
            prop_assert_eq!(crossing.is_up, nth % 2 == 0);
        }
        prop_assert!(crossings.is_sorted_by(|one, two| one.at_s <= two.at_s));
    }

    /// Times are as many as the area, and ascend.
    #[test]
    fn times_are_the_area(points in prop::collection::vec((0.1_f64..5.0, 0.0_f64..50.0), 1..6)) {
        let mut at_s = 0.0;
        let points: Vec<_> = points.into_iter().map(|(step, rate)| { at_s += step; (at_s, rate) }).collect();
        let area: f64 = points.windows(2).map(|pair| (pair[1].0 - pair[0].0) * f64::midpoint(pair[0].1, pair[1].1)).sum();
        let times: Vec<_> = RateTimes::new(points, at_s).collect();
        prop_assert!(times.is_sorted());
        prop_assert!((times.len() as f64 - area).abs() <= 1.01, "{} for {}", times.len(), area);
    }
}
