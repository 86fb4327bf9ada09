//! How much work one submission may hold. Drivers' watchdogs reset a device whose submission takes about two seconds, and
//! devices differ a thousandfold: the budget starts small and follows what submissions take.

/// Seconds that a submission should take: far below any watchdog, far above what submitting costs.
const AIM: f64 = 0.15;
/// Operations of the first submissions: 80 ms at 50 GFLOP/s, which a slow integrated GPU reaches.
const FIRST: u64 = 4_000_000_000;
/// The most and the least that a submission is given.
const RANGE: (u64, u64) = (50_000_000, 4_000_000_000_000);

/// Seconds since any moment.
pub(super) type Clock = fn() -> f64;

/// Seconds since the first call.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn native_clock() -> f64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_secs_f64()
}

/// The budget of submissions.
#[derive(Debug)]
pub(super) struct Pace {
    budget: u64,
    clock: Option<Clock>,
    /// When the last submission was seen to be finished.
    last: f64,
}

/// A submission under way.
#[derive(Debug)]
pub(super) struct Started {
    flops: u64,
    at: f64,
}

impl Pace {
    /// By `clock`; without one the budget stays what it is at first.
    pub fn new(clock: Option<Clock>) -> Self {
        Self { budget: FIRST, clock, last: f64::NEG_INFINITY }
    }

    /// Operations that the next submission may hold.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    fn now(&self) -> f64 {
        self.clock.map_or(0.0, |clock| clock())
    }

    /// A submission of `flops` begins.
    pub fn start(&self, flops: u64) -> Started {
        Started { flops, at: self.now() }
    }

    /// It is finished. The device worked on it since it was submitted, or since the one before was seen to be finished. A
    /// host that comes late sees the first of those in flight as slower than it was and the others as faster; each halves
    /// or doubles the budget at most, and the next ones correct it.
    pub fn finish(&mut self, started: &Started) {
        let (now, began) = (self.now(), started.at.max(self.last));
        self.last = now;
        let seconds = now - began;
        if self.clock.is_none() || seconds <= 0.0 || started.flops == 0 {
            return;
        }
        let fitting = (started.flops as f64 / seconds * AIM) as u64;
        // What is small says little of a larger one, unless it is slow already.
        if seconds > AIM || (fitting > self.budget && 2 * started.flops > self.budget) {
            let (least, most) = RANGE;
            self.budget = fitting.clamp(self.budget / 2, 2 * self.budget).clamp(least, most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static NOW: Cell<f64> = const { Cell::new(0.0) };
    }

    /// Submits whole budgets to a device of `rate` operations per second; returns the seconds of the last.
    fn submit(pace: &mut Pace, rate: f64, times: usize) -> f64 {
        let mut seconds = 0.0;
        for _ in 0..times {
            let started = pace.start(pace.budget());
            seconds = pace.budget() as f64 / rate;
            NOW.set(NOW.get() + seconds);
            pace.finish(&started);
        }
        seconds
    }

    #[test]
    fn submissions_take_what_they_should_on_any_device() {
        for rate in [5e9, 5e10, 2e13] {
            let mut pace = Pace::new(Some(|| NOW.get()));
            assert!(submit(&mut pace, rate, 1) < 1.0, "the first one, at {rate:e}");
            let seconds = submit(&mut pace, rate, 20);
            assert!((0.1..=0.2).contains(&seconds), "{seconds} s at {rate:e}");
            // Kernels a tenth as fast, as the self-test may put in place of others: one slow submission, no second.
            assert!(submit(&mut pace, rate / 10.0, 1) < 2.0);
            assert!((0.1..=0.2).contains(&submit(&mut pace, rate / 10.0, 5)));
        }
    }

    #[test]
    fn what_says_little_changes_nothing() {
        let mut pace = Pace::new(Some(|| NOW.get()));
        let started = pace.start(FIRST / 100);
        NOW.set(NOW.get() + 1e-4);
        pace.finish(&started);
        assert_eq!(pace.budget(), FIRST, "a small submission, fast");
        for seconds in [1e-4, 1.0] {
            let started = pace.start(0);
            NOW.set(NOW.get() + seconds);
            pace.finish(&started);
            assert_eq!(pace.budget(), FIRST, "a draw of noise, in {seconds} s");
        }
        let started = pace.start(FIRST / 100);
        NOW.set(NOW.get() + AIM / 2.0);
        pace.finish(&started);
        assert_eq!(pace.budget(), FIRST, "a small one that takes less than it may");
        // A host that pauses halves it at most.
        let started = pace.start(FIRST);
        NOW.set(NOW.get() + 60.0);
        pace.finish(&started);
        assert_eq!(pace.budget(), FIRST / 2);
        let mut blind = Pace::new(None);
        blind.finish(&blind.start(FIRST));
        assert_eq!(blind.budget(), FIRST);
    }
}
