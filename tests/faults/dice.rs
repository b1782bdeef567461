//! Chance that a seed repeats: what happens to an intent depends on its number, never on which thread
//! came first.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The stream of a seed and of whatever names its use.
    pub fn of(seed: u64, purpose: &str, number: u64) -> Self {
        let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
        for byte in purpose.bytes() {
            state = mix(state ^ u64::from(byte));
        }
        Self(mix(state ^ mix(number)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// One of `0..sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }

    /// One of `from..to`.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.roll(to - from)
    }

    /// True so often of a thousand times.
    pub fn often(&mut self, per_mille: u64) -> bool {
        self.roll(1000) < per_mille
    }

    /// One of a table of weights.
    pub fn pick<T: Copy>(&mut self, table: &[(u64, T)]) -> T {
        let mut at = self.roll(table.iter().map(|(weight, _)| weight).sum());
        for (weight, one) in table {
            if at < *weight {
                return *one;
            }
            at -= weight;
        }
        unreachable!("the weights add up")
    }
}

/// The finaliser of splitmix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
