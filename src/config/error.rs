//! Why a configuration is refused.

use std::{io, path::PathBuf};

/// Why the configuration is no good, in one line that names key, value and rule, or the path.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value breaks its key's rule.
    #[error("{key} = {value}: {rule} ({origin})")]
    BadValue {
        /// The key, with its section.
        key: String,
        /// The value, as it was written.
        value: String,
        /// What a good value is.
        rule: String,
        /// The flag, variable or file that it comes from.
        origin: String,
    },
    /// There is no such key.
    #[error("{key} = {value}: there is no such key, docs/configuration.md lists them all ({origin})")]
    UnknownKey {
        /// The key or variable.
        key: String,
        /// Its value, as it was written.
        value: String,
        /// The variable or file that it comes from.
        origin: String,
    },
    /// Keys that contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// A file that is no TOML.
    #[error("{key} = {path:?}: must be a TOML file, but {fault}")]
    NotToml {
        /// `config` or `sects`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Line and fault.
        fault: String,
    },
    /// A file that can't be read.
    #[error("{key} = {path:?}: the file can't be read: {source}")]
    Unreadable {
        /// `config` or `sects`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Everybody could reach a server that trusts everybody.
    #[error(
        "listen = {0}: without auth_key_file every caller has all rights, so the address must be loopback; \
         set auth_key_file, or insecure to allow it"
    )]
    OpenBind(std::net::SocketAddr),
}

impl ConfigError {
    /// The process's exit code: 2 for what is written wrong, 1 for what can't be done here.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BadValue { .. }
            | Self::UnknownKey { .. }
            | Self::Contradiction(_)
            | Self::NotToml { .. } => 2,
            Self::Unreadable { .. } | Self::OpenBind(_) => 1,
        }
    }
}
