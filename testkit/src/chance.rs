// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chance that can be repeated.

use std::time::{Duration, SystemTime};

use crate::trees::Noise;

/// The variable that gives [`Dice`] their seed.
const SEED: &str = "OXTREE_TEST_SEED";

/// Random choices. Each run makes others, and a test that fails tells how to make the same again.
#[derive(Debug)]
pub struct Dice {
    seed: u64,
    noise: Noise,
}

impl Dice {
    /// Dice with the seed in `OXTREE_TEST_SEED`, or else one that the clock gives.
    ///
    /// # Panics
    /// When the variable is no number.
    #[must_use]
    pub fn new() -> Dice {
        let seed = match std::env::var(SEED) {
            Ok(seed) => seed.parse().expect("a number in OXTREE_TEST_SEED"),
            Err(_) => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                u64::from(since.unwrap_or_default().subsec_nanos())
            }
        };
        Dice::with_seed(seed)
    }

    /// Dice with this seed.
    #[must_use]
    pub fn with_seed(seed: u64) -> Dice {
        let mut noise = Noise::new(seed);
        // Seeds that are near each other begin with numbers that are.
        for _ in 0..8 {
            noise.number();
        }
        Dice { seed, noise }
    }

    /// A number below `end`.
    ///
    /// # Panics
    /// When `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "there is no number below 0");
        (self.noise.number() >> 11) % end
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).expect("a small number")]
    }

    /// True so many times of a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A time up to `longest`.
    ///
    /// # Panics
    /// When `longest` is no time at all.
    pub fn time(&mut self, longest: Duration) -> Duration {
        let nanos = u64::try_from(longest.as_nanos()).expect("a short time");
        Duration::from_nanos(self.below(nanos))
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Dice {
    #[expect(clippy::print_stderr, reason = "only in a test that fails")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the dice were thrown with {SEED}={}", self.seed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_and_every_choice_comes() {
        let throw = |seed| -> Vec<u64> {
            let mut dice = Dice::with_seed(seed);
            (0..100).map(|_| dice.below(6)).collect()
        };
        assert_eq!(throw(7), throw(7));
        assert_ne!(throw(7), throw(8));
        let thrown = throw(9);
        assert!((0..6).all(|side| thrown.contains(&side)), "{thrown:?}");
        let mut dice = Dice::new();
        assert!(dice.time(Duration::from_millis(5)) < Duration::from_millis(5));
        assert!(!dice.percent(0) && dice.percent(100));
        assert_eq!(dice.pick(&["only"]), "only");
    }
}
