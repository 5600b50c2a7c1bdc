//! Users and devices as numbers: the same on every machine, after every restart and in every version.

use room::{AppId, DeviceId, UserId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Seed of every hash here ("bigroom3"). It is part of what is stored: with another one, the same people would
/// be counted a second time.
const SEED: u64 = 0x6269_6772_6f6f_6d33;

/// Bits of a user's hash that the online window keeps of every user.
pub(crate) const KEPT_BITS: u32 = 47;

/// A person of an app: xxh3-64 of the bytes of the user id, seeded by the app's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UserHash(pub u64);

/// One of a person's devices: 32 bits that tell it from that person's others.
///
/// Two devices of one user share them with probability 2⁻³²: among 15 million users with two devices each, 0.003
/// clients are expected to be missing from a count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceHash(pub u32);

impl UserHash {
    /// The hash of `user` within `app`.
    #[must_use]
    pub fn new(app: &AppId, user: &UserId) -> Self {
        Self::of_bytes(app, user.as_str().as_bytes())
    }

    /// The hash of a caller who names nobody and is counted by connection. `connection` must differ from those of all
    /// other connections in the deployment: a random 64-bit number does.
    #[must_use]
    pub fn anonymous(app: &AppId, connection: u64) -> Self {
        // A user id has no '\0', so this is nobody's.
        let mut bytes = [0; 9];
        bytes[1..].copy_from_slice(&connection.to_le_bytes());
        Self::of_bytes(app, &bytes)
    }

    fn of_bytes(app: &AppId, user: &[u8]) -> Self {
        let seed = xxh3_64_with_seed(app.as_str().as_bytes(), SEED);
        Self(xxh3_64_with_seed(user, seed))
    }

    /// What unique viewers are counted by: it depends on the 47 bits that the online window keeps of a user, so that the
    /// window can be merged into the count at any time.
    ///
    /// Among 15 million viewers fewer than one is expected to share it with another; a sketch is off by a hundred thousand.
    #[must_use]
    pub fn unique_key(self) -> u64 {
        mix(self.0 & ((1 << KEPT_BITS) - 1))
    }
}

impl DeviceHash {
    /// The device of a caller who names none: one a user.
    pub const ABSENT: Self = Self(0);

    /// The hash of `device`.
    #[must_use]
    pub fn new(device: Option<&DeviceId>) -> Self {
        let Some(device) = device else { return Self::ABSENT };
        let hash = xxh3_64_with_seed(device.as_str().as_bytes(), SEED);
        // 0 is kept for the absent device.
        Self(u32::try_from(hash >> 32).unwrap_or(u32::MAX).max(1))
    }
}

/// David Stafford's thirteenth variant of MurmurHash3's finaliser: a bijection that spreads every bit over all.
pub(crate) const fn mix(key: u64) -> u64 {
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(app: &str, user: &str) -> UserHash {
        UserHash::new(&AppId::internal(app), &UserId::internal(user))
    }

    #[test]
    fn hashes_never_change() {
        // Stored sketches hold them: a failure here is a change of format.
        assert_eq!(user("default", "u1").0, xxh3_64_with_seed(b"u1", xxh3_64_with_seed(b"default", SEED)));
        assert_eq!(mix(1), 0x5692_161d_100b_05e5);
    }

    #[test]
    fn users_differ_by_app_and_name() {
        assert_ne!(user("a", "u"), user("b", "u"));
        assert_ne!(user("a", "u"), user("a", "v"));
        let app = AppId::default();
        assert_ne!(UserHash::anonymous(&app, 1), UserHash::anonymous(&app, 2));
    }

    #[test]
    fn absent_device_is_no_other() {
        assert_eq!(DeviceHash::new(None), DeviceHash::ABSENT);
        assert_ne!(DeviceHash::new(Some(&DeviceId::internal("d"))), DeviceHash::ABSENT);
    }

    #[test]
    fn unique_key_depends_on_kept_bits_only() {
        assert_eq!(UserHash(5).unique_key(), UserHash(5 | 1 << 47).unique_key());
        assert_ne!(UserHash(5).unique_key(), UserHash(6).unique_key());
    }
}
