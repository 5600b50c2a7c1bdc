//! The capacity planner: from a crowd to nodes, and what to expect of them.
//!
//! The rules are [`room::capacity`]'s, the costs a measurement's: `costs.toml`, which the load test writes.
//! docs/capacity.md walks through an example.

mod alerts;
mod args;
mod json;
mod table;

use std::path::PathBuf;

use room::{
    CostTable, Costs,
    capacity::{Demand, NodeSize, Sizing, size},
};

use self::alerts::Alert;
pub use self::args::PlanArgs;
use crate::cli::Failure;

/// The measurement that this binary brings along.
const SHIPPED_COSTS: &str = include_str!("../docs/benchmarks/costs.toml");

/// A plan.
struct Plan {
    demand: Demand,
    node: NodeSize,
    sizing: Sizing,
    alerts: Vec<Alert>,
    costs: CostTable,
}

/// `bigroom plan`: the text to print.
///
/// # Errors
/// With exit code 2 for an argument or a figure that is wrong, 1 for a file that can't be read; the line says what to do.
pub fn run(args: &PlanArgs) -> Result<String, Failure> {
    let (table, costs) = read_costs(args.costs.as_ref())?;
    let (demand, node) = (args.demand()?, args.node());
    let sizing = size(&demand, &costs, &node).map_err(|error| Failure::new(2, error.to_string()))?;
    let alerts = alerts::of(&demand, &node, &sizing);
    let plan = Plan { demand, node, sizing, alerts, costs: table };
    Ok(if args.json { plan.json() } else { plan.table() })
}

fn read_costs(path: Option<&PathBuf>) -> Result<(CostTable, Costs), Failure> {
    let (name, text) = match path {
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::new(1, format!("read --costs {name}: {error}")))?;
            (name, text)
        }
        None => ("costs.toml of this binary".to_owned(), SHIPPED_COSTS.to_owned()),
    };
    let table: CostTable = toml::from_str(&text).map_err(|error| {
        Failure::new(2, format!("{name}: {}; `loadtest compare --out` writes such a file", error.message()))
    })?;
    let costs = table.costs().map_err(|error| Failure::new(2, format!("{name}: {error}")))?;
    Ok((table, costs))
}

#[cfg(test)]
mod tests;
