//! The server's metrics, as Prometheus would read them.

/// One reading of `/metrics`.
pub(crate) struct Metrics {
    text: String,
    samples: Vec<Sample>,
}

struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Reads the Prometheus text format.
    pub(crate) fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples =
            samples.map(|line| sample(line).unwrap_or_else(|| panic!("no sample: {line:?}"))).collect();
        Self { text: text.to_owned(), samples }
    }

    /// The sum over all samples of `name` that have `labels` (and any others); 0 if there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let of_name = self.samples.iter().filter(|sample| sample.name == name);
        of_name.filter(|sample| sample.has(labels)).map(|sample| sample.value).sum()
    }

    /// Whether there is a sample of the metric; histograms and summaries go by their `_count`.
    pub(crate) fn has(&self, name: &str) -> bool {
        let count = format!("{name}_count");
        self.samples.iter().any(|sample| sample.name == name || sample.name == count)
    }

    /// The names that the text declares a type for.
    pub(crate) fn declared(&self) -> Vec<&str> {
        self.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
    }

    /// The values that a label has, over all samples of `name`.
    pub(crate) fn label_values(&self, name: &str, label: &str) -> Vec<&str> {
        let of_name = self.samples.iter().filter(|sample| sample.name == name);
        let labels = of_name.flat_map(|sample| &sample.labels);
        labels.filter(|(known, _)| known == label).map(|(_, value)| value.as_str()).collect()
    }
}

impl Sample {
    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.iter().any(|(n, v)| n == name && v == value))
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (left, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = left.split_once('{') else {
        return Some(Sample { name: left.to_owned(), labels: Vec::new(), value });
    };
    // No label of ours holds a comma or a quote.
    let pairs = labels.strip_suffix('}')?.split(',').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('"').to_owned()))
    };
    Some(Sample { name: name.to_owned(), labels: pairs.map(pair).collect::<Option<_>>()?, value })
}
