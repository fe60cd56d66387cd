//! Seeds of the simulations: 256 of them in every run, or the one in `FSM_SEED` to replay a failure.

#![allow(clippy::expect_used)]

/// Random numbers that depend on the seed alone (SplitMix64).
#[derive(Debug)]
pub(crate) struct Seeded(u64);

impl Seeded {
    /// A number below `limit`, which is above 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Runs `simulation` with every seed, naming the one that fails.
pub(crate) fn for_each_seed(mut simulation: impl FnMut(&mut Seeded)) {
    struct Announce(u64);
    impl Drop for Announce {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the simulation failed; replay it with FSM_SEED={}", self.0);
            }
        }
    }
    let replayed = std::env::var("FSM_SEED").ok();
    let replayed: Option<u64> = replayed.map(|seed| seed.parse().expect("FSM_SEED is a number"));
    for seed in replayed.map_or(0..=255, |seed| seed..=seed) {
        let _announce = Announce(seed);
        simulation(&mut Seeded(seed));
    }
}
