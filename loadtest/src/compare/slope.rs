//! How steeply a figure grows.

/// The exponent of the power law that is nearest to the points in least squares of their logarithms: 0 is flat, 1 is
/// proportional, below 0 it falls. `None` without two places apart, or with values that have no logarithm.
pub(crate) fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    line(&logs).map(|(slope, _)| slope)
}

/// Slope and start of the straight line that is nearest to the points in least squares. `None` without two places apart.
fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    if !points.iter().all(|(x, y)| x.is_finite() && y.is_finite()) {
        return None;
    }
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let across: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let both: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let slope = both / across;
    slope.is_finite().then_some((slope, y_mean - slope * x_mean))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(points: &[(f64, f64)], expect: f64) {
        let found = exponent(points).unwrap();
        assert!((found - expect).abs() < 1e-9, "{points:?}: {found}");
    }

    #[test]
    fn exponent_of_a_power_is_its_power() {
        check(&[(100.0, 5.0), (1_000.0, 5.0), (10_000.0, 5.0)], 0.0);
        check(&[(1.0, 2.0), (10.0, 20.0), (100.0, 200.0)], 1.0);
        check(&[(1.0, 1.0), (100.0, 0.1)], -0.5);
    }

    #[test]
    fn one_place_has_no_slope() {
        for points in [
            &[][..],
            &[(1.0, 2.0)],
            &[(1.0, 2.0), (1.0, 3.0)],
            &[(1.0, 0.0), (2.0, 1.0)],
            &[(0.0, 1.0), (1.0, 1.0)],
        ] {
            assert_eq!(exponent(points), None, "{points:?}");
        }
    }
}
