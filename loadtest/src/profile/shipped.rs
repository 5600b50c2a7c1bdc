//! The profiles that are in the binary.

use anyhow::{Context as _, Result};

/// A profile that ships with the load test.
#[derive(Debug)]
pub(crate) struct Shipped {
    /// As `--profile` names it.
    pub(crate) name: &'static str,
    /// The file.
    pub(crate) text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        [$(Shipped { name: $name, text: include_str!(concat!("../../profiles/", $name, ".toml")) }),*]
    };
}

/// All of them, in the order in which one would try them.
pub(crate) const SHIPPED: [Shipped; 15] = shipped![
    "fanout",
    "storm",
    "storm-free",
    "flood",
    "cluster-flood",
    "hold",
    "message-bomb",
    "login-storm",
    "viral",
    "sports-final",
    "product-launch",
    "mass-return",
    "slow-readers",
    "rude-clients",
    "soak",
];

impl Shipped {
    /// The one of that name.
    ///
    /// # Errors
    /// If there is none; the message has all names.
    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        SHIPPED.iter().find(|shipped| shipped.name == name).with_context(|| {
            let names: Vec<_> = SHIPPED.iter().map(|shipped| shipped.name).collect();
            format!(
                "there is no profile {name}: name a file that ends in .toml, or one of {}",
                names.join(", ")
            )
        })
    }
}
