//! HyperLogLog: 65,536 registers, each with the longest run of zeros met in its part of the keys.
//!
//! The registers are those of Heule, Nunkesser, Hall, "HyperLogLog in Practice", EDBT 2013 (64-bit keys, so no correction for
//! large counts). Their estimate is that of Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", 2017,
//! algorithm 6: it needs no tables of measured biases and has no seam between ranges, so it never falls as keys come in.

/// Bits of a key that choose its register. The standard error is 1.04 / √2¹⁶ = 0.41 %.
pub(crate) const PRECISION: u8 = 16;

const REGISTERS: usize = 1 << PRECISION;
/// Bits of a key that the run of zeros is looked for in.
const REST_BITS: usize = 64 - PRECISION as usize;
/// The largest value of a register: all of the rest is zero.
const RANK_MAX: usize = REST_BITS + 1;

/// The registers.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Sketch {
    /// One a byte: adding and merging are worth more than the quarter that packing would save.
    registers: Box<[u8; REGISTERS]>,
    /// How many registers have each value: what an estimate is made of.
    histogram: [u32; RANK_MAX + 1],
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sketch").field("estimate", &self.estimate()).finish_non_exhaustive()
    }
}

impl Sketch {
    /// How long the packed form is: 6 bits a register.
    pub(super) const PACKED_BYTES: usize = REGISTERS / 4 * 3;

    pub(super) fn new() -> Self {
        Self::with_registers(vec![0; REGISTERS].into_boxed_slice().try_into().expect("made with this length"))
    }

    fn with_registers(registers: Box<[u8; REGISTERS]>) -> Self {
        let mut histogram = [0; RANK_MAX + 1];
        registers.iter().for_each(|rank| histogram[usize::from(*rank)] += 1);
        Self { registers, histogram }
    }

    /// Adds a key; says whether that changed a register.
    pub(super) fn insert(&mut self, key: u64) -> bool {
        let register = &mut self.registers[(key >> REST_BITS) as usize];
        // The bit behind the rest ends the run if nothing else does.
        let rank = ((key << PRECISION) | 1 << (PRECISION - 1)).leading_zeros() as u8 + 1;
        if rank <= *register {
            return false;
        }
        self.histogram[usize::from(*register)] -= 1;
        self.histogram[usize::from(rank)] += 1;
        *register = rank;
        true
    }

    /// Adds all keys of another sketch; says whether that changed a register.
    pub(super) fn merge(&mut self, other: &Self) -> bool {
        for (register, others) in self.registers.iter_mut().zip(other.registers.iter()) {
            *register = (*register).max(*others);
        }
        let mut histogram = [0; RANK_MAX + 1];
        self.registers.iter().for_each(|rank| histogram[usize::from(*rank)] += 1);
        let changed = histogram != self.histogram;
        self.histogram = histogram;
        changed
    }

    /// How many different keys there were, about. Takes a look at the histogram, none at the registers.
    pub(super) fn estimate(&self) -> f64 {
        let registers = REGISTERS as f64;
        let count = |rank: usize| f64::from(self.histogram[rank]);
        let mut sum = registers * tau(1.0 - count(RANK_MAX) / registers);
        for rank in (1..RANK_MAX).rev() {
            sum = 0.5 * (sum + count(rank));
        }
        sum += registers * sigma(count(0) / registers);
        registers * registers / (2.0 * std::f64::consts::LN_2 * sum)
    }

    /// Appends the registers, four in three bytes.
    pub(super) fn pack(&self, bytes: &mut Vec<u8>) {
        let (fours, _) = self.registers.as_chunks::<4>();
        for [a, b, c, d] in fours {
            bytes.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
        }
    }

    /// The sketch that was packed; `None` if no sketch has such registers.
    pub(super) fn unpack(packed: &[u8]) -> Option<Self> {
        let (threes, rest) = packed.as_chunks::<3>();
        if packed.len() != Self::PACKED_BYTES || !rest.is_empty() {
            return None;
        }
        let mut registers = Vec::with_capacity(REGISTERS);
        for [a, b, c] in threes {
            registers.extend_from_slice(&[a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63]);
        }
        let is_valid = registers.iter().all(|rank| usize::from(*rank) <= RANK_MAX);
        is_valid.then(|| {
            Self::with_registers(registers.into_boxed_slice().try_into().expect("four for three bytes"))
        })
    }
}

/// Ertl's σ: x + Σ x^(2^k) 2^(k-1) over k ≥ 1. Ends when a term no longer counts, after at most 64 steps or so.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * power;
        power += power;
        if sum <= before {
            return sum;
        }
    }
}

/// Ertl's τ: (1 - x - Σ (1 - x^(2^-k))² 2^-k over k ≥ 1) / 3.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut power, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        power *= 0.5;
        sum -= (1.0 - x).powi(2) * power;
        if sum >= before {
            return sum / 3.0;
        }
    }
}
