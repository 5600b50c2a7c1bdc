//! Reading the sources in their order, and the rules that span several keys.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{Config, ConfigError, keys, setting::Raw};

/// Names the configuration file where `--config` doesn't.
pub const CONFIG_FILE_VARIABLE: &str = "BIGROOM_CONFIG";

/// Variables that the build scripts read. They may still be set when the server is started from the same shell,
/// so they are no unknown keys; they configure nothing here.
pub const VARIABLES_OF_THE_BUILD: [&str; 2] = ["BIGROOM_CACHE_DIR", "BIGROOM_BUILD_JOBS"];

const PREFIX: &str = "BIGROOM_";

impl Config {
    /// Puts a configuration together: flag over variable over file over default.
    ///
    /// `flags` are pairs of a key's name and the flag's value; `env` is the process's environment, of which only
    /// what begins with `BIGROOM_` counts; `file` is the one that `--config` names. No other file is read than
    /// that or the one that [`CONFIG_FILE_VARIABLE`] names.
    ///
    /// # Errors
    /// The first unknown key, bad value, contradiction or unreadable file.
    pub fn load(
        flags: &[(&'static str, String)],
        env: impl IntoIterator<Item = (OsString, OsString)>,
        file: Option<PathBuf>,
    ) -> Result<Self, ConfigError> {
        let mut variables = own_variables(env)?;
        let file = file.or_else(|| variables.remove(CONFIG_FILE_VARIABLE).map(PathBuf::from));
        variables.remove(CONFIG_FILE_VARIABLE);

        let mut config = Self::default();
        if let Some(path) = &file {
            let table = read_toml("config", path)?;
            config.apply_table(&table, "", &path.display().to_string())?;
        }
        for (variable, text) in variables {
            let Some(key) = keys::all().iter().find(|key| key.env == variable) else {
                return Err(ConfigError::UnknownKey {
                    value: Raw::Text(text).to_string(),
                    origin: "environment".into(),
                    key: variable,
                });
            };
            config.apply(key, &Raw::Text(text), &key.env)?;
        }
        for (name, text) in flags {
            let key = keys::find(name).expect("every flag belongs to a key");
            config.apply(
                key,
                &Raw::Text(text.clone()),
                &format!("--{}", name.rsplit('.').next().unwrap_or(name).replace('_', "-")),
            )?;
        }
        config.check()?;
        Ok(config)
    }

    pub(super) fn apply(&mut self, key: &keys::Key, raw: &Raw, origin: &str) -> Result<(), ConfigError> {
        (key.set)(self, raw).map_err(|keys::BreaksRule| ConfigError::BadValue {
            key: key.name.into(),
            value: raw.to_string(),
            rule: key.rule.clone(),
            origin: origin.into(),
        })
    }

    /// Applies what a section of the file says. `section` is empty or ends with a dot.
    pub(super) fn apply_table(
        &mut self,
        table: &Table,
        section: &str,
        origin: &str,
    ) -> Result<(), ConfigError> {
        for (name, value) in table {
            let path = format!("{section}{name}");
            // A dot within a quoted name is no section.
            let key = keys::find(&path).filter(|_| !name.contains('.'));
            let is_section = || keys::key_names().any(|key| key.starts_with(&format!("{path}.")));
            match (key, value) {
                (Some(key), value) => self.apply(key, &Raw::Toml(value.clone()), origin)?,
                (None, Value::Table(inner)) if !name.contains('.') && is_section() => {
                    self.apply_table(inner, &format!("{path}."), origin)?;
                }
                (None, value) => {
                    return Err(ConfigError::UnknownKey {
                        // A quoted name may have line breaks; a refusal is one line.
                        key: if path.contains(char::is_control) { format!("{path:?}") } else { path },
                        value: Raw::Toml(value.clone()).to_string(),
                        origin: origin.into(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The rules that span several keys, and the files that must be good before anything starts.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            let (given, missing) = if self.tls.cert.is_some() { ("cert", "key") } else { ("key", "cert") };
            let path = self.tls.cert.as_deref().or(self.tls.key.as_deref()).unwrap_or(Path::new(""));
            return Err(ConfigError::Contradiction(format!(
                "tls.{given} = {path:?}: must come with tls.{missing}, TLS needs both"
            )));
        }
        let inner = &self.cluster.tls;
        let given = [("cert", &inner.cert), ("key", &inner.key), ("ca", &inner.ca)];
        if let Some((name, path)) = given.iter().find_map(|(name, path)| Some((name, path.as_ref()?)))
            && let Some((missing, _)) = given.iter().find(|(_, path)| path.is_none())
        {
            return Err(ConfigError::Contradiction(format!(
                "cluster.tls.{name} = {path:?}: must come with cluster.tls.{missing}, TLS between nodes needs cert, key and ca"
            )));
        }
        if self.http.proxy_protocol && self.http.trusted_proxies.is_empty() {
            return Err(ConfigError::Contradiction(
                "http.proxy_protocol = true: must come with http.trusted_proxies, the header is read from nobody else".into(),
            ));
        }
        if let Some(path) = &self.sects {
            crate::sects::read(path)?;
        }
        // An IPv4 address may be written as an IPv6 one.
        let is_loopback = self.listen.ip().to_canonical().is_loopback();
        if self.auth_key_file.is_none() && !self.insecure && !is_loopback {
            return Err(ConfigError::OpenBind(self.listen));
        }
        Ok(())
    }
}

/// The variables that begin with our prefix, less those of the build, by name.
fn own_variables(
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut own = BTreeMap::new();
    for (name, value) in env {
        // Ours are ASCII; a name that isn't UTF-8 but begins like ours is unknown like any other.
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) || VARIABLES_OF_THE_BUILD.contains(&name.as_str()) {
            continue;
        }
        let value = value.into_string().map_err(|value| ConfigError::BadValue {
            key: name.clone(),
            value: format!("{value:?}"),
            rule: "must be UTF-8".into(),
            origin: "environment".into(),
        })?;
        own.insert(name, value);
    }
    Ok(own)
}

fn read_toml(key: &'static str, path: &Path) -> Result<Table, ConfigError> {
    let bytes =
        fs::read(path).map_err(|source| ConfigError::Unreadable { key, path: path.to_owned(), source })?;
    parse_toml(key, path, bytes)
}

pub(super) fn parse_toml(key: &'static str, path: &Path, bytes: Vec<u8>) -> Result<Table, ConfigError> {
    let fault = |fault: String| ConfigError::NotToml { key, path: path.to_owned(), fault };
    let text = String::from_utf8(bytes).map_err(|_| fault("it is not UTF-8".into()))?;
    text.parse::<Table>().map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        fault(format!("line {line}: {}", error.message().replace('\n', ", ")))
    })
}
