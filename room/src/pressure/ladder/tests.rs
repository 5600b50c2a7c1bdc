use proptest::prelude::*;

use super::*;

const TICK_MS: u64 = 250;
const CALM: PressureLoad = PressureLoad { lag_ms: 1.0, cpu: 0.2, parked: 0.1 };

fn step(number: u8) -> PressureStep {
    PressureStep::new(number).unwrap()
}

/// Observes `load` for a time; returns when the step changed, and to what.
fn observe(pressure: &mut Pressure, from_ms: u64, for_ms: u64, load: &PressureLoad) -> Vec<(u64, u8)> {
    let mut changes = Vec::new();
    for now_ms in (from_ms..from_ms + for_ms).step_by(TICK_MS as usize) {
        let before = pressure.step();
        let after = pressure.observe(now_ms, load);
        if after != before {
            changes.push((now_ms - from_ms, after.number()));
        }
    }
    changes
}

#[test]
fn ladder_goes_up_by_the_second_and_down_by_ten() {
    let mut pressure = Pressure::new(true);
    let stuck = PressureLoad { lag_ms: 5_000.0, ..CALM };
    let up = observe(&mut pressure, 0, 30_000, &stuck);
    assert_eq!(up.iter().map(|(_, step)| *step).collect::<Vec<_>>(), [1, 2, 3, 4], "{up:?}");
    assert!(up.last().unwrap().0 <= 6_000, "{up:?}");
    let down = observe(&mut pressure, 30_000, 90_000, &CALM);
    assert_eq!(down.iter().map(|(_, step)| *step).collect::<Vec<_>>(), [3, 2, 1, 0], "{down:?}");
    for pair in down.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= DOWN_DWELL_MS, "{down:?}");
    }
}

#[test]
fn cpu_alone_refuses_nobody() {
    let mut pressure = Pressure::new(true);
    observe(&mut pressure, 0, 60_000, &PressureLoad { cpu: 1.0, ..CALM });
    assert_eq!(pressure.step(), step(2));
    assert!((pressure.factor().value() - 4.0).abs() < 1e-9);
}

#[test]
fn full_node_refuses_new_pollers() {
    let mut pressure = Pressure::new(true);
    observe(&mut pressure, 0, 10_000, &PressureLoad { parked: 0.99, ..CALM });
    assert_eq!(pressure.step(), step(4));
}

#[test]
fn one_stall_is_no_pressure() {
    let mut pressure = Pressure::new(true);
    observe(&mut pressure, 0, 5_000, &CALM);
    pressure.observe(5_000, &PressureLoad { lag_ms: 400.0, ..CALM });
    assert_eq!(observe(&mut pressure, 5_250, 20_000, &CALM), []);
}

#[test]
fn load_between_leaving_and_entering_changes_nothing() {
    let mut pressure = Pressure::new(true);
    observe(&mut pressure, 0, 10_000, &PressureLoad { lag_ms: 60.0, ..CALM });
    assert_eq!(pressure.step(), step(1));
    for round in 0..20 {
        let lag_ms = if round % 2 == 0 { 48.0 } else { 34.0 };
        let from_ms = 10_000 + round * 5_000;
        assert_eq!(observe(&mut pressure, from_ms, 5_000, &PressureLoad { lag_ms, ..CALM }), []);
    }
}

#[test]
fn forced_step_wins_and_ends_by_itself() {
    let mut pressure = Pressure::new(true);
    observe(&mut pressure, 0, 5_000, &CALM);
    pressure.force(step(3), 35_000);
    assert_eq!((pressure.step(), pressure.forced_until_ms()), (step(3), Some(35_000)));
    assert_eq!(observe(&mut pressure, 5_000, 40_000, &CALM), [(30_000, 0)]);
    assert_eq!(pressure.forced_until_ms(), None);
    pressure.force(step(4), 90_000);
    pressure.release();
    assert_eq!(pressure.step(), step(0));
}

#[test]
fn without_the_ladder_only_drills_set_steps() {
    let mut pressure = Pressure::new(false);
    let stuck = PressureLoad { lag_ms: 900.0, cpu: 1.0, parked: 1.0 };
    assert_eq!(observe(&mut pressure, 0, 60_000, &stuck), []);
    pressure.force(step(2), 120_000);
    assert_eq!(pressure.step(), step(2));
}

#[test]
fn values_that_are_no_numbers_are_passed_over() {
    let mut pressure = Pressure::new(true);
    let odd = PressureLoad { lag_ms: f64::NAN, cpu: f64::INFINITY, parked: f64::NAN };
    assert_eq!(observe(&mut pressure, 0, 10_000, &odd), []);
    assert_eq!(pressure.load(), PressureLoad::default());
}

proptest! {
    #[test]
    fn ladder_never_skips_a_step_and_comes_back(
        loads in proptest::collection::vec(
            (0u64..3_000, 0.0f64..2_000.0, 0.0f64..1.2, 0.0f64..1.1, proptest::option::of((0u8..=4, 0u64..5_000))),
            1..120,
        ),
    ) {
        let mut pressure = Pressure::new(true);
        let mut now_ms = 1_000;
        let mut changed_at_ms = 0;
        for (after_ms, lag_ms, cpu, parked, drill) in loads {
            now_ms += after_ms;
            if let Some((number, for_ms)) = drill {
                pressure.force(step(number), now_ms + for_ms);
            }
            let before = pressure.by_load.number();
            let shown = pressure.observe(now_ms, &PressureLoad { lag_ms, cpu, parked });
            let after = pressure.by_load.number();
            prop_assert!(after.abs_diff(before) <= 1);
            if after != before {
                let dwell = if after > before { UP_DWELL_MS } else { DOWN_DWELL_MS };
                prop_assert!(now_ms - changed_at_ms >= dwell.min(now_ms - 1_000));
                changed_at_ms = now_ms;
            }
            match pressure.forced {
                Some((forced, until_ms)) => prop_assert!(shown == forced && until_ms > now_ms),
                None => prop_assert_eq!(shown.number(), after),
            }
        }
        observe(&mut pressure, now_ms, 120_000, &CALM);
        prop_assert_eq!(pressure.step(), PressureStep::NONE);
        prop_assert_eq!(pressure.factor(), LoadFactor::default());
    }
}
