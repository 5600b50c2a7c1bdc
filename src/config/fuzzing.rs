//! Fuzz target of the configuration.

use super::{Config, keys, setting::Raw, sources::parse_toml};

/// The text of a configuration file, or of one variable: its name, `=`, its value.
///
/// # Panics
/// If a refusal is not one line, or what was taken breaks a rule that spans several keys.
pub fn config(data: &[u8]) {
    let refusal = match read(data) {
        Ok(config) => {
            let _ = (config.warnings(), config.poll.policy());
            assert!(!config.http.proxy_protocol || !config.http.trusted_proxies.is_empty());
            assert_eq!(config.tls.files().is_some(), config.tls.cert.is_some());
            assert!(
                config.auth_key_file.is_some()
                    || config.insecure
                    || config.listen.ip().to_canonical().is_loopback()
            );
            return;
        }
        Err(error) => error.to_string(),
    };
    assert!(!refusal.is_empty() && !refusal.contains('\n'), "{refusal:?}");
}

fn read(data: &[u8]) -> Result<Config, super::ConfigError> {
    let mut config = Config::default();
    let variable = std::str::from_utf8(data).ok().and_then(|text| text.split_once('='));
    if let Some((name, text)) = variable
        && let Some(key) = keys::all().iter().find(|key| key.env == name)
    {
        config.apply(key, &Raw::Text(text.to_owned()), name)?;
    } else {
        let table = parse_toml("config", "bigroom.toml".as_ref(), data.to_vec())?;
        config.apply_table(&table, "", "bigroom.toml")?;
    }
    // Whatever path this is, it is not for a fuzzer to open.
    config.sects = None;
    config.check()?;
    Ok(config)
}
