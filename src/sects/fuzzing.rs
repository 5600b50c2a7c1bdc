//! Fuzz target of the sect table's file.

use room::{AppId, RoomId, RoomKey, SectKind};

use super::parse;

/// The text of a sect table.
///
/// # Panics
/// If a refusal is no line that names the file, or a room has no sect of the table.
pub fn sects(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let table = match parse(text, "sects.toml") {
        Ok(table) => table,
        Err(refusal) => {
            assert!(refusal.starts_with("sects.toml: ") && !refusal.contains('\n'), "{refusal:?}");
            return;
        }
    };
    for name in ["r", "live-1", "vip"] {
        let home = table.home(&RoomKey::new(AppId::default(), RoomId::internal(name)));
        assert_eq!(table.sect(home.name.as_str()), Some(home));
    }
    assert!(table.sects().iter().any(|sect| sect.kind == SectKind::Ordinary));
    assert_eq!(parse(text, "sects.toml"), Ok(table));
}
